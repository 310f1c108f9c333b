package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit"
	"windlass.dev/internal/kit/plan"
	"windlass.dev/internal/secret"
	"windlass.dev/internal/tell"
)

const (
	// Deadline is how long sending one message may take.
	Deadline = 10 * time.Second
	// maxAnswer is how much of an answer is read, and maxReason how much of it told, in bytes.
	maxAnswer = 4 << 10
	maxReason = 200
)

// Sender sends messages.
type Sender struct {
	reader   client.Reader
	http     *http.Client
	deadline time.Duration
}

// NewSender returns a sender that reads the Secrets with the URLs with reader.
func NewSender(reader client.Reader) *Sender {
	return &Sender{reader: reader, deadline: Deadline, http: &http.Client{
		Transport: http.DefaultTransport.(*http.Transport).Clone(),
		// A POST that is redirected may become a GET, and be answered 200 by a login page.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Tell tells of what a run has noted. Whether that works is of no consequence for the run,
// which tries again when its plan says so.
func (s *Sender) Tell(ctx context.Context, run Run, n tell.Notify) error {
	err := s.Send(ctx, n.Recipient, Message{Event: n.Untold.Event, Run: run, Text: n.Untold.Text, At: n.Untold.At.Time, Sequence: n.Untold.Sequence})
	if err != nil {
		return &kit.DeclinedError{Err: err}
	}
	return nil
}

// Send tells somebody of a message once. Whoever knows the URL can post, so that no error
// has any of it. What no repeat can cure is a kit.InvalidError.
func (s *Sender) Send(ctx context.Context, n run.Notification, m Message) error {
	content, to, err := render(n, m)
	if err != nil {
		return &kit.InvalidError{Err: err}
	}
	ctx, cancel := context.WithTimeout(ctx, s.deadline)
	defer cancel()
	address, err := secret.Read(ctx, s.reader, to.URL)
	if err != nil {
		return err
	}
	where := fmt.Sprintf("the URL in Secret %s/%s", to.URL.Namespace, to.URL.Name)
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return &kit.InvalidError{Err: fmt.Errorf("%s is not one of http or https", where)}
	}
	hidden := parts(address, u)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(content.data))
	if err != nil {
		return &kit.InvalidError{Err: fmt.Errorf("%s cannot be used", where)}
	}
	request.Header.Set("Content-Type", content.contentType+"; charset=utf-8")
	response, err := s.http.Do(request)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("post to %s: no answer within %v", where, s.deadline)
	}
	if err != nil {
		return fmt.Errorf("post to %s: %s", where, secret.Redact(secret.WithoutURL(err).Error(), hidden...))
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode >= 200 && response.StatusCode <= 299 {
		return nil // What was taken is taken, even if the answer breaks off.
	}
	why := fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode))
	// What was cut off may end in a part of the URL, which would not be found.
	if text := strings.TrimSpace(string(answer)); err == nil && text != "" && len(answer) < maxAnswer {
		why += ": " + plan.Bounded(secret.Redact(text, hidden...), maxReason)
	}
	return refusal(response.StatusCode, fmt.Errorf("post to %s: the answer is %s", where, why))
}

// refusal says whether a repeat may help.
func refusal(status int, err error) error {
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return err
	default:
		return &kit.InvalidError{Err: err}
	}
}

// parts of a URL that would give it away: all of it, what is asked for, the host, and each
// part that is long enough to be a secret.
func parts(address string, u *url.URL) []string {
	const long = 6
	all := []string{address, u.String(), u.Redacted(), u.Host, u.Hostname()}
	if password, ok := u.User.Password(); ok {
		all = append(all, password)
	}
	pieces := strings.FieldsFunc(u.RequestURI()+"/"+u.Path+"/"+u.Fragment, func(r rune) bool { return strings.ContainsRune("/?&=;#", r) })
	pieces = append(pieces, u.User.Username())
	for _, values := range u.Query() {
		pieces = append(pieces, values...)
	}
	for _, piece := range pieces {
		if len(piece) >= long {
			all = append(all, piece)
		}
	}
	return all
}
