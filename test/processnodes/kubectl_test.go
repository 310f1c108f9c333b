package processnodes

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"windlass.dev/internal/devcluster"
	"windlass.dev/internal/devcluster/clustertest"
)

// kubectl returns a command of the kubectl that belongs to the control plane.
func kubectl(t testing.TB, ns string, arguments ...string) *exec.Cmd {
	t.Helper()
	binary, err := devcluster.Find("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, binary)
	cmd.Args = append([]string{"kubectl", "--kubeconfig", clustertest.Kubeconfig(), "--namespace", ns}, arguments...)
	cmd.WaitDelay = time.Second
	return cmd
}

// ask runs kubectl and returns what it prints.
func ask(t testing.TB, ns, input string, arguments ...string) (out string, code int) {
	t.Helper()
	cmd := kubectl(t, ns, arguments...)
	var both bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &both, &both
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatalf("kubectl %v: %v", arguments, err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs
func TestLogs(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	// The two streams are two pipes: the order between them is not certain, so that the
	// first run, whose last line counts, uses only one.
	script := `echo one; test -e $CONTAINER_ROOT/data/again || { touch $CONTAINER_ROOT/data/again; echo the first run; exit 1; }; echo two >&2; echo three; exec sleep 100`
	main := shell("main", script)
	main.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	name := create(t, c, ns, corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{main},
		Volumes: []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
	until(t, c, ns, name, "the second run", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].RestartCount > 0 && is(corev1.PodReady, corev1.ConditionTrue)(p)
	})
	lines := regexp.MustCompile(`^((one|two|three)\n){3}$`)
	waitFor(t, "all lines of the second run", func() bool {
		out, _ := ask(t, ns, "", "logs", name)
		return lines.MatchString(out)
	})
	stamp := regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|[+-]\d\d:\d\d) `)
	for title, one := range map[string]struct {
		arguments []string
		want      string
		code      int
	}{
		"no line":           {[]string{"logs", name, "--tail=0"}, "", 0},
		"bytes":             {[]string{"logs", name, "--previous", "--tail=1", "--limit-bytes=9"}, "the first", 0},
		"the future":        {[]string{"logs", name, "--since-time=2099-01-01T00:00:00Z"}, "", 0},
		"another container": {[]string{"logs", name, "-c", "other"}, "error: container other is not valid for pod " + name + " out of: main\n", 1},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			out, code := ask(t, ns, "", one.arguments...)
			if diff := cmp.Diff(one.want, out); diff != "" || code != one.code {
				t.Errorf("it exits with %d: %s", code, diff)
			}
		})
	}
	if out, _ := ask(t, ns, "", "logs", name, "--previous", "--tail=1", "--timestamps"); !stamp.MatchString(out) || stamp.ReplaceAllString(out, "") != "the first run\n" {
		t.Errorf("--previous --timestamps --tail=1 says %q", out)
	}
	out, _ := ask(t, ns, "", "logs", name, "--timestamps", "--since=1h")
	if !lines.MatchString(stamp.ReplaceAllString(out, "")) || len(stamp.FindAllString(out, -1)) != 3 {
		t.Errorf("--timestamps --since=1h says %q", out)
	}
}

// https://kubernetes.io/docs/reference/kubectl/generated/kubectl_logs: -f streams until
// the container ends.
func TestFollowLogs(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	main := shell("main", `echo before; until test -e $CONTAINER_ROOT/go; do sleep 0.1; done; printf 'after, without an end of line'`)
	name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{main}})
	until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
	follow := kubectl(t, ns, "logs", "-f", name)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("before\n"))
	if _, err := io.ReadFull(out, first); err != nil || string(first) != "before\n" {
		t.Fatalf("it said %q: %v", first, err)
	}
	if out, code := ask(t, ns, "", "exec", name, "--", "sh", "-c", "touch $CONTAINER_ROOT/go"); code != 0 {
		t.Fatal(out)
	}
	var rest bytes.Buffer
	if _, err := rest.ReadFrom(out); err != nil || rest.String() != "after, without an end of line\n" {
		t.Errorf("it said %q: %v", rest.String(), err)
	}
	if err := follow.Wait(); err != nil {
		t.Error(err)
	}
}

// TestLastWords: what a program prints while it is told to end is in its log, too.
func TestLastWords(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{shell("main", `trap 'echo bye; exit' TERM; echo started; while :; do sleep 0.1; done`)}})
	until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
	follow := kubectl(t, ns, "logs", "-f", name)
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("started\n"))
	if _, err := io.ReadFull(out, first); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Pods(ns).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(out); err != nil || string(rest) != "bye\n" {
		t.Errorf("it said %q: %v", rest, err)
	}
	if err := follow.Wait(); err != nil {
		t.Error(err)
	}
}

// https://kubernetes.io/docs/tasks/debug/debug-application/get-shell-running-container:
// a command runs with the container's environment; kubectl ends as the command does.
func TestExec(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	main := shell("main", "exec sleep 100")
	main.Env = []corev1.EnvVar{env("COLOR", "blue")}
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{main}})
	until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
	for title, one := range map[string]struct {
		input     string
		arguments []string
		want      string
		code      int
	}{
		"environment":    {"", []string{"exec", name, "--", "sh", "-c", "echo $COLOR"}, "blue\n", 0},
		"exit code":      {"", []string{"exec", name, "--", "sh", "-c", "exit 3"}, "command terminated with exit code 3\n", 3},
		"stdin":          {"a\nb\n", []string{"exec", "-i", name, "--", "wc", "-l"}, "2\n", 0},
		"stderr":         {"", []string{"exec", name, "--", "sh", "-c", "echo wrong >&2"}, "wrong\n", 0},
		"no terminal":    {"", []string{"exec", name, "--", "sh", "-c", "test -t 0 || echo none"}, "none\n", 0},
		"much at a time": {strings.Repeat("0123456789\n", 100_000), []string{"exec", "-i", name, "--", "sh", "-c", "cat | tail -n 1"}, "0123456789\n", 0},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			out, code := ask(t, ns, one.input, one.arguments...)
			if diff := cmp.Diff(one.want, strings.TrimLeft(out, " ")); diff != "" || code != one.code {
				t.Errorf("it exits with %d: %s", code, diff)
			}
		})
	}
}

// TestTerminal: exec -t gives a command a terminal. kubectl wants one itself for that,
// so the API is asked as it asks.
func TestTerminal(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{shell("main", "exec sleep 100")}})
	until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
	if out := terminal(t, c, ns, name, "sh", "-c", `until test "$(stty size)" = "24 80"; do sleep 0.1; done; tty -s && stty size`); out != "24 80\r\n" {
		t.Errorf("it said %q", out)
	}
}

// https://kubernetes.io/docs/tasks/debug/debug-application/debug-running-pod and
// .../access-application-cluster/port-forward-access-application-cluster.
func TestAttachAndPortForward(t *testing.T) {
	t.Parallel()
	ns, c := clustertest.Namespace(t), client(t)
	t.Run("attach", func(t *testing.T) {
		t.Parallel()
		main := shell("main", `read line; echo "got $line"`)
		main.Stdin, main.StdinOnce = true, true
		name := create(t, c, ns, corev1.PodSpec{Containers: []corev1.Container{main}})
		until(t, c, ns, name, "the pod to run", phase(corev1.PodRunning))
		out, code := ask(t, ns, "something\n", "attach", "-i", "-q", name)
		if out != "got something\n" || code != 0 {
			t.Errorf("it said %q and exits with %d", out, code)
		}
	})
	t.Run("port-forward", func(t *testing.T) {
		t.Parallel()
		name := create(t, c, ns, corev1.PodSpec{TerminationGracePeriodSeconds: new(int64(1)), Containers: []corev1.Container{serving("main")}})
		// kubectl gives up at the first connection that is refused.
		until(t, c, ns, name, "the pod to serve", is(corev1.PodReady, corev1.ConditionTrue))
		forward := kubectl(t, ns, "port-forward", "pod/"+name, ":8080")
		out, err := forward.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := forward.Start(); err != nil {
			t.Fatal(err)
		}
		var address string
		if _, err := fmt.Fscanf(out, "Forwarding from %s -> 8080\n", &address); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "an answer", func() bool {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.Header.Get("X-Windlass-Pod") == name
		})
	})
}

// TestKubeletsAreClosed: who is no API server does not get to a kubelet, not even an
// administrator with a certificate of the same authority.
func TestKubeletsAreClosed(t *testing.T) {
	t.Parallel()
	c := client(t)
	node, err := c.CoreV1().Nodes().Get(t.Context(), "process-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	known, err := rest.TLSConfigFor(clustertest.Shared())
	if err != nil {
		t.Fatal(err)
	}
	unknown := known.Clone()
	unknown.Certificates, unknown.GetClientCertificate = nil, nil
	for title, one := range map[string]*tls.Config{"an administrator": known, "nobody": unknown} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			anybody := &http.Client{Transport: &http.Transport{TLSClientConfig: one, DisableKeepAlives: true}}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("https://localhost:%d/containerLogs/a/b/c", node.Status.DaemonEndpoints.KubeletEndpoint.Port), nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := anybody.Do(request)
			if err == nil {
				defer response.Body.Close()
				t.Fatalf("it answers with %s", response.Status)
			}
			if !strings.Contains(err.Error(), "remote error: tls") {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// terminal runs a command with a terminal of 80 columns and 24 lines.
func terminal(t testing.TB, c kubernetes.Interface, ns, name string, command ...string) string {
	t.Helper()
	url := c.CoreV1().RESTClient().Post().Namespace(ns).Resource("pods").Name(name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, TTY: true}, scheme.ParameterCodec).URL()
	executor, err := remotecommand.NewSPDYExecutor(clustertest.Shared(), http.MethodPost, url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var out bytes.Buffer
	input, typing := io.Pipe()
	defer func() { _ = typing.Close() }()
	if err := executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input, Stdout: &out, Tty: true, TerminalSizeQueue: &sizes{}}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// sizes says once how large the terminal is.
type sizes struct{ said bool }

func (s *sizes) Next() *remotecommand.TerminalSize {
	if s.said {
		return nil
	}
	s.said = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}
