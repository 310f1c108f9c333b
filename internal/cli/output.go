package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

// output is how a command prints its answer.
type output struct{ format string }

func (o *output) addFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.format, "output", "o", "", "print the answer as `json or yaml` instead of text")
}

// print prints the answer for a program, or calls text to print it for people.
func (o *output) print(w io.Writer, answer any, text func(io.Writer) error) error {
	switch o.format {
	case "":
		return text(w)
	case "json":
		content, err := json.MarshalIndent(answer, "", "  ")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, string(content))
		return err
	case "yaml":
		content, err := yaml.Marshal(answer)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	default:
		return usageError{fmt.Errorf("-o %s: want json or yaml", o.format)}
	}
}
