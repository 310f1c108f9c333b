package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// view is how something is at one time.
type view[V any] interface {
	// text prints it for people. Times are of now's zone.
	text(out io.Writer, now time.Time) error
	// changes says in lines what is new since the view before, which is the zero value at
	// first.
	changes(before V) []string
}

// screen shows views one after another.
type screen[V view[V]] struct {
	out    io.Writer
	redraw bool
	last   V
}

func newScreen[V view[V]](out io.Writer) *screen[V] {
	s := &screen[V]{out: out}
	if file, ok := out.(*os.File); ok {
		s.redraw = term.IsTerminal(int(file.Fd()))
	}
	return s
}

// show draws the view anew on a terminal, and prints what changed elsewhere.
func (s *screen[V]) show(v V, now time.Time) error {
	if !s.redraw {
		for _, line := range v.changes(s.last) {
			if _, err := fmt.Fprintf(s.out, "%s %s\n", now.UTC().Format(time.RFC3339), line); err != nil {
				return err
			}
		}
		s.last = v
		return nil
	}
	var text strings.Builder
	if err := v.text(&text, now); err != nil {
		return err
	}
	// From the top left, since lines may be longer than the terminal is wide.
	_, err := fmt.Fprint(s.out, "\x1b[H\x1b[J"+text.String())
	return err
}
