package aws

import (
	"bytes"
	"io"
	"net/http"
)

// Client is an HTTP client for the SDK that has read an answer whole before it returns.
// The SDK closes a request's body as soon as there is an answer. If net/http has not yet
// seen that body's end, which it looks for once more, it takes that for a failure and closes the
// connection beneath the answer. The SDK then tries again; who tests what a single call does
// cannot have that.
type Client struct{}

// Do sends a request.
func (Client) Do(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(content))
	return response, nil
}
