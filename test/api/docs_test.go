package api

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocsNameTests: each test that a page names as its evidence exists.
func TestDocsNameTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	defined, named := map[string]bool{}, map[string]string{}
	definition, name := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`), regexp.MustCompile("`(Test[A-Za-z0-9_]*)`")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && strings.HasPrefix(entry.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		goTest, page := strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, ".md")
		if !goTest && !page {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, match := range definition.FindAllSubmatch(content, -1) {
			if goTest {
				defined[string(match[1])] = true
			}
		}
		for _, match := range name.FindAllSubmatch(content, -1) {
			if page {
				named[string(match[1])] = path
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(named) == 0 {
		t.Error("no page names a test")
	}
	for test, page := range named {
		if !defined[test] {
			t.Errorf("%s names %s, which does not exist", page, test)
		}
	}
}
