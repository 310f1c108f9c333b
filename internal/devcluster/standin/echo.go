package standin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"windlass.dev/internal/devcluster/pause"
)

// echoed is a request as the echo server saw it: what the Gateway API's conformance suite
// reads. See https://github.com/kubernetes-sigs/gateway-api/tree/main/conformance/echo-basic.
type echoed struct {
	Path      string      `json:"path"`
	Host      string      `json:"host"`
	Method    string      `json:"method"`
	Proto     string      `json:"proto"`
	Headers   http.Header `json:"headers"`
	HTTPPort  string      `json:"httpPort"`
	Namespace string      `json:"namespace"`
	Ingress   string      `json:"ingress"`
	Service   string      `json:"service"`
	Pod       string      `json:"pod"`
	TLS       *echoedTLS  `json:"tls,omitempty"`
}

type echoedTLS struct {
	Version            string   `json:"version"`
	PeerCertificates   []string `json:"peerCertificates,omitempty"`
	ServerName         string   `json:"serverName"`
	NegotiatedProtocol string   `json:"negotiatedProtocol,omitempty"`
	CipherSuite        string   `json:"cipherSuite"`
}

// echo serves HTTP on port 3000, HTTP/2 without TLS on 3001, and HTTPS on 8443 if there is
// a certificate. As a server of GRPC, TCP or UDP it only runs: those are not echoed.
func (s settings) echo(ctx context.Context, out io.Writer) error {
	for _, other := range []string{"GRPC_ECHO_SERVER", "TCP_ECHO_SERVER", "UDP_ECHO_SERVER"} {
		if s.env(other) != "" {
			<-ctx.Done()
			return nil
		}
	}
	served, servers := make(chan error, 3), []*http.Server{}
	start := func(port string, h http.Handler, serve func(*http.Server, net.Listener) error) error {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(s.env("LISTEN_IP"), port))
		if err != nil {
			return err
		}
		server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, Protocols: new(http.Protocols)}
		server.Protocols.SetHTTP1(true)
		server.Protocols.SetHTTP2(true)
		server.Protocols.SetUnencryptedHTTP2(port == "3001")
		servers = append(servers, server)
		fmt.Fprintln(out, "listening on", listener.Addr())
		go func() { served <- serve(server, listener) }()
		return nil
	}
	plain := func(server *http.Server, l net.Listener) error { return server.Serve(l) }
	problem := errors.Join(start("3000", s.echoRoutes(out), plain), start("3001", onlyHTTP2(s.echoHandler(out)), plain))
	if s.env("TLS_SERVER_CERT") != "" && s.env("TLS_SERVER_PRIVKEY") != "" {
		problem = errors.Join(problem, start("8443", s.echoRoutes(out), s.serveTLS))
	}
	if problem == nil {
		select {
		case problem = <-served:
		case <-ctx.Done():
		}
	}
	for _, server := range servers {
		problem = errors.Join(problem, server.Close())
	}
	return problem
}

// file is the path of what is mounted.
func (s settings) file(path string) string { return filepath.Join(s.env("CONTAINER_ROOT"), path) }

func (s settings) serveTLS(server *http.Server, l net.Listener) error {
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if file := s.env("TLS_CLIENT_CACERTS"); file != "" {
		content, err := os.ReadFile(s.file(file))
		if err != nil {
			return err
		}
		server.TLSConfig.ClientCAs, server.TLSConfig.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
		if !server.TLSConfig.ClientCAs.AppendCertsFromPEM(content) {
			return fmt.Errorf("%s has no certificates", file)
		}
	}
	return server.ServeTLS(l, s.file(s.env("TLS_SERVER_CERT")), s.file(s.env("TLS_SERVER_PRIVKEY")))
}

func (s settings) echoRoutes(out io.Writer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil || code < 200 || code > 999 {
			code = http.StatusBadRequest
		}
		w.WriteHeader(code)
	})
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }()
		for {
			kind, message, err := c.Read(r.Context())
			if err != nil || c.Write(r.Context(), kind, message) != nil {
				return
			}
		}
	})
	mux.HandleFunc("/", s.echoHandler(out))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The multiplexer would redirect.
		r.URL.Path = strings.ReplaceAll(r.URL.Path, "//", "/")
		mux.ServeHTTP(w, r)
	})
}

func onlyHTTP2(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			http.Error(w, "Expected h2c request", http.StatusBadRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// echoHandler answers with the request, after as long as its parameter delay says, and with
// the headers that X-Echo-Set-Header asks for.
func (s settings) echoHandler(out io.Writer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(out, "Echoing back request made to %s to client (%s)\n", r.RequestURI, r.RemoteAddr)
		if d, err := time.ParseDuration(r.FormValue("delay")); err == nil {
			pause.For(r.Context(), d)
		}
		h := w.Header()
		for _, list := range r.Header["X-Echo-Set-Header"] {
			for one := range strings.SplitSeq(list, ",") {
				name, value, _ := strings.Cut(strings.TrimSpace(one), ":")
				if before := h[name]; len(before) > 0 {
					value = before[0] + "," + strings.TrimSpace(value)
				}
				h[name] = []string{value}
			}
		}
		h.Set("Content-Type", "application/json")
		h.Set("X-Content-Type-Options", "nosniff")
		answer := echoed{
			Path: r.RequestURI, Host: r.Host, Method: r.Method, Proto: r.Proto, Headers: r.Header, HTTPPort: "3000",
			Namespace: s.env("NAMESPACE"), Ingress: s.env("INGRESS_NAME"), Service: s.env("SERVICE_NAME"), Pod: s.env("POD_NAME"), TLS: tlsOf(r.TLS),
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			fmt.Fprintln(out, err)
		}
	}
}

func tlsOf(state *tls.ConnectionState) *echoedTLS {
	if state == nil {
		return nil
	}
	e := &echoedTLS{
		Version: strings.ReplaceAll(tls.VersionName(state.Version), "TLS ", "TLSv"), ServerName: state.ServerName,
		NegotiatedProtocol: state.NegotiatedProtocol, CipherSuite: tls.CipherSuiteName(state.CipherSuite),
	}
	for _, c := range state.PeerCertificates {
		e.PeerCertificates = append(e.PeerCertificates, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})))
	}
	return e
}
