package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// editable is a kind of run of which some commands change one field of the spec.
type editable[O client.Object] struct {
	// kind is the kind's name, group that of its commands, and owner the field manager of
	// what they write.
	kind, group, owner string
	get                func(ctx context.Context, c client.Client, name string) (O, error)
	// view is what -o prints of it.
	view func(O) any
}

// edit is the command that applies a merge patch to one object. Its answer ends in what was
// done, such as "paused".
func (e editable[O]) edit(verb, short, patch, done string) *cobra.Command {
	var t target
	var o output
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short,
		Long:    fmt.Sprintf("%s. The running Windlass acts on it; see windlass %s status.", short, e.group),
		Example: fmt.Sprintf("  windlass %s %s june", e.group, verb),
		Args:    exactlyOne("the NAME of the " + e.kind),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, _, err := t.connect()
			if err != nil {
				return err
			}
			object, err := e.get(cmd.Context(), c, args[0])
			if err != nil {
				return err
			}
			if err := c.Patch(cmd.Context(), object, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(e.owner)); err != nil {
				return asked("change "+e.kind+" "+args[0], err)
			}
			return o.print(cmd.OutOrStdout(), e.view(object), func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s %s is %s\n", e.kind, args[0], done)
				return err
			})
		},
	}
	t.addFlags(cmd)
	o.addFlag(cmd)
	return cmd
}
