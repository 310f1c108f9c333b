package notify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit"
)

// sender knows one URL, which is in the Secret that hook names.
func sender(url string) *Sender {
	return NewSender(fake.NewClientBuilder().WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ops", Name: "hook"}, Data: map[string][]byte{"url": []byte(url)},
	}).Build())
}

func hook() *run.WebhookNotification {
	return &run.WebhookNotification{URL: run.SecretKey{Namespace: "ops", Name: "hook", Key: "url"}}
}

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSend(t *testing.T) {
	t.Parallel()
	for contentType, n := range map[string]run.Notification{
		"application/json; charset=utf-8":             {Mattermost: hook()},
		"application/cloudevents+json; charset=utf-8": {CloudEvents: hook()},
	} {
		sent := make(chan string, 1)
		url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil || r.Method != http.MethodPost || r.URL.RequestURI() != "/hooks/s3cret?a=b" || r.Header.Get("Content-Type") != contentType {
				t.Errorf("%s %s as %s: %v", r.Method, r.URL, r.Header.Get("Content-Type"), err)
			}
			sent <- string(body)
		})
		if err := sender(url+"/hooks/s3cret?a=b\n").Send(t.Context(), n, finished()); err != nil {
			t.Error(err)
		}
		want, _, err := render(n, finished())
		if got := <-sent; err != nil || got != string(want.data) {
			t.Errorf("%v: %s was sent", err, got)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	cases := map[int]bool{ // Whether a repeat may help.
		302: false, 400: false, 401: false, 404: false, 408: true, 410: false, 413: false, 425: true, 429: true, 500: true, 502: true, 503: true,
	}
	for status, again := range cases {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(status)
				fmt.Fprintln(w, "channel_not_found")
			})
			err := sender(url).Send(t.Context(), run.Notification{Slack: hook()}, finished())
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("post to the URL in Secret ops/hook: the answer is %d ", status)) || !strings.Contains(err.Error(), "channel_not_found") {
				t.Errorf("the error is %v", err)
			}
			if _, permanent := errors.AsType[*kit.InvalidError](err); permanent == again {
				t.Errorf("that no repeat can help is said to be %v", permanent)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
		})
	}
}

func TestSendEnds(t *testing.T) {
	t.Parallel()
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		<-r.Context().Done()
	})
	s := sender(url + "/hooks/s3cret")
	s.deadline = 50 * time.Millisecond
	err := s.Send(t.Context(), run.Notification{Slack: hook()}, finished())
	if err == nil || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sender(url+"/hooks/s3cret").Send(ctx, run.Notification{Slack: hook()}, finished()); err == nil {
		t.Error("it was sent although the caller had gone")
	}
}

func TestWhatCannotBeSent(t *testing.T) {
	t.Parallel()
	to := run.Notification{Slack: hook()}
	for name, url := range map[string]string{
		"no URL": "s3cret-token", "another scheme": "ftp://s3cret.example.com", "no host": "https:///s3cret", "a broken one": "https://exa mple/s3cret", "no port": "https://a:s3cret/",
	} {
		err := sender(url).Send(t.Context(), to, finished())
		if _, permanent := errors.AsType[*kit.InvalidError](err); !permanent || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := sender("").Send(t.Context(), to, finished())
	if _, permanent := errors.AsType[*kit.InvalidError](err); err == nil || permanent || !strings.Contains(err.Error(), "Secret ops/hook has no value") {
		t.Errorf("without a value, which somebody may yet set: %v", err)
	}
	err = sender("https://a").Send(t.Context(), run.Notification{}, finished())
	if _, permanent := errors.AsType[*kit.InvalidError](err); !permanent {
		t.Errorf("a notification of no kind: %v", err)
	}
}

// The receiver says everything that it was asked; what is told of it is cut off anywhere.
func TestNoErrorHasTheURL(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", r.RequestURI)
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "no hook %s at http://%s%s: %v %s", r.RequestURI, r.Host, r.RequestURI, r.URL.Query(), r.URL.Path)
	})
	broken := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	word := rapid.StringMatching(`[a-zA-Z0-9%_-]{6,200}`).Filter(func(s string) bool { return !strings.Contains(s, "%") })
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.SampledFrom([]string{url, broken, secure.URL, closed.URL, "http://no-such-host.invalid"}).Draw(t, "server")
		path, query, user, password := word.Draw(t, "path"), word.Draw(t, "query"), word.Draw(t, "user"), word.Draw(t, "password")
		address := strings.Replace(base, "://", "://"+user+":"+password+"@", 1) + "/" + path + "?token=" + query
		err := sender(address).Send(t.Context(), run.Notification{Mattermost: hook()}, finished())
		if err == nil {
			t.Fatal("no error")
		}
		for _, part := range []string{path, query, user, password, strings.TrimPrefix(strings.TrimPrefix(base, "https://"), "http://")} {
			if strings.Contains(err.Error(), part) {
				t.Fatalf("the error has %q: %v", part, err)
			}
		}
	})
}
