package traffic

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// beat is how often each websocket is used.
const beat = time.Second

// holdWebSocket keeps one websocket open, uses it, and opens it again when it ends. An
// end that is announced, as a server does that goes away, is no loss.
func holdWebSocket(ctx context.Context, p Plan, r *recorder) {
	down := time.Now()
	for ctx.Err() == nil {
		c, err := openWebSocket(ctx, p)
		if ctx.Err() != nil {
			if err == nil {
				_ = c.CloseNow()
			}
			return
		}
		if err != nil {
			r.webSocket(socketRefused, 0)
			if !pause(ctx, retryPause) {
				return
			}
			continue
		}
		r.webSocket(socketOpened, time.Since(down))
		end := useWebSocket(ctx, p, c)
		down = time.Now()
		r.webSocket(end, 0)
	}
}

func openWebSocket(ctx context.Context, p Plan) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Timeout)
	defer cancel()
	transport := &http.Transport{DialContext: dial(p.Connect), DisableKeepAlives: true}
	c, response, err := websocket.Dial(ctx, p.WebSocketURL, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: p.Header, Host: p.Host,
	})
	if response != nil && response.Body != nil && err != nil {
		_ = response.Body.Close()
	}
	return c, err
}

// useWebSocket sends and wants to get back, until the websocket ends.
func useWebSocket(ctx context.Context, p Plan, c *websocket.Conn) socketEvent {
	// A read that is interrupted breaks the websocket off, so that ctx must not.
	inner, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer func() { _ = c.CloseNow() }()
	echoes, ended := make(chan string), make(chan error, 1)
	go func() {
		for {
			_, message, err := c.Read(inner)
			if err != nil {
				ended <- err
				return
			}
			select {
			case echoes <- string(message):
			case <-inner.Done():
			}
		}
	}()
	for i := 0; ; i++ {
		text := fmt.Sprintf("beat %d", i)
		if err := c.Write(inner, websocket.MessageText, []byte(text)); err != nil {
			return endOf(<-ended) // The reader hears why.
		}
		late := time.NewTimer(p.Timeout)
		select {
		case echo := <-echoes:
			late.Stop()
			if echo != text {
				return socketDropped
			}
		case err := <-ended:
			late.Stop()
			return endOf(err)
		case <-late.C:
			return socketDropped
		}
		next := time.NewTimer(beat)
		select {
		case <-next.C:
		case err := <-ended:
			next.Stop()
			return endOf(err)
		case <-ctx.Done():
			next.Stop()
			_ = c.Close(websocket.StatusNormalClosure, "")
			return socketKept
		}
	}
}

// endOf tells an end that was announced from a connection that broke.
func endOf(err error) socketEvent {
	switch websocket.CloseStatus(err) {
	case websocket.StatusNormalClosure, websocket.StatusGoingAway, websocket.StatusServiceRestart, websocket.StatusTryAgainLater:
		return socketClosed
	default:
		return socketDropped
	}
}
