package probe

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"windlass.dev/api/installation/v1beta1"
	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/gate"
)

func scheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// prober reads given objects.
func prober(t *testing.T, objects ...client.Object) *Prober {
	t.Helper()
	return New(fake.NewClientBuilder().WithScheme(scheme(t)).WithObjects(objects...).Build())
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// expect compares what was seen with a status and a part of the message.
func expect(t *testing.T, seen gate.Observation, status metav1.ConditionStatus, message string) {
	t.Helper()
	if seen.Passing != status || !strings.Contains(seen.Message, message) {
		t.Errorf("saw %s: %s\nnot %s: …%s…", seen.Passing, seen.Message, status, message)
	}
}

const token = "Bearer s3cr3t-t0ken"

func tokenSecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "monitoring", Name: "token"}, Data: map[string][]byte{"header": []byte(token + "\n"), "empty": nil}}
}

func tokenKey(key string) *run.SecretKey {
	return &run.SecretKey{Namespace: "monitoring", Name: "token", Key: key}
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			fmt.Fprint(w, `{"status":"OK"}`)
		case "/down":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/moved":
			http.Redirect(w, r, "/ok", http.StatusFound)
		case "/long":
			fmt.Fprint(w, strings.Repeat("x", maxPage-2)+"OK and more"+strings.Repeat("x", maxPage))
		case "/private":
			if r.Header.Get("Authorization") != token {
				w.WriteHeader(http.StatusUnauthorized)
			}
		case "/breaks":
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "not that much")
		default:
			http.NotFound(w, r)
		}
	})
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	cases := map[string]struct {
		gate    run.HTTPGate
		status  metav1.ConditionStatus
		message string
	}{
		"answers":                    {run.HTTPGate{URL: url + "/ok"}, "True", "200 OK"},
		"answers what it has to":     {run.HTTPGate{URL: url + "/ok", Contains: `"OK"`}, "True", "contains"},
		"answers otherwise":          {run.HTTPGate{URL: url + "/ok", Contains: `"FINE"`}, "False", "do not contain"},
		"contains it within 64 KiB":  {run.HTTPGate{URL: url + "/long", Contains: "OK"}, "True", "contains"},
		"contains it after 64 KiB":   {run.HTTPGate{URL: url + "/long", Contains: "OK and"}, "False", "first 64 KiB"},
		"is down":                    {run.HTTPGate{URL: url + "/down"}, "False", "503 Service Unavailable"},
		"is down, as it should":      {run.HTTPGate{URL: url + "/down", Statuses: []int32{404, 503}}, "True", "503"},
		"is up, but should not":      {run.HTTPGate{URL: url + "/ok", Statuses: []int32{503}}, "False", "200"},
		"a redirect is an answer":    {run.HTTPGate{URL: url + "/moved"}, "False", "302"},
		"breaks off":                 {run.HTTPGate{URL: url + "/breaks", Contains: "much more"}, "False", "broke off"},
		"nobody listens":             {run.HTTPGate{URL: closed.URL}, "False", "refused"},
		"needs authorization":        {run.HTTPGate{URL: url + "/private"}, "False", "401"},
		"has authorization":          {run.HTTPGate{URL: url + "/private", Authorization: tokenKey("header")}, "True", "200"},
		"the key has no value":       {run.HTTPGate{URL: url + "/private", Authorization: tokenKey("empty")}, "Unknown", "no value for the key empty"},
		"there is no such Secret":    {run.HTTPGate{URL: url, Authorization: &run.SecretKey{Namespace: "a", Name: "b", Key: "c"}}, "Unknown", "read Secret a/b"},
		"the URL cannot be read":     {run.HTTPGate{URL: "http://[::1"}, "Unknown", "the URL is invalid"},
		"the server's name is wrong": {run.HTTPGate{URL: "https" + strings.TrimPrefix(url, "http")}, "False", "no answer"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, prober(t, tokenSecret()).Check(t.Context(), run.Gate{HTTP: &c.gate}), c.status, c.message)
		})
	}
}

// vector is how Prometheus answers.
func vector(samples string) string {
	return `{"status":"success","data":{"resultType":"vector","result":[` + samples + `]}}`
}

func sample(pod, value string) string {
	return fmt.Sprintf(`{"metric":{"__name__":"errors","pod":%q},"value":[1435781451.781,%q]}`, pod, value)
}

func TestPrometheus(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		answer  string
		code    int
		is      run.Comparison
		value   string
		empty   run.WhenEmpty
		status  metav1.ConditionStatus
		message string
	}{
		"less":               {vector(sample("a", "0.001")), 200, run.Less, "0.01", "", "True", "all of 1 samples are less than 0.01"},
		"not less":           {vector(sample("a", "0.01")), 200, run.Less, "0.01", "", "False", `1 of 1 samples are not less than 0.01: errors{pod="a"} is 0.01`},
		"at most":            {vector(sample("a", "0.01")), 200, run.LessOrEqual, "0.01", "", "True", ""},
		"equal":              {vector(sample("a", "1e1")), 200, run.Equal, "10", "", "True", ""},
		"at least":           {vector(sample("a", "10")), 200, run.GreaterOrEqual, "10.5", "", "False", "not at least 10.5"},
		"greater":            {vector(sample("a", "+Inf")), 200, run.Greater, "10", "", "True", ""},
		"NaN is never right": {vector(sample("a", "NaN")), 200, run.Less, "10", "", "False", "is NaN"},
		"one of several": {vector(sample("a", "1") + "," + sample("b", "9") + "," + sample("c", "2")), 200, run.Less, "5", "", "False",
			`1 of 3 samples are not less than 5: errors{pod="b"} is 9`},
		"the first few of many": {vector(sample("e", "9") + "," + sample("d", "9") + "," + sample("c", "9") + "," + sample("b", "9") + "," + sample("a", "9")), 200, run.Less, "5", "",
			"False", `errors{pod="a"} is 9, errors{pod="b"} is 9, errors{pod="c"} is 9 and 2 more`},
		"no sample":               {vector(""), 200, run.Less, "5", "", "False", "no sample"},
		"no sample, which is ok":  {vector(""), 200, run.Less, "5", run.PassWhenEmpty, "True", "no sample"},
		"a scalar":                {`{"status":"success","data":{"resultType":"scalar","result":[1435781460.781,"3"]}}`, 200, run.Less, "5", "", "True", "all of 1"},
		"a text that looks right": {`{"status":"success","data":{"resultType":"string","result":[1435781460.781,"3"]}}`, 200, run.Less, "5", "", "Unknown", "returns a string"},
		"a matrix":                {`{"status":"success","data":{"resultType":"matrix","result":[]}}`, 200, run.Less, "5", "", "Unknown", "returns a matrix"},
		"a histogram": {vector(`{"metric":{},"histogram":[1435781451.781,{"count":"60","sum":"33","buckets":[]}]}`), 200, run.Less, "5", "",
			"Unknown", "histogram_quantile"},
		"a query that is wrong":         {`{"status":"error","errorType":"bad_data","error":"1:5: parse error"}`, 400, run.Less, "5", "", "Unknown", "the query failed: 1:5: parse error"},
		"overloaded":                    {"upstream is gone", 502, run.Less, "5", "", "Unknown", "502 Bad Gateway"},
		"another server":                {"<html>success</html>", 200, run.Less, "5", "", "Unknown", "without /api/v1"},
		"no number":                     {vector(sample("a", "many")), 200, run.Less, "5", "", "Unknown", "decode the samples"},
		"a null":                        {vector("null"), 200, run.Less, "5", "", "Unknown", ""},
		"a threshold that is no number": {vector(""), 200, run.Less, "1e999", "", "Unknown", "is not a number"},
		"an unknown comparison":         {vector(""), 200, "Near", "5", "", "Unknown", "no comparison"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const query = `sum by (pod) (rate(errors[5m])) / 2 & "x"`
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/prefix/api/v1/query" || r.FormValue("query") != query {
					t.Errorf("asked %s %s with the query %q", r.Method, r.URL.Path, r.FormValue("query"))
				}
				w.WriteHeader(c.code)
				fmt.Fprint(w, c.answer)
			})
			g := run.PrometheusGate{URL: url + "/prefix/", Query: query, Is: c.is, Value: c.value, Empty: c.empty}
			expect(t, prober(t).Check(t.Context(), run.Gate{Prometheus: &g}), c.status, c.message)
		})
	}
}

func TestPrometheusURLs(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, vector(sample(r.URL.Path+"?"+r.URL.Query().Get("tenant"), "9")))
	})
	for suffix, want := range map[string]string{
		"": "/api/v1/query?", "/": "/api/v1/query?", "/prefix": "/prefix/api/v1/query?", "/prefix/": "/prefix/api/v1/query?", "?tenant=a": "/api/v1/query?a",
	} {
		g := run.PrometheusGate{URL: url + suffix, Query: "up", Is: run.Less, Value: "5"}
		expect(t, prober(t).Check(t.Context(), run.Gate{Prometheus: &g}), "False", want)
	}
}

func TestPrometheusIsDown(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	g := run.PrometheusGate{URL: server.URL, Query: "up", Is: run.Less, Value: "5"}
	expect(t, prober(t).Check(t.Context(), run.Gate{Prometheus: &g}), "Unknown", "refused")
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	// A few KiB that are 9 MiB.
	var small bytes.Buffer
	into := gzip.NewWriter(&small)
	if _, err := into.Write(bytes.Repeat([]byte(" "), 9<<20)); err != nil {
		t.Fatal(err)
	}
	if err := into.Close(); err != nil {
		t.Fatal(err)
	}
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		if _, err := w.Write(small.Bytes()); err != nil {
			t.Log(err) // The reader may have had enough.
		}
	})
	p := prober(t)
	p.deadline = time.Minute // Unpacking is slow under the race detector.
	g := run.PrometheusGate{URL: url, Query: "up", Is: run.Less, Value: "5"}
	expect(t, p.Check(t.Context(), run.Gate{Prometheus: &g}), "Unknown", "larger than 8 MiB")
}

func TestSecretsAreInNoMessage(t *testing.T) {
	t.Parallel()
	// A server that says in every place what it was sent, at any edge of what is kept of it.
	echo := func(w http.ResponseWriter, r *http.Request) {
		said := strings.Repeat("x", len(r.URL.Query().Get("query"))) + r.Header.Get("Authorization")
		switch {
		case strings.HasPrefix(r.URL.Path, "/error"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprintf(w, `{"status":"error","error":%q}`, said)
		case strings.HasPrefix(r.URL.Path, "/label"):
			fmt.Fprint(w, vector(sample(said, "9")))
		case strings.HasPrefix(r.URL.Path, "/type"):
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q}}`, said)
		case strings.HasPrefix(r.URL.Path, "/value"):
			fmt.Fprint(w, vector(sample("a", said)))
		default:
			w.Header().Set("Location", "http://"+said)
			w.WriteHeader(http.StatusFound)
		}
	}
	url := serve(t, echo)
	p := prober(t, tokenSecret())
	for _, path := range []string{"/error", "/label", "/type", "/value", "/redirect"} {
		for pad := maxPart - 60; pad <= maxPart; pad++ {
			g := run.PrometheusGate{URL: url + path, Query: strings.Repeat("q", pad), Is: run.Less, Value: "5", Authorization: tokenKey("header")}
			seen := p.Check(t.Context(), run.Gate{Prometheus: &g})
			if strings.Contains(seen.Message, "s3c") || seen.Passing == metav1.ConditionTrue {
				t.Fatalf("%s after %d bytes: %s %s", path, pad, seen.Passing, seen.Message)
			}
		}
	}
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	address := strings.Replace(closed.URL, "http://", "http://user:passw0rd@", 1) + "/p4th"
	for _, g := range []run.Gate{{HTTP: &run.HTTPGate{URL: address}}, {Prometheus: &run.PrometheusGate{URL: address, Value: "1"}}, {HTTP: &run.HTTPGate{URL: address + "\x7f"}}} {
		if seen := p.Check(t.Context(), g); strings.Contains(seen.Message, "passw0rd") || strings.Contains(seen.Message, "p4th") {
			t.Errorf("the message has the URL: %s", seen.Message)
		}
	}
}

func TestChecksEnd(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	p := prober(t)
	p.deadline = 50 * time.Millisecond
	expect(t, p.Check(t.Context(), run.Gate{HTTP: &run.HTTPGate{URL: url}}), "False", "no answer within 50ms")
	expect(t, p.Check(t.Context(), run.Gate{HTTP: &run.HTTPGate{URL: url + "/body", Contains: "x"}}), "False", "no answer within 50ms")
	expect(t, p.Check(t.Context(), run.Gate{Prometheus: &run.PrometheusGate{URL: url, Value: "1"}}), "Unknown", "no answer within 50ms")
	// Who ends the check before its time learns nothing of the gate.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expect(t, p.Check(ctx, run.Gate{HTTP: &run.HTTPGate{URL: url}}), "Unknown", "interrupted")
}

func TestCheckAll(t *testing.T) {
	t.Parallel()
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	var gates []run.Gate
	for i := range 3 * parallel {
		gates = append(gates, run.Gate{Name: fmt.Sprint(i), HTTP: &run.HTTPGate{URL: url}})
	}
	gates = append(gates, run.Gate{Name: "of a later version"})
	seen := prober(t).CheckAll(t.Context(), gates)
	if len(seen) != len(gates) {
		t.Errorf("%d of %d were checked", len(seen), len(gates))
	}
	expect(t, seen["7"], "True", "200")
	expect(t, seen["of a later version"], "Unknown", "this version does not know")
}
