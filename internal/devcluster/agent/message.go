package agent

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
)

// How much goes into a termination message: of the file, and of the log if the policy
// says so, in bytes and in lines.
// See https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure.
const (
	maxMessage   = 4096
	maxTail      = 2048
	maxTailLines = 80
)

// messageFile is where the program may say why it ends; "" for nowhere.
func (c *container) messageFile() string {
	if c.spec.TerminationMessagePath == "" {
		return ""
	}
	return c.path(c.spec.TerminationMessagePath)
}

// makeTerminationMessage makes the file, empty for each run.
func (c *container) makeTerminationMessage() error {
	path := c.messageFile()
	if path == "" {
		return nil
	}
	return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600))
}

// terminationMessage is what the last run left to say.
func (c *container) terminationMessage(ctx context.Context, code int32) string {
	message := ""
	if path := c.messageFile(); path != "" {
		message = lastBytes(path, maxMessage)
	}
	if message == "" && code != 0 && c.spec.TerminationMessagePolicy == corev1.TerminationMessageFallbackToLogsOnError {
		return c.tail(ctx)
	}
	return message
}

// lastBytes is the end of a file, if it can be read.
func lastBytes(path string, most int64) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return ""
	}
	content, err := io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-most), most))
	if err != nil {
		return ""
	}
	return string(content)
}

// tail is the end of what the container's last run printed.
func (c *container) tail(ctx context.Context) string {
	c.mu.Lock()
	path := c.lastLog
	c.mu.Unlock()
	var all bytes.Buffer
	if err := crilogs.ReadLogs(ctx, path, "", &crilogs.LogOptions{TailLines: new(int64(maxTailLines))}, nil, &all, &all); err != nil {
		return ""
	}
	return string(all.Bytes()[max(0, all.Len()-maxTail):])
}
