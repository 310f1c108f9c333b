// Package config holds the generated custom resource definitions and
// permissions, so that the binary can install them.
package config

import "embed"

// FS holds crd/*.yaml and rbac/*.yaml, which are generated, and monitoring/*.yaml.
//
//go:embed crd rbac monitoring
var FS embed.FS
