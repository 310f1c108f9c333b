package virtual

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

// TestMain fixes the share of random worlds that every run of the tests looks at: other ones
// are looked for by hand, with -rapid.seed and -rapid.checks.
func TestMain(m *testing.M) {
	flag.Parse()
	if seed := flag.Lookup("rapid.seed"); seed != nil && seed.Value.String() == "0" {
		if err := seed.Value.Set("1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
