// Package windlass is the root of the module. It holds no code, only how the
// generated files are made.
package windlass

//go:generate go -C tools/gen build -o ../../bin/controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen
//go:generate bin/controller-gen object paths=./api/...
//go:generate bin/controller-gen applyconfiguration paths=./api/installation/v1beta1
//go:generate bin/controller-gen crd:maxDescLen=100 paths=./api/... output:crd:dir=config/crd
//go:generate bin/controller-gen rbac:roleName=windlass paths=./internal/installation/controller/... output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-restores,fileName=restores.yaml paths=./internal/restore/controller/... output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-nodes,fileName=nodes.yaml paths=./internal/rotation/controller/... paths=./internal/nodeimage/controller/... paths=./internal/nodegroup/controller/... output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-nodes-cluster-api,fileName=nodes-cluster-api.yaml paths=./internal/cloud/clusterapi output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-nodes-karpenter,fileName=nodes-karpenter.yaml paths=./internal/cloud/karpenter output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-fleet,fileName=fleet.yaml paths=./internal/fleetrotation/controller/... output:rbac:dir=config/rbac
//go:generate bin/controller-gen rbac:roleName=windlass-rollouts,fileName=rollouts.yaml paths=./internal/rollout/controller/... output:rbac:dir=config/rbac
//go:generate go run ./internal/install/chart charts/windlass 0.1.0
//go:generate go -C tools/gen build -o ../../bin/crd-ref-docs github.com/elastic/crd-ref-docs
//go:generate bin/crd-ref-docs --log-level=ERROR --source-path=./api/installation --config=tools/gen/reference.yaml --renderer=markdown --output-path=docs/reference/mattermost.md
//go:generate bin/crd-ref-docs --log-level=ERROR --source-path=./api/fleet --config=tools/gen/reference.yaml --renderer=markdown --output-path=docs/reference/installationrollout.md
