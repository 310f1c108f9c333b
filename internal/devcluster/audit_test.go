package devcluster

import (
	"strings"
	"testing"
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
