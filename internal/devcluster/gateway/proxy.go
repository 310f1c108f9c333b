package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// proxy carries out what rules say.
type proxy struct {
	reverse *httputil.ReverseProxy
	// mirroring are the requests that are sent for nobody.
	mirroring sync.WaitGroup
}

// exchange is what is to become of a request, kept in its context.
type exchange struct {
	addresses []string
	h2c       bool
	// host is what the backend is told; empty is what the client said.
	host    string
	action  *action
	backend *backend
	// origin is the client's, if it has one.
	origin string
}

type exchangeKey struct{}

func exchangeOf(r *http.Request) *exchange {
	e, _ := r.Context().Value(exchangeKey{}).(*exchange)
	return e
}

func newProxy() *proxy {
	plain := &http.Transport{MaxIdleConnsPerHost: 1000, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	h2c := plain.Clone()
	h2c.Protocols = new(http.Protocols)
	h2c.Protocols.SetUnencryptedHTTP2(true)
	return &proxy{reverse: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetXForwarded()
			r.Out.Host = r.In.Host
			r.Out.URL.Scheme, r.Out.URL.RawQuery = "http", r.In.URL.RawQuery
			if e := exchangeOf(r.In); e != nil {
				e.change(r.Out)
			}
		},
		Transport:      &retrying{plain: plain, h2c: h2c},
		BufferPool:     &buffers{},
		ModifyResponse: modify,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			status := http.StatusBadGateway
			if errors.Is(err, context.DeadlineExceeded) {
				status = http.StatusGatewayTimeout
			}
			w.Header().Set("X-Windlass-Gateway", err.Error())
			w.WriteHeader(status)
		},
	}}
}

// change changes what goes out: for the rule first, then for the backend. What the client
// says about its connection, and what proxies say, has been settled before.
func (e *exchange) change(out *http.Request) {
	if e.host != "" {
		out.Host = e.host
	}
	e.action.filters.request.change(out.Header)
	if e.backend != nil {
		e.backend.filters.request.change(out.Header)
	}
}

// modify changes an answer's headers: for the backend first, then for the rule.
func modify(response *http.Response) error {
	e := exchangeOf(response.Request)
	if e == nil {
		return nil
	}
	if e.backend != nil {
		e.backend.filters.response.change(response.Header)
	}
	e.action.filters.response.change(response.Header)
	if e.action.cors != nil {
		e.action.cors.allow(e.origin, response.Header)
	}
	return nil
}

// serve does with a request what a rule says. port is the one that it came to, or 0 if
// that is the one that its host names.
func (p *proxy) serve(w http.ResponseWriter, r *http.Request, u *rule, port int) {
	a := u.action
	switch {
	case a.cors != nil && preflight(r):
		a.cors.answer(w, r)
		return
	case a.redirect != nil:
		w.Header().Set("Location", a.redirect.target(r, u.path.value, port))
		w.WriteHeader(a.redirect.status)
		return
	}
	b := a.pick()
	if b == nil || b.endpoints == nil {
		http.Error(w, "the route has no backend", http.StatusInternalServerError)
		return
	}
	e := &exchange{addresses: b.endpoints.order(), h2c: b.endpoints.h2c, action: a, backend: b, origin: r.Header.Get("Origin")}
	if len(e.addresses) == 0 {
		http.Error(w, "no endpoint is ready", http.StatusServiceUnavailable)
		return
	}
	ctx := context.WithValue(r.Context(), exchangeKey{}, e)
	if limit := a.limit(); limit > 0 && !upgrades(r) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r = r.WithContext(ctx)
	if a.rewrite != nil {
		r, e.host = a.rewrite.of(r, u.path.value), a.rewrite.host
	}
	for _, m := range a.mirrors {
		if m.chosen() {
			r = p.mirror(r, m, e)
		}
	}
	p.reverse.ServeHTTP(w, r)
}

// upgrades says whether a client wants another protocol, as the proxy sees it too.
func upgrades(r *http.Request) bool {
	for token := range strings.SplitSeq(strings.Join(r.Header["Connection"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(token), "Upgrade") {
			return r.Header.Get("Upgrade") != ""
		}
	}
	return false
}

// limit is how long a request may take. What was sent is not sent again, so that a
// backend has one try.
func (a *action) limit() time.Duration {
	if a.timeout > 0 && a.backendTimeout > 0 {
		return min(a.timeout, a.backendTimeout)
	}
	return max(a.timeout, a.backendTimeout)
}

// of returns the request with the path that the backend is to see.
func (t *rewrite) of(r *http.Request, matched string) *http.Request {
	if t.path == nil {
		return r
	}
	to := *r.URL
	to.Path = t.path.apply(r.URL.Path, matched)
	if to.RawPath != "" {
		to.RawPath = t.path.apply(r.URL.RawPath, matched) // Used only if it says the same.
	}
	out := *r
	out.URL = &to
	return &out
}

// mirrored bounds the body of a request that is mirrored, since it has to be kept: what is
// longer is not mirrored.
const mirrored = 8 << 20

// mirrorTimeout bounds how long a mirror may take.
const mirrorTimeout = 30 * time.Second

// mirror sends a copy of the request to another backend, and returns the request to go on
// with.
func (p *proxy) mirror(r *http.Request, m mirror, main *exchange) *http.Request {
	addresses := m.endpoints.order()
	if len(addresses) == 0 || upgrades(r) {
		return r
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, mirrored+1))
	again := *r
	again.Body = readCloser{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
	if len(body) == 0 {
		again.Body = r.Body
	}
	if err != nil || len(body) > mirrored {
		return &again
	}
	e := &exchange{addresses: addresses, h2c: m.endpoints.h2c, host: main.host, action: &action{filters: filters{request: main.action.filters.request}}}
	ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(r.Context()), exchangeKey{}, e), mirrorTimeout)
	copied := r.Clone(ctx)
	copied.Body = io.NopCloser(bytes.NewReader(body))
	p.mirroring.Go(func() {
		defer cancel()
		// An answer that breaks off ends a handler by a panic, which no server recovers here.
		defer func() {
			if why := recover(); why != nil && why != http.ErrAbortHandler { //nolint:errorlint // It is panicked with as it is.
				panic(why)
			}
		}()
		p.reverse.ServeHTTP(&nobody{header: http.Header{}}, copied)
	})
	return &again
}

type readCloser struct {
	io.Reader
	io.Closer
}

// nobody gets an answer that nobody wants.
type nobody struct{ header http.Header }

func (n *nobody) Header() http.Header         { return n.header }
func (n *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n *nobody) WriteHeader(int)             {}

// retrying sends a request to the next endpoint when no connection to one can be had and
// nothing of the request was sent. All other failures are the client's to hear.
type retrying struct{ plain, h2c http.RoundTripper }

func (t *retrying) RoundTrip(r *http.Request) (*http.Response, error) {
	e := exchangeOf(r)
	if e == nil {
		return nil, errors.New("no endpoint was chosen")
	}
	base := t.plain
	if e.h2c {
		base = t.h2c
	}
	// When a kept connection ends, the transport connects again by itself: that no
	// connection can be had does not say that nothing was sent.
	var sent atomic.Bool
	traced := r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	var err error
	for _, address := range e.addresses {
		out, to := *traced, *r.URL
		to.Host = address
		out.URL = &to
		if r.Body != nil {
			out.Body = io.NopCloser(r.Body) // The transport closes it, although nothing was read.
		}
		var response *http.Response
		if response, err = base.RoundTrip(&out); err == nil {
			return response, nil
		}
		var failed *net.OpError
		if !errors.As(err, &failed) || failed.Op != "dial" || sent.Load() {
			return nil, err
		}
	}
	return nil, err
}

// buffers are shared between requests.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if buffer, ok := b.pool.Get().(*[]byte); ok {
		return *buffer
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }
