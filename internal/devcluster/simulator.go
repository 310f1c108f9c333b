package devcluster

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/clock"
	"sigs.k8s.io/kwok/pkg/apis/internalversion"
	"sigs.k8s.io/kwok/pkg/apis/v1alpha1"
	"sigs.k8s.io/kwok/pkg/client/clientset/versioned"
	"sigs.k8s.io/kwok/pkg/kwok/controllers"
	"sigs.k8s.io/kwok/pkg/log"

	"windlass.dev/internal/devcluster/agent"
)

//go:embed stages.yaml
var stages []byte

// simulatorUser is who acts for everything that is simulated.
const simulatorUser = "windlass:simulator"

// simulator is everything that would be outside of the control plane: nodes with
// their pods, volumes and load balancers.
type simulator struct {
	cancel  context.CancelFunc
	running sync.WaitGroup
	log     io.Closer
	octet   func() error
	// number is the second octet of all pods' addresses.
	number int
}

func startSimulator(ctx context.Context, c *Cluster) (*simulator, error) {
	config, err := c.ConfigFor(simulatorUser, "system:masters")
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	octet, release, err := claimOctet()
	if err != nil {
		return nil, err
	}
	logFile, err := os.OpenFile(filepath.Join(c.options.Dir, "logs", "simulator.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, errors.Join(err, release())
	}
	// It lives until it is stopped, not until the start is over.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &simulator{cancel: cancel, log: logFile, octet: release, number: octet}
	running = log.NewContext(running, log.NewLogger(logFile, slog.LevelWarn))
	if err := s.startNodes(running, config, client, octet, c.options); err != nil {
		s.stop()
		return nil, err
	}
	s.startVolumes(running, client)
	s.startBalancer(running, client)
	if err := errors.Join(s.startStandIns(running, config, client), makeStorageClass(ctx, client)); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *simulator) stop() {
	s.cancel()
	s.running.Wait()
	// What cannot be given up now is given up when the process ends.
	_ = errors.Join(s.log.Close(), s.octet())
}

// startNodes makes the nodes and lets KWOK live their lives.
func (s *simulator) startNodes(ctx context.Context, config *rest.Config, client kubernetes.Interface, octet int, o Options) error {
	for i := range o.Nodes {
		if err := makeNode(ctx, client, fmt.Sprintf("node-%d", i), o.runsProcesses()); err != nil {
			return err
		}
	}
	local, err := parseStages(stages)
	if err != nil {
		return fmt.Errorf("stages: %w", err)
	}
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	kwokClient, err := versioned.NewForConfig(config)
	if err != nil {
		return err
	}
	id, err := controllers.Identity()
	if err != nil {
		return err
	}
	controller, err := controllers.NewController(controllers.Config{
		Clock:                        clock.RealClock{},
		DynamicClient:                dynamicClient,
		RESTClient:                   client.CoreV1().RESTClient(),
		RESTMapper:                   restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
		TypedClient:                  client,
		TypedKwokClient:              kwokClient,
		ManageNodesWithLabelSelector: agent.KindLabel + "=" + agent.Simulated,
		CIDR:                         fmt.Sprintf("10.%d.0.0/16", octet),
		NodeIP:                       "10.0.0.1",
		LocalStages:                  local,
		PodPlayStageParallelism:      16,
		NodePlayStageParallelism:     4,
		NodeLeaseDurationSeconds:     40,
		NodeLeaseParallelism:         4,
		PodsOnNodeSyncParallelism:    4,
		ID:                           id,
	})
	if err != nil {
		return fmt.Errorf("simulated nodes: %w", err)
	}
	if err := controller.Start(ctx); err != nil {
		return fmt.Errorf("start simulated nodes: %w", err)
	}
	return nil
}

// makeNode makes a node as a kubelet registers itself, or brings the one that is there
// up to date. Where there are nodes that run programs, pods stay away from those that
// do not, unless they tolerate it.
func makeNode(ctx context.Context, client kubernetes.Interface, name string, tainted bool) error {
	node := corev1ac.Node(name).WithLabels(map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64", agent.KindLabel: agent.Simulated,
	}).WithSpec(corev1ac.NodeSpec())
	if tainted {
		node.Spec.WithTaints(corev1ac.Taint().WithKey(agent.SimulatedTaint).WithEffect(corev1.TaintEffectNoSchedule))
	}
	if _, err := client.CoreV1().Nodes().Apply(ctx, node, metav1.ApplyOptions{FieldManager: simulatorUser, Force: true}); err != nil {
		return fmt.Errorf("make node %s: %w", name, err)
	}
	return nil
}

func nodeReady(node *corev1.Node) bool {
	for _, c := range node.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func parseStages(content []byte) (map[internalversion.StageResourceRef][]*internalversion.Stage, error) {
	all := map[internalversion.StageResourceRef][]*internalversion.Stage{}
	decoder := yamlutil.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		var stage v1alpha1.Stage
		err := decoder.Decode(&stage)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		internal, err := internalversion.ConvertToInternalStage(&stage)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stage.Name, err)
		}
		all[internal.Spec.ResourceRef] = append(all[internal.Spec.ResourceRef], internal)
	}
}
