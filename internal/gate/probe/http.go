package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/prometheus/common/model"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

const (
	// maxPage is how much of an answer is searched, in bytes, as the API says.
	maxPage = 64 << 10
	// maxSamples is how large an answer of Prometheus may be, in bytes: some 50 000 samples.
	maxSamples = 8 << 20
)

// get fails if there is no answer: that is what it is there to find out.
func (p *Prober) get(ctx context.Context, g run.HTTPGate) (gate.Observation, error) {
	request, hidden, err := p.request(ctx, g.URL, g.Authorization)
	if err != nil {
		return gate.Observation{}, err
	}
	response, err := p.http.Do(request)
	if err != nil {
		return observation(false, "%s", p.unanswered(ctx, err, hidden)), nil
	}
	defer response.Body.Close()
	right := response.StatusCode >= 200 && response.StatusCode <= 299
	if len(g.Statuses) > 0 {
		right = slices.Contains(g.Statuses, int32(response.StatusCode))
	}
	if !right {
		return observation(false, "the answer is %s", status(response)), nil
	}
	if g.Contains == "" {
		return observation(true, "the answer is %s", status(response)), nil
	}
	page, err := io.ReadAll(io.LimitReader(response.Body, maxPage))
	if bytes.Contains(page, []byte(g.Contains)) {
		return observation(true, "the answer is %s, and contains what it has to", status(response)), nil
	}
	if err != nil {
		return observation(false, "the answer broke off: %s", p.unanswered(ctx, err, hidden)), nil
	}
	return observation(false, "the answer is %s, but its first %d KiB do not contain what they have to", status(response), maxPage>>10), nil
}

// status leaves out the words that a server made up.
func status(r *http.Response) string {
	return fmt.Sprintf("%d %s", r.StatusCode, http.StatusText(r.StatusCode))
}

// prometheus cannot tell if there is no answer.
func (p *Prober) prometheus(ctx context.Context, g run.PrometheusGate) (gate.Observation, error) {
	threshold, err := strconv.ParseFloat(g.Value, 64)
	if err != nil {
		return gate.Observation{}, fmt.Errorf("the value %q is not a number", g.Value)
	}
	request, hidden, err := p.request(ctx, g.URL, g.Authorization)
	if err != nil {
		return gate.Observation{}, err
	}
	if request.URL.Path == "" {
		request.URL.Path = "/" // JoinPath would make it relative.
	}
	request.URL = request.URL.JoinPath("api/v1/query")
	parameters := request.URL.Query()
	parameters.Set("query", g.Query)
	request.URL.RawQuery = parameters.Encode()
	response, err := p.http.Do(request)
	if err != nil {
		return gate.Observation{}, errors.New(p.unanswered(ctx, err, hidden))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxSamples+1))
	if err != nil {
		return gate.Observation{}, errors.New(p.unanswered(ctx, err, hidden))
	}
	if len(body) > maxSamples {
		return gate.Observation{}, fmt.Errorf("the answer is larger than %d MiB; aggregate in the query", maxSamples>>20)
	}
	samples, err := decode(response, body, hidden)
	if err != nil {
		return gate.Observation{}, err
	}
	return compare(samples, g, threshold, hidden)
}

// decode reads the answer to an instant query.
func decode(response *http.Response, body []byte, hidden secrets) (model.Vector, error) {
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			ResultType string          `json:"resultType"`
			Result     json.RawMessage `json:"result"`
		} `json:"data"`
	}
	err := json.Unmarshal(body, &answer)
	if err == nil && answer.Status == "error" {
		return nil, fmt.Errorf("the query failed: %s", hidden.clean(answer.Error))
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", status(response))
	}
	if err != nil || answer.Status != "success" {
		return nil, errors.New("the answer is not one of the Prometheus API; the URL is without /api/v1")
	}
	var samples model.Vector
	switch answer.Data.ResultType {
	case "vector":
		err = json.Unmarshal(answer.Data.Result, &samples)
	case "scalar":
		var scalar model.Scalar
		err = json.Unmarshal(answer.Data.Result, &scalar)
		samples = model.Vector{{Value: scalar.Value, Timestamp: scalar.Timestamp}}
	default:
		return nil, fmt.Errorf("the query returns a %s; a gate compares an instant vector or a scalar", hidden.clean(answer.Data.ResultType))
	}
	if err != nil {
		return nil, fmt.Errorf("decode the samples: %s", hidden.clean(err.Error()))
	}
	for _, sample := range samples {
		if sample == nil || sample.Histogram != nil {
			return nil, errors.New("the query returns histograms; compare a number, such as that of histogram_quantile")
		}
	}
	return samples, nil
}

// comparisons say how, in words. Whatever NaN is compared with, they are false.
var comparisons = map[run.Comparison]struct {
	words string
	holds func(a, b float64) bool
}{
	run.Less:           {"less than", func(a, b float64) bool { return a < b }},
	run.LessOrEqual:    {"at most", func(a, b float64) bool { return a <= b }},
	run.Equal:          {"equal to", func(a, b float64) bool { return a == b }},
	run.GreaterOrEqual: {"at least", func(a, b float64) bool { return a >= b }},
	run.Greater:        {"greater than", func(a, b float64) bool { return a > b }},
}

func compare(samples model.Vector, g run.PrometheusGate, threshold float64, hidden secrets) (gate.Observation, error) {
	is, ok := comparisons[g.Is]
	if !ok {
		return gate.Observation{}, fmt.Errorf("%q is no comparison", g.Is)
	}
	if len(samples) == 0 {
		return observation(g.Empty == run.PassWhenEmpty, "the query returns no sample"), nil
	}
	var offenders []string
	for _, sample := range samples {
		if !is.holds(float64(sample.Value), threshold) {
			offenders = append(offenders, fmt.Sprintf("%s is %s", hidden.clean(sample.Metric.String()), sample.Value))
		}
	}
	if len(offenders) == 0 {
		return observation(true, "all of %d samples are %s %s", len(samples), is.words, g.Value), nil
	}
	return observation(false, "%d of %d samples are not %s %s: %s", len(offenders), len(samples), is.words, g.Value, list(offenders)), nil
}
