package devcluster

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// FuzzParseAudit: a line of the log is about a request, about something else, or
// broken; it never counts as a request without a verb of the log's own.
func FuzzParseAudit(f *testing.F) {
	f.Add(`{"stage":"ResponseComplete","verb":"patch","user":{"username":"u"},"objectRef":{"resource":"mattermosts","subresource":"status","name":"chat"},"responseStatus":{"code":200}}`)
	f.Add(`{"stage":"RequestReceived","verb":"get"}`)
	f.Add(`{"stage":"ResponseComplete","objectRef":null}`)
	f.Add(`{"stage":"ResponseComplete","objectRef":{}}`)
	f.Add("{")
	f.Fuzz(func(t *testing.T, line string) {
		request, ok, err := parseAudit([]byte(line))
		if err != nil && ok {
			t.Fatal("a broken line is a request")
		}
		if ok && !strings.Contains(line, "ResponseComplete") && !strings.Contains(line, `\u`) {
			t.Fatalf("counted before it was answered: %+v", request)
		}
	})
}

// TestAuditKnowsThatItBeganAnew: requests that are in the log from before are not taken for
// requests that were never made.
func TestAuditKnowsThatItBeganAnew(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	write := func(content string) (end Mark) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return Mark{info, info.Size()}
	}
	line := `{"stage":"ResponseComplete","verb":"create","user":{"username":"somebody"},"objectRef":{"resource":"pods"},"responseStatus":{"code":201}}` + "\n"
	a := &Audit{path: path}
	from := write(line)
	to := write(line + line)
	if requests, err := a.Since(from, to, "somebody"); err != nil || len(requests) != 1 {
		t.Fatalf("%v, %v", requests, err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	to = write(line)
	if _, err := a.Since(from, to, "somebody"); err == nil || !strings.Contains(err.Error(), "began anew") {
		t.Errorf("the error is %v", err)
	}
}

// TestMark: the place behind the marker, or at once that it is in a log that began anew.
func TestMark(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	before := "{}\n"
	for anew, want := range map[bool]string{false: "", true: "began anew"} {
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if anew {
				if err := os.Rename(path, path+".1"); err != nil {
					t.Error(err)
				}
			}
			log, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Error(err)
				return
			}
			defer log.Close()
			if _, err := fmt.Fprintf(log, "{%q: %q}\n", "userAgent", r.UserAgent()); err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, "{}")
		}))
		mark, err := (&Audit{path: path, client: &rest.Config{Host: server.URL}}).Mark(t.Context())
		server.Close()
		if want == "" {
			info, statErr := os.Stat(path)
			if err != nil || statErr != nil || mark.at != info.Size() {
				t.Errorf("marked at %d: %v, %v", mark.at, err, statErr)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v", err)
		}
	}
}
