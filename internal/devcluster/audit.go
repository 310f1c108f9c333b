package devcluster

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// auditLogMiB is how large the log becomes before it begins anew; one from before is kept.
const auditLogMiB = 1000

// Audit counts requests as the API server logged them, not as a client believes
// to have made them. The API server writes its log before it takes the next
// request of a connection, so what was answered before a marker is before it.
type Audit struct {
	path   string
	client *rest.Config
}

// Mark is a place in the log.
type Mark struct {
	file os.FileInfo
	at   int64
}

// Request is one request that the API server answered.
type Request struct {
	User     string
	Verb     string
	Resource string // With its subresource, as in mattermosts/status.
	Name     string
	Code     int
}

// Write reports whether the request was meant to change something.
func (r Request) Write() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	default:
		return true
	}
}

// Mark returns the place in the log behind everything that was answered so far.
func (a *Audit) Mark(ctx context.Context) (Mark, error) {
	id := string(uuid.NewUUID())
	config := rest.CopyConfig(a.client)
	config.UserAgent = id
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return Mark{}, err
	}
	file, err := os.Open(a.path)
	if err != nil {
		return Mark{}, fmt.Errorf("audit: %w", err)
	}
	defer file.Close()
	from, err := file.Seek(0, io.SeekEnd) // The marker is behind what is there by now.
	if err != nil {
		return Mark{}, fmt.Errorf("audit: %w", err)
	}
	mark := Mark{}
	if mark.file, err = file.Stat(); err != nil {
		return Mark{}, fmt.Errorf("audit: %w", err)
	}
	if _, err := client.Discovery().ServerVersion(); err != nil {
		return Mark{}, fmt.Errorf("audit: %w", err)
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		content, err := io.ReadAll(io.NewSectionReader(file, from, math.MaxInt64-from))
		if err != nil {
			return false, err
		}
		at := bytes.LastIndex(content, []byte(id))
		if at < 0 {
			if now, err := os.Stat(a.path); err == nil && !os.SameFile(mark.file, now) {
				return false, fmt.Errorf("%s began anew after %d MiB meanwhile: mark it again", a.path, auditLogMiB)
			}
			return false, nil
		}
		end := bytes.IndexByte(content[at:], '\n')
		mark.at = from + int64(at+end+1)
		return end >= 0, nil
	})
	if err != nil {
		return Mark{}, fmt.Errorf("audit: wait for the marker: %w", err)
	}
	return mark, nil
}

// Since returns a user's requests between two marks, in the order in which they
// were answered. Watches are left out unless they were refused: they are answered
// when they end. It is an error if the log began anew between the marks, or since.
func (a *Audit) Since(from, to Mark, user string) ([]Request, error) {
	file, err := os.Open(a.path)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	defer file.Close()
	now, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if !os.SameFile(from.file, now) || !os.SameFile(to.file, now) {
		return nil, fmt.Errorf("audit: %s began anew after %d MiB, and not all requests are in it", a.path, auditLogMiB)
	}
	var all []Request
	reader := bufio.NewReader(io.NewSectionReader(file, from.at, to.at-from.at))
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		request, ok, err := parseAudit(line)
		if err != nil {
			return nil, fmt.Errorf("audit: %w", err)
		}
		if ok && request.User == user && (request.Verb != "watch" || request.Code >= 400) {
			all = append(all, request)
		}
	}
}

// parseAudit reads one line of the log; ok is false for one that is not about
// the answer to a request for a resource.
func parseAudit(line []byte) (request Request, ok bool, err error) {
	var event struct {
		Stage          string
		Verb           string
		User           struct{ Username string }
		ObjectRef      *struct{ Resource, Subresource, Name string }
		ResponseStatus struct{ Code int }
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return request, false, err
	}
	if event.Stage != "ResponseComplete" || event.ObjectRef == nil {
		return request, false, nil
	}
	request = Request{User: event.User.Username, Verb: event.Verb, Resource: event.ObjectRef.Resource, Name: event.ObjectRef.Name, Code: event.ResponseStatus.Code}
	if event.ObjectRef.Subresource != "" {
		request.Resource += "/" + event.ObjectRef.Subresource
	}
	return request, true, nil
}
