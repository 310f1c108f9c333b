// Package clusterapitest stands in for Cluster API in tests: it has its kinds, as it ships
// them, and controllers that do to MachineDeployments what its own do.
package clusterapitest

import (
	"context"
	"embed"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"
)

//go:embed crd/*.yaml
var shipped embed.FS

// Install installs Cluster API's kinds, and an infrastructure that has nothing but templates.
func Install(config *rest.Config) error {
	crds, err := definitions()
	if err != nil {
		return err
	}
	_, err = envtest.InstallCRDs(config, envtest.CRDInstallOptions{CRDs: append(crds, templates())})
	return err
}

// Remove removes the machines of the namespace without more ado, and then all that was installed.
func (c *Controllers) Remove(ctx context.Context, config *rest.Config) error {
	if err := c.Release(ctx); err != nil {
		return err
	}
	crds, err := definitions()
	if err != nil {
		return err
	}
	return envtest.UninstallCRDs(config, envtest.CRDInstallOptions{CRDs: append(crds, templates())})
}

// Release lets the machines of the namespace go when they are deleted, or when it is.
func (c *Controllers) Release(ctx context.Context) error {
	machines, err := c.List(ctx, "Machine")
	if err != nil {
		return err
	}
	for _, m := range machines {
		err := c.Client.Patch(ctx, m, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

func definitions() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := shipped.ReadDir("crd")
	if err != nil {
		return nil, err
	}
	var all []*apiextensionsv1.CustomResourceDefinition
	for _, f := range files {
		content, err := shipped.ReadFile("crd/" + f.Name())
		if err != nil {
			return nil, err
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.Unmarshal(content, crd); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		all = append(all, crd)
	}
	return all, nil
}

// templates are those of an infrastructure provider. They say their image as AWS' do.
func templates() *apiextensionsv1.CustomResourceDefinition {
	free := apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: new(true)}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "plainmachinetemplates." + infrastructure},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: infrastructure, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "plainmachinetemplates", Singular: "plainmachinetemplate", Kind: templateKind, ListKind: templateKind + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: version, Served: true, Storage: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &free},
			}},
		},
	}
}
