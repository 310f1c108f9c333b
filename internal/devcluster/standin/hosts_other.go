//go:build !linux

package standin

import (
	"fmt"
	"io"
)

func withHosts(_ []string, out io.Writer) int {
	fmt.Fprintln(out, "only Linux has mount namespaces")
	return 128
}
