package processnodes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"windlass.dev/internal/devcluster/clustertest"
)

// request asks a host and port for who answers, in bash.
const request = `ask() { exec 3<>/dev/tcp/$1/$2 && printf 'GET / HTTP/1.0\r\n\r\n' >&3 && tr -d '\r' <&3 | sed -n 's/^X-Windlass-Pod: //p'; exec 3<&-; }; `

// answered counts who answers from within a pod.
func answered(t testing.TB, ns, from, host, port string, times int) map[string]int {
	t.Helper()
	out, code := ask(t, ns, "", "exec", from, "--", "bash", "-c", fmt.Sprintf("%s for i in $(seq %d); do ask %s %s; done", request, times, host, port))
	if code != 0 {
		t.Logf("from %s to %s:%s: %s", from, host, port, out)
	}
	all := map[string]int{}
	for pod := range strings.Lines(out) {
		all[strings.TrimSpace(pod)]++
	}
	return all
}

func deploy(t testing.TB, c kubernetes.Interface, ns, name string, replicas int32) {
	t.Helper()
	labels := map[string]string{"app": name}
	container := serving("main")
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{container}}},
	}}
	if _, err := c.AppsV1().Deployments(ns).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func expose(t testing.TB, c kubernetes.Interface, ns, name string, spec corev1.ServiceSpec) *corev1.Service {
	t.Helper()
	s, err := c.CoreV1().Services(ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
// and .../reference/networking/virtual-ips: a pod reaches the ready pods behind a Service
// by its variables, at a named target port, and nothing when there are none.
func TestServices(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	behind := map[string]string{"app": "web"}
	port := corev1.ServicePort{Name: "to-web", Port: 8000, TargetPort: intstr.FromString("http")}
	expose(t, c, ns, "web-front", corev1.ServiceSpec{Selector: behind, Ports: []corev1.ServicePort{port}})
	expose(t, c, ns, "sticky", corev1.ServiceSpec{Selector: behind, Ports: []corev1.ServicePort{port}, SessionAffinity: corev1.ServiceAffinityClientIP})
	expose(t, c, ns, "headless", corev1.ServiceSpec{Selector: behind, Ports: []corev1.ServicePort{port}, ClusterIP: corev1.ClusterIPNone})
	deploy(t, c, ns, "web", 3)
	from := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	until(t, c, ns, from, "a pod that asks", is(corev1.PodReady, corev1.ConditionTrue))

	variables := see(t, ns, from, "env | grep -E '^(WEB_FRONT|STICKY|HEADLESS)_' | sort | cut -d= -f1 | xargs")
	const want = "STICKY_PORT STICKY_PORT_8000_TCP STICKY_PORT_8000_TCP_ADDR STICKY_PORT_8000_TCP_PORT STICKY_PORT_8000_TCP_PROTO STICKY_SERVICE_HOST STICKY_SERVICE_PORT STICKY_SERVICE_PORT_TO_WEB"
	if variables != want+" "+strings.ReplaceAll(want, "STICKY", "WEB_FRONT") {
		t.Errorf("the variables are %s", variables)
	}
	waitFor(t, "all three to answer", func() bool {
		return len(answered(t, ns, from, "$WEB_FRONT_SERVICE_HOST", "$WEB_FRONT_SERVICE_PORT_TO_WEB", 30)) == 3
	})
	if got := answered(t, ns, from, "$STICKY_SERVICE_HOST", "$STICKY_SERVICE_PORT", 30); len(got) != 1 {
		t.Errorf("with affinity, %v answer", got)
	}
	if _, err := c.AppsV1().Deployments(ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":0}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "connections to be refused", func() bool {
		out := see(t, ns, from, "bash -c ': <>/dev/tcp/$WEB_FRONT_SERVICE_HOST/$WEB_FRONT_SERVICE_PORT'")
		return strings.Contains(out, "Connection refused")
	})
}

// https://kubernetes.io/docs/concepts/workloads/pods/... enableServiceLinks, and
// .../tasks/run-application/access-api-from-pod: the API server's variables are always
// there, and lead to it with the pod's token and authority.
func TestAPIServerFromPod(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	expose(t, c, ns, "other", corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}})
	from := create(t, c, ns, corev1.PodSpec{EnableServiceLinks: new(false), TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	until(t, c, ns, from, "a pod that asks", is(corev1.PodReady, corev1.ConditionTrue))
	if got := see(t, ns, from, "env | grep OTHER_"); strings.Contains(got, "OTHER_SERVICE") {
		t.Errorf("there are links: %s", got)
	}
	const account = "cat var/run/secrets/kubernetes.io/serviceaccount/"
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(see(t, ns, from, account+"ca.crt")))
	caller := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, see(t, ns, from, "echo https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT_HTTPS")+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+see(t, ns, from, account+"token"))
	r.Header.Set("Content-Type", "application/json")
	response, err := caller.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !regexp.MustCompile(`"username":\s*"system:serviceaccount:`+ns+`:default"`).Match(body) {
		t.Errorf("it answers %s: %s, %v", response.Status, body, err)
	}
}

// TestServicesHalfClose: what one side has said ends without ending the other side.
func TestServicesHalfClose(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	deploy(t, c, ns, "half", 1)
	s := expose(t, c, ns, "half", corev1.ServiceSpec{Selector: map[string]string{"app": "half"}, Ports: []corev1.ServicePort{{Port: 8000, TargetPort: intstr.FromInt32(8080)}}})
	from := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	until(t, c, ns, from, "a pod that asks", is(corev1.PodReady, corev1.ConditionTrue))
	address := see(t, ns, from, "echo $HALF_SERVICE_HOST:$HALF_SERVICE_PORT")
	if !strings.HasPrefix(address, "127.") {
		t.Fatalf("Service %s is at %q", s.Spec.ClusterIP, address)
	}
	waitFor(t, "an answer after the end of the question", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err != nil {
			return false
		}
		defer func() { _ = connection.Close() }()
		fmt.Fprint(connection, "GET / HTTP/1.0\r\n\r\n")
		if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
			return false
		}
		answer, err := io.ReadAll(connection)
		return err == nil && strings.HasPrefix(string(answer), "HTTP/1.0 200") && strings.HasSuffix(string(answer), "hello\n")
	})
}

// https://kubernetes.io/docs/concepts/services-networking/dns-pod-service: Services, the
// ready pods of headless ones, and pods with a host name in them, by names of every
// length; what changes is seen by programs that run.
func TestNames(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "unshare", "-Urm", "true").CombinedOutput(); err != nil {
		t.Skipf("the system does not allow its users namespaces: %v, %s", err, out)
	}
	ns, c := clustertest.Namespace(t), client(t)
	behind := map[string]string{"app": "db"}
	port := corev1.ServicePort{Name: "db", Port: 8000, TargetPort: intstr.FromInt32(8080)}
	expose(t, c, ns, "front", corev1.ServiceSpec{Selector: behind, Ports: []corev1.ServicePort{port}})
	expose(t, c, ns, "db", corev1.ServiceSpec{Selector: behind, Ports: []corev1.ServicePort{port}, ClusterIP: corev1.ClusterIPNone})
	asking := shell("main", "exec sleep 1000")
	asking.Image = "host-with-names"
	from := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{asking}})
	until(t, c, ns, from, "a pod that asks", is(corev1.PodReady, corev1.ConditionTrue))
	if out, code := ask(t, ns, "", "exec", from, "--", "getent", "hosts", "db"); code == 0 {
		t.Errorf("a headless Service without pods is at %s", out)
	}
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db"}, Spec: appsv1.StatefulSetSpec{
		ServiceName: "db", Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: behind}, PodManagementPolicy: appsv1.ParallelPodManagement,
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: behind}, Spec: corev1.PodSpec{Containers: []corev1.Container{serving("main")}}},
	}}
	if _, err := c.AppsV1().StatefulSets(ns).Create(t.Context(), set, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		host, port string
		pods       int
	}{
		"a Service":            {"front", "8000", 2},
		"with its namespace":   {"front." + ns, "8000", 2},
		"with svc":             {"front." + ns + ".svc", "8000", 2},
		"in full":              {"front." + ns + ".svc.cluster.local", "8000", 2},
		"a pod":                {"db-1.db", "8080", 1},
		"a pod's name in full": {"db-0.db." + ns + ".svc.cluster.local", "8080", 1},
		"a headless Service":   {"db", "8080", 1}, // Bash takes the first address that answers.
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			waitFor(t, fmt.Sprintf("%d to answer", one.pods), func() bool { return len(answered(t, ns, from, one.host, one.port, 1+10*one.pods)) == one.pods })
		})
	}
	waitFor(t, "both addresses of the headless Service", func() bool {
		out, _ := ask(t, ns, "", "exec", from, "--", "sh", "-c", "getent ahostsv4 db | grep STREAM | cut -d' ' -f1 | sort -u | wc -l")
		return strings.TrimSpace(out) == "2"
	})
	if out, code := ask(t, ns, "", "exec", from, "--", "getent", "hosts", "localhost"); code != 0 {
		t.Errorf("the machine's own names are gone: %s", out)
	}
}
