package controller

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/fleetrotation"
)

func kubeconfig(cluster, user string) map[string][]byte {
	return map[string][]byte{"kubeconfig": []byte(`apiVersion: v1
kind: Config
current-context: one
contexts: [{name: one, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {` + cluster + `}}]
users: [{name: u, user: {` + user + `}}]
`)}
}

// TestRegistrations: what would run or read something here is refused, and no refusal
// tells a credential.
func TestRegistrations(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0"
	const server = "server: https://eu-1.example.com"
	cases := map[string]struct {
		data map[string][]byte
		want string // part of the message; empty for none
	}{
		"a token":                     {map[string][]byte{"server": []byte("https://eu-1.example.com"), "token": []byte(secret)}, ""},
		"a kubeconfig":                {kubeconfig(server, "token: "+secret), ""},
		"nothing":                     {nil, "neither the key kubeconfig nor the keys server and token"},
		"no token":                    {map[string][]byte{"server": []byte("https://eu-1.example.com")}, "neither"},
		"in the clear":                {map[string][]byte{"server": []byte("http://eu-1.example.com"), "token": []byte(secret)}, "no https address"},
		"a kubeconfig in the clear":   {kubeconfig("server: http://eu-1.example.com", "token: "+secret), "no https address"},
		"a program":                   {kubeconfig(server, "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}"), "names a program"},
		"a file with a token":         {kubeconfig(server, "tokenFile: /var/run/secrets/token"), "names a file"},
		"a file with a key":           {kubeconfig(server, "client-key: /etc/key"), "names a file"},
		"a file with a certificate":   {kubeconfig(server+", certificate-authority: /etc/ca", "token: "+secret), "names a file"},
		"whoever answers":             {kubeconfig(server+", insecure-skip-tls-verify: true", "token: "+secret), "does not verify"},
		"no YAML":                     {map[string][]byte{"kubeconfig": []byte("token: " + secret + "\n\t")}, "cannot be read"},
		"no context":                  {map[string][]byte{"kubeconfig": []byte("apiVersion: v1\nkind: Config\n")}, "no current context"},
		"a certificate that is none":  {map[string][]byte{"server": []byte("https://eu-1.example.com"), "token": []byte(secret), "ca.crt": []byte("none")}, "cannot be used"},
		"a program nobody would call": {kubeconfig(server, "token: "+secret+"}}, {name: other, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}"), "names a program"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connected := connect(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "eu-1"}, Data: c.data}, clock.RealClock{})
			switch {
			case c.want == "" && connected.problem != nil:
				t.Errorf("refused: %s", connected.problem.Message)
			case c.want != "" && (connected.problem == nil || !strings.Contains(connected.problem.Message, c.want)):
				t.Errorf("%+v, want %q", connected.problem, c.want)
			case connected.problem != nil && strings.Contains(connected.problem.Message, secret):
				t.Errorf("the message tells a credential: %s", connected.problem.Message)
			}
		})
	}
}

// TestProblems: a cluster that does not answer as it should is told of in words that stay
// the same, and hold no token.
func TestProblems(t *testing.T) {
	t.Parallel()
	const token = "not-to-be-told"
	cases := map[string]struct {
		answer http.HandlerFunc
		reason string
		want   string
	}{
		"unauthorized": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }, v1alpha1.ReasonNotPermitted, "does not accept"},
		"forbidden": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(r.Header.Get("Authorization")))
		}, v1alpha1.ReasonNotPermitted, "refuses"},
		"broken": {func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("I was sent " + r.Header.Get("Authorization")))
		}, v1alpha1.ReasonUnreachable, "answers"},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("hello")) }, v1alpha1.ReasonUnreachable, "no JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewTLSServer(c.answer)
			t.Cleanup(server.Close)
			cluster := connect(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "eu-1"}, Data: map[string][]byte{
				"server": []byte(server.URL), "token": []byte(token), "ca.crt": certificate(server),
			}}, clock.RealClock{})
			_, first := cluster.Check(t.Context())
			_, second := cluster.Check(t.Context())
			if first == nil || first.Reason != c.reason || !strings.Contains(first.Message, c.want) {
				t.Fatalf("%+v, want %s with %q", first, c.reason, c.want)
			}
			if strings.Contains(first.Message, token) {
				t.Errorf("the message tells the token: %s", first.Message)
			}
			if *first != *second {
				t.Errorf("%q, and then %q", first.Message, second.Message)
			}
			look := cluster.look(t.Context(), fleetrotation.Look{Cluster: "eu-1", Check: true}, "august")
			if look.Problem == nil || *look.Problem != *first {
				t.Errorf("a look says %+v", look.Problem)
			}
		})
	}
}

func TestProblemOf(t *testing.T) {
	t.Parallel()
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	closed.Close()
	cases := map[string]struct{ server, want string }{
		"nobody listens":            {closed.URL, "connection refused"},
		"it is somebody else":       {stranger.URL, "an authority that the registration does not know"},
		"its name is not to be had": {"https://nowhere.invalid", "not found"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := connect(&corev1.Secret{Data: map[string][]byte{"server": []byte(c.server), "token": []byte("t0k3n")}}, clock.RealClock{})
			_, problem := cluster.Check(t.Context())
			if problem == nil || problem.Reason != v1alpha1.ReasonUnreachable || !strings.Contains(problem.Message, c.want) {
				t.Errorf("%+v, want %q", problem, c.want)
			}
		})
	}
	cluster := &Cluster{hidden: []string{"t0k3n", ""}}
	if got := cluster.problemOf(context.DeadlineExceeded); !strings.Contains(got.Message, "within 5s") {
		t.Error(got.Message)
	}
	if got := cluster.redacted(errors.New("sent t0k3n")); strings.Contains(got.Error(), "t0k3n") {
		t.Error(got)
	}
}

func certificate(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
