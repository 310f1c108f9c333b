package installations

import (
	"regexp"
	"strings"
	"testing"

	"windlass.dev/test/windlasstest"
)

const restoreGuide = "guides/restore-a-database.md"

// TestRestoreGuideIsTakenStrictly: what it shows can be pasted.
func TestRestoreGuideIsTakenStrictly(t *testing.T) {
	t.Parallel()
	kinds := windlasstest.Kinds(windlasstest.Paste(t, windlasstest.Page(t, restoreGuide), nil))
	if kinds["MattermostRestoreDB"] == 0 || kinds["Secret"] == 0 {
		t.Errorf("it shows %v", kinds)
	}
}

// TestRestoreGuideHasEveryReason that a restore gives, and no other.
func TestRestoreGuideHasEveryReason(t *testing.T) {
	t.Parallel()
	reasons := windlasstest.Reasons(t, "installation/v1alpha1/restore.go")
	_, table, _ := strings.Cut(windlasstest.Page(t, restoreGuide), "## When it does not go on")
	named := map[string]bool{"PlainTextPassword": strings.Contains(table, "`PlainTextPassword`"), "RunsOnce": strings.Contains(table, "`RunsOnce`")}
	for _, row := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(table, -1) {
		named[row[1]] = true
		if !reasons[row[1]] {
			t.Errorf("there is no reason %s", row[1])
		}
	}
	for reason := range reasons {
		if !named[reason] {
			t.Errorf("it says nothing of %s", reason)
		}
	}
}
