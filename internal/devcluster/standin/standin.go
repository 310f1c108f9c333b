// Package standin has programs that behave, as far as anybody outside can tell, like
// the ones in images: process nodes run them. What they do beyond serving, such as
// starting slowly or failing, is set by their environment.
package standin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"windlass.dev/internal/devcluster/pause"
)

// Kinds are the programs, and Main runs one: it returns its exit code when it ends by
// itself, or some time after ctx, as a program does that is told to end by SIGTERM.
//
//   - mattermost: /api/v4/system/ping, a websocket that echoes, metrics; also "db
//     migrate", "db ping" and "jobserver";
//   - web: the same on port 8080;
//   - grpc: the health protocol of gRPC on port 8080;
//   - echo: says in JSON what it was asked, as the Gateway API's conformance suite wants it;
//   - worker: runs until it is told to end;
//   - succeed, fail: end at once;
//   - with-hosts: becomes another program, for which a file is /etc/hosts.
var Kinds = []string{"mattermost", "web", "grpc", "echo", "worker", "succeed", "fail", "with-hosts"}

// Main runs a program with its arguments.
func Main(ctx context.Context, kind string, arguments []string, out io.Writer, env func(string) string) int {
	s := settings{env: env}
	switch {
	case !slices.Contains(Kinds, kind):
		fmt.Fprintf(out, "there is no stand-in %q; there are %s\n", kind, strings.Join(Kinds, ", "))
		return 2
	case kind == "with-hosts":
		return withHosts(arguments, out)
	case kind == "succeed":
		return 0
	case kind == "fail":
		return 1
	case slices.Equal(arguments, []string{"db", "migrate"}):
		return s.migrate(ctx, out)
	case len(arguments) > 1 && arguments[0] == "db":
		return 0
	case kind == "worker" || slices.Equal(arguments, []string{"jobserver"}):
		<-ctx.Done()
		pause.For(context.WithoutCancel(ctx), s.duration("STANDIN_SHUTDOWN"))
		return 0
	}
	var err error
	switch kind {
	case "echo":
		err = s.echo(ctx, out)
	case "grpc":
		err = s.serveGRPC(ctx, out)
	case "mattermost":
		err = s.serve(ctx, "8065", out)
	default:
		err = s.serve(ctx, "8080", out)
	}
	if err != nil {
		fmt.Fprintln(out, err)
		return 1
	}
	return 0
}

// settings are read from the environment; what is not set is nothing. Durations are
// as in 1.5s, rates from 0 to 1.
type settings struct{ env func(string) string }

func (s settings) duration(name string) time.Duration {
	d, err := time.ParseDuration(s.env(name))
	if err != nil {
		return 0
	}
	return d
}

func (s settings) rate(name string) float64 {
	r, err := strconv.ParseFloat(s.env(name), 64)
	if err != nil {
		return 0
	}
	return r
}

// migrate takes STANDIN_MIGRATE, and fails if STANDIN_MIGRATE_FAILS is true.
func (s settings) migrate(ctx context.Context, out io.Writer) int {
	if !pause.For(ctx, s.duration("STANDIN_MIGRATE")) {
		return 143
	}
	if s.env("STANDIN_MIGRATE_FAILS") == "true" {
		fmt.Fprintln(out, "the migration failed, because it was told to")
		return 1
	}
	return 0
}

// serve listens after STANDIN_BOOT. Told to end, it stops listening at once, as servers
// do, announces the end of websockets, and takes at least STANDIN_SHUTDOWN; with
// STANDIN_ABRUPT it ends at once, as many programs do, and breaks off what is under way.
func (s settings) serve(ctx context.Context, port string, out io.Writer) error {
	if !pause.For(ctx, s.duration("STANDIN_BOOT")) {
		return nil
	}
	if p := s.env("STANDIN_PORT"); p != "" {
		port = p
	}
	address := net.JoinHostPort(s.env("LISTEN_IP"), port)
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "listening on", address)
	h := &handler{settings: s, open: map[*websocket.Conn]bool{}}
	server := &http.Server{Handler: h.routes(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	crash := make(<-chan time.Time)
	if d := s.duration("STANDIN_CRASH_AFTER"); d > 0 {
		crash = time.After(d)
	}
	select {
	case err := <-served:
		return err
	case <-crash:
		return errors.New("crashed, because it was told to")
	case <-ctx.Done():
	}
	if s.env("STANDIN_ABRUPT") == "true" {
		return nil
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	least := time.After(s.duration("STANDIN_SHUTDOWN"))
	var told sync.WaitGroup
	told.Go(h.end)
	err = server.Shutdown(ending)
	told.Wait()
	<-least
	return err
}

type handler struct {
	settings settings

	mu   sync.Mutex
	open map[*websocket.Conn]bool
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v4/system/ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"status":"OK"}`)
	})
	mux.HandleFunc("/api/v4/websocket", h.webSocket)
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		fmt.Fprintf(w, "# TYPE standin_websockets gauge\nstandin_websockets %d\n", len(h.open))
	})
	// It takes as long as the request asks for.
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		if d, err := time.ParseDuration(r.URL.Query().Get("for")); err == nil {
			pause.For(r.Context(), d)
		}
		fmt.Fprintln(w, "done")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Windlass-Pod", h.settings.env("HOSTNAME"))
		_, tag, _ := strings.Cut(h.settings.env("CONTAINER_IMAGE"), ":")
		w.Header().Set("X-Windlass-Version", tag)
		if rand.Float64() < h.settings.rate("STANDIN_ERROR_RATE") {
			http.Error(w, "failed, because it was told to", http.StatusInternalServerError)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// webSocket echoes.
func (h *handler) webSocket(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer func() { _ = c.CloseNow() }()
	h.mu.Lock()
	h.open[c] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.open, c)
	}()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil || c.Write(r.Context(), kind, message) != nil {
			return
		}
	}
}

// end announces to all websockets that the server goes away, and waits until they heard.
func (h *handler) end() {
	h.mu.Lock()
	open := slices.Collect(maps.Keys(h.open))
	h.mu.Unlock()
	var closing sync.WaitGroup
	for _, c := range open {
		closing.Go(func() { _ = c.Close(websocket.StatusGoingAway, "the server ends") })
	}
	closing.Wait()
}

// Env is the environment of this process.
func Env(name string) string { return os.Getenv(name) }
