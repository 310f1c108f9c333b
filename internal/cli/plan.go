package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	yamlutil "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"windlass.dev/api/installation/v1alpha1"
	"windlass.dev/api/installation/v1beta1"
)

// planned is the answer of `plan` for one resource.
type planned struct {
	Kind      string        `json:"kind"`
	Namespace string        `json:"namespace"`
	Name      string        `json:"name"`
	Exists    bool          `json:"exists"`
	Steps     []plannedStep `json:"steps"`
	Why       []note        `json:"why,omitempty"`
}

func planCommand() *cobra.Command {
	var t target
	var o output
	var file string
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what applying a manifest would make Windlass do",
		Long: `Show what Windlass would do if the Mattermost and ClusterInstallation resources in
a file were applied, and why, without changing anything. The API server checks each resource in a dry
run; the decision is made by the same code as in the controller, from what is in
the cluster now. Resources of other kinds in the file are passed over. A new one is
shown in the standard shape, unless its annotation ` + v1beta1.ShapeAnnotation + ` says otherwise:
what Windlass is configured with is not known here.`,
		Example: `  windlass plan -f chat.yaml
  kubectl get mm chat -o yaml | sed s/10.5.2/10.6.0/ | windlass plan -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("say which file: windlass plan -f FILE, or -f - for standard input")}
			}
			resources, err := readInstallations(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			c, namespace, err := t.connect()
			if err != nil {
				return err
			}
			var all []planned
			for _, resource := range resources {
				if resource.GetNamespace() == "" {
					resource.SetNamespace(namespace)
				}
				p, err := planOne(cmd.Context(), c, resource, time.Now())
				if err != nil {
					return err
				}
				all = append(all, p)
			}
			return o.print(cmd.OutOrStdout(), all, func(w io.Writer) error { return planText(w, all) })
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	cmd.Flags().StringVarP(&file, "filename", "f", "", "manifest `FILE`; - reads standard input")
	return cmd
}

// readInstallations returns the installations of a manifest with any number of
// documents, at least one.
func readInstallations(file string, in io.Reader) ([]*unstructured.Unstructured, error) {
	all, file, err := readManifests(file, in)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(all, func(o *unstructured.Unstructured) bool {
		return o.GroupVersionKind() != mattermostKind && o.GroupVersionKind() != clusterInstallationKind
	})
	if len(found) == 0 {
		return nil, fmt.Errorf("%s holds no Mattermost of %s and no ClusterInstallation of %s", file, v1beta1.GroupVersion, v1alpha1.GroupVersion)
	}
	return found, nil
}

// readManifests returns the objects of a file, or of in if it is -, and what messages
// call the file.
func readManifests(file string, in io.Reader) (found []*unstructured.Unstructured, name string, err error) {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, file, err
		}
		defer f.Close()
		in = f
	} else {
		file = "standard input"
	}
	decoder := yamlutil.NewYAMLOrJSONDecoder(in, 4096)
	for document := 1; ; document++ {
		var object unstructured.Unstructured
		err := decoder.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return found, file, nil
		}
		if err != nil {
			return nil, file, fmt.Errorf("%s, document %d: %w", file, document, err)
		}
		if len(object.Object) > 0 {
			found = append(found, &object)
		}
	}
}

func planOne(ctx context.Context, c client.Client, resource *unstructured.Unstructured, now time.Time) (planned, error) {
	name := client.ObjectKeyFromObject(resource)
	p := planned{Kind: resource.GetKind(), Namespace: name.Namespace, Name: name.Name}
	what := p.Kind + " " + name.String()
	stored := resource.DeepCopy()
	err := c.Get(ctx, name, stored)
	if client.IgnoreNotFound(err) != nil {
		return p, fmt.Errorf("read %s: %w", what, err)
	}
	p.Exists = err == nil
	// What only the server sets would be refused in an apply.
	intent := resource.DeepCopy()
	for _, field := range []string{"managedFields", "resourceVersion", "uid", "creationTimestamp", "generation"} {
		unstructured.RemoveNestedField(intent.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(intent.Object, "status")
	err = c.Apply(ctx, client.ApplyConfigurationFromUnstructured(intent), client.DryRunAll, client.FieldOwner("windlass-plan"), client.ForceOwnership)
	if err != nil {
		return p, fmt.Errorf("check %s in a dry run: %w", what, err)
	}
	seen, err := lookAt(ctx, c, intent, now)
	if err != nil {
		return p, fmt.Errorf("look at %s: %w", what, err)
	}
	p.Steps, p.Why = steps(seen.plan), notes(seen.plan)
	return p, nil
}

func planText(out io.Writer, all []planned) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, p := range all {
		what := "would be created"
		if p.Exists {
			what = "exists and would be changed to the file's"
		}
		fmt.Fprintf(w, "%s %s/%s %s\n", p.Kind, p.Namespace, p.Name, what)
		writeSteps(w, p.Steps, p.Why)
	}
	return w.Flush()
}
