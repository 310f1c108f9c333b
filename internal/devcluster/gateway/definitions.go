package gateway

import _ "embed"

//go:generate go run ./definitions definitions.yaml

// Definitions are those of the Gateway API that the gateway serves, in YAML.
//
//go:embed definitions.yaml
var Definitions []byte
