package standin

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEcho: the answer says what was asked, and has the headers that were asked for.
func TestEcho(t *testing.T) {
	t.Parallel()
	env := map[string]string{"NAMESPACE": "ns", "POD_NAME": "pod"}
	server := httptest.NewServer(settings{env: func(name string) string { return env[name] }}.echoRoutes(io.Discard))
	t.Cleanup(server.Close)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, server.URL+"/a//b?q=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "example.com"
	r.Header.Set("X-Echo-Set-Header", "X-One:1, X-Two:2, X-One:3")
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var got echoed
	if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	got.Headers = nil
	want := echoed{Path: "/a//b?q=1", Host: "example.com", Method: http.MethodPut, Proto: "HTTP/1.1", HTTPPort: "3000", Namespace: "ns", Pod: "pod"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if h := response.Header; h.Get("X-One") != "1,3" || h.Get("X-Two") != "2" {
		t.Errorf("%v", h)
	}
}

// TestEchoStatus: the path says which status it answers with.
func TestEchoStatus(t *testing.T) {
	t.Parallel()
	routes := settings{env: func(string) string { return "" }}.echoRoutes(io.Discard)
	for path, want := range map[string]int{"/status/404": 404, "/status/201": 201, "/status/x": 400, "/status/100": 400, "/health": 200} {
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if w.Code != want {
			t.Errorf("%s: %d, want %d", path, w.Code, want)
		}
	}
}
