package traffic

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// nginx is a second data plane, which shares no code with our gateway, so that a fault of
// the one is not taken for a quality of what it routes to. It serves the Ingresses of one
// namespace, each with a single backend, and takes up changes a second late, as ours.
type nginx struct {
	address   string
	dir       string
	master    *exec.Cmd
	ingresses networkinglisters.IngressNamespaceLister
	slices    discoverylisters.EndpointSliceNamespaceLister
	written   []byte
}

// propagation is how late a change is taken up.
const propagation = time.Second

// nginxProgram is nginx, which the Makefile puts into bin/ from Debian's package if the
// machine has none.
func nginxProgram(t *testing.T) string {
	t.Helper()
	for _, candidate := range []string{os.Getenv("WINDLASS_NGINX"), "nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	if os.Getenv("CI") != "" {
		t.Fatal("nginx is missing: make bin/nginx")
	}
	t.Skip("nginx is missing: install it, or make bin/nginx on Debian")
	return ""
}

// startNginx serves what is in a namespace until the test ends.
func startNginx(t *testing.T, namespace string) *nginx {
	t.Helper()
	program := nginxProgram(t)
	var lc net.ListenConfig
	free, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nginx{address: free.Addr().String(), dir: t.TempDir()}
	free.Close()

	factory := informers.NewSharedInformerFactoryWithOptions(client(t), 0, informers.WithNamespace(namespace))
	n.ingresses = factory.Networking().V1().Ingresses().Lister().Ingresses(namespace)
	n.slices = factory.Discovery().V1().EndpointSlices().Lister().EndpointSlices(namespace)
	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{AddFunc: notify, UpdateFunc: func(_, o any) { notify(o) }, DeleteFunc: notify}
	for _, informer := range []cache.SharedIndexInformer{factory.Networking().V1().Ingresses().Informer(), factory.Discovery().V1().EndpointSlices().Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	if _, err := n.write(); err != nil {
		t.Fatal(err)
	}
	n.master = exec.Command(program, "-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf"), "-e", filepath.Join(n.dir, "error.log"))
	n.master.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := n.master.Start(); err != nil {
		t.Fatal(err)
	}
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		n.follow(ctx, t, changed)
	}()
	t.Cleanup(func() {
		cancel()
		<-followed
		factory.Shutdown()
		_ = n.master.Process.Signal(syscall.SIGTERM) // It may have ended.
		_ = n.master.Wait()                          // By a signal.
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(n.dir, "error.log")) // Whatever there is.
			t.Logf("nginx:\n%s", log[:min(len(log), 4000)])
		}
	})
	return n
}

// follow reloads nginx when its configuration has changed.
func (n *nginx) follow(ctx context.Context, t *testing.T, changed <-chan struct{}) {
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(propagation):
		case <-ctx.Done():
			return
		}
		renewed, err := n.write()
		if err == nil && renewed {
			err = n.master.Process.Signal(syscall.SIGHUP)
		}
		if err != nil {
			t.Errorf("nginx: %v", err)
			return
		}
	}
}

// site is one host and where its requests go.
type site struct {
	Host, Name string
	Endpoints  []string
}

var nginxConf = template.Must(template.New("nginx.conf").Parse(`
user root;
daemon off;
worker_processes 2;
pid nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  server_names_hash_bucket_size 256;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 1000000;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server { listen {{.Address}} default_server; return 404; }
{{- range .Sites}}
{{- if .Endpoints}}
  upstream {{.Name}} {
{{- range .Endpoints}}
    server {{.}} max_fails=0;
{{- end}}
    keepalive 64;
  }
{{- end}}
  server {
    listen {{$.Address}};
    server_name {{.Host}};
    location / {
{{- if .Endpoints}}
      proxy_pass http://{{.Name}};
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 1h;
{{- else}}
      return 503;
{{- end}}
    }
  }
{{- end}}
}
`))

// write writes the configuration, and says whether it differs from the last one.
func (n *nginx) write() (renewed bool, err error) {
	sites, err := n.sites()
	if err != nil {
		return false, err
	}
	var conf bytes.Buffer
	if err := nginxConf.Execute(&conf, map[string]any{"Address": n.address, "Sites": sites}); err != nil {
		return false, err
	}
	if bytes.Equal(conf.Bytes(), n.written) {
		return false, nil
	}
	n.written = conf.Bytes()
	return true, os.WriteFile(filepath.Join(n.dir, "nginx.conf"), n.written, 0o600)
}

func (n *nginx) sites() ([]site, error) {
	ingresses, err := n.ingresses.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var all []site
	for _, in := range ingresses {
		for _, rule := range in.Spec.Rules {
			s := site{Host: rule.Host, Name: in.Namespace + "_" + in.Name}
			if s.Endpoints, err = n.endpoints(rule); err != nil {
				return nil, err
			}
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b site) int { return strings.Compare(a.Host, b.Host) })
	return all, nil
}

// endpoints are the ready ones of a rule's only Service, or those that still serve.
func (n *nginx) endpoints(rule networkingv1.IngressRule) ([]string, error) {
	backend := rule.HTTP.Paths[0].Backend.Service
	all, err := n.slices.List(labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: backend.Name}))
	if err != nil {
		return nil, err
	}
	var ready, serving []string
	for _, slice := range all {
		for _, e := range slice.Endpoints {
			for _, p := range slice.Ports {
				address := fmt.Sprintf("127.%s:%d", strings.TrimPrefix(e.Addresses[0], "10."), *p.Port)
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready = append(ready, address)
				} else if e.Conditions.Serving != nil && *e.Conditions.Serving {
					serving = append(serving, address)
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = serving
	}
	slices.Sort(ready)
	return ready, nil
}
