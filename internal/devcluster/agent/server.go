package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// servingName is the name of the loopback interface, under which the API server
// reaches the kubelets: the address that nodes report is that of no machine.
const servingName = "localhost"

// How long a stream may be silent, and take to be made, as in the kubelet.
const (
	streamIdle   = 4 * time.Hour
	streamMaking = remotecommand.DefaultStreamCreationTimeout
)

// serve serves, on a free port, what the API server asks of a kubelet, until ctx ends.
func (n *node) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return errors.Join(fmt.Errorf("%s is no address of TCP", listener.Addr()), listener.Close())
	}
	n.port.Store(int32(address.Port))
	server := &http.Server{
		Handler: n.routes(), TLSConfig: n.agent.options.Serving.Clone(), ReadHeaderTimeout: 10 * time.Second,
		// Streams end with the node.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    n.agent.errorLog(),
	}
	n.running.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.agent.log("kubelet of %s: %v", n.Name, err)
		}
	})
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return nil
}

// routes are those of the kubelet that kubectl needs.
func (n *node) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", n.withContainer(serveLogs))
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", n.withContainer(serveExec))
	mux.HandleFunc("/attach/{namespace}/{pod}/{container}", n.withContainer(serveAttach))
	mux.HandleFunc("/portForward/{namespace}/{pod}", n.servePortForward)
	return mux
}

// withContainer finds the container that a request is about.
func (n *node) withContainer(serve func(*container, http.ResponseWriter, *http.Request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := n.find(r)
		if p == nil {
			http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
			return
		}
		c := p.container(r.PathValue("container"))
		if c == nil {
			http.Error(w, fmt.Sprintf("container %q not found in pod %q", r.PathValue("container"), r.PathValue("pod")), http.StatusNotFound)
			return
		}
		serve(c, w, r)
	}
}

// find returns the pod of that name on the node, or nil.
func (n *node) find(r *http.Request) *pod {
	n.agent.mu.Lock()
	defer n.agent.mu.Unlock()
	for _, p := range n.agent.pods {
		if o := p.object(); p.node == n && o.Namespace == r.PathValue("namespace") && o.Name == r.PathValue("pod") {
			return p
		}
	}
	return nil
}

func (n *node) servePortForward(w http.ResponseWriter, r *http.Request) {
	p := n.find(r)
	if p == nil {
		http.Error(w, fmt.Sprintf("pod %q does not exist", r.PathValue("pod")), http.StatusNotFound)
		return
	}
	options, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	portforward.ServePortForward(w, r, p, p.object().Name, string(p.object().UID), options, streamIdle, streamMaking, portforward.SupportedProtocols)
}

func serveExec(c *container, w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, c, c.pod.object().Name, "", c.spec.Name, r.Form["command"], options, streamIdle, streamMaking, remotecommand.SupportedStreamingProtocols)
}

func serveAttach(c *container, w http.ResponseWriter, r *http.Request) {
	options, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeAttach(w, r, c, c.pod.object().Name, "", c.spec.Name, options, streamIdle, streamMaking, remotecommand.SupportedStreamingProtocols)
}
