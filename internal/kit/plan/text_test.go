package plan

import "testing"

func TestBounded(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		text  string
		limit int
		want  string
	}{
		"short":          {"abc", 3, "abc"},
		"long":           {"abcdefgh", 6, "abc…"},
		"within a rune":  {"aäöüx", 6, "aä…"},
		"nothing fits":   {"äöü", 3, "…"},
		"exactly a rune": {"abäöüü", 7, "abä…"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := Bounded(c.text, c.limit); got != c.want {
				t.Errorf("want %q, got %q", c.want, got)
			}
		})
	}
}
