package cli

import (
	"strings"
	"testing"
)

// FuzzReadMattermosts: whatever a file holds, there is an answer or an error
// that names the file, and only installations come out.
func FuzzReadMattermosts(f *testing.F) {
	f.Add("apiVersion: installation.mattermost.com/v1beta1\nkind: Mattermost\nmetadata: {name: chat}\n")
	f.Add("---\n---\napiVersion: v1\nkind: Secret\n---\n{\"apiVersion\":\"installation.mattermost.com/v1beta1\",\"kind\":\"Mattermost\"}")
	f.Add("apiVersion: mattermost.com/v1alpha1\nkind: ClusterInstallation\nmetadata: {name: chat}\n")
	f.Add("kind: [\n")
	f.Add("- a list\n")
	f.Add("apiVersion: 1\nkind: 2\nmetadata: 3\n")
	f.Fuzz(func(t *testing.T, content string) {
		found, err := readInstallations("-", strings.NewReader(content))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "standard input") {
				t.Fatalf("the error does not name the file: %v", err)
			}
			return
		}
		if len(found) == 0 {
			t.Fatal("nothing was found and nothing is wrong")
		}
		for _, o := range found {
			if o.GroupVersionKind() != mattermostKind && o.GroupVersionKind() != clusterInstallationKind {
				t.Fatalf("found a %s", o.GroupVersionKind())
			}
		}
	})
}
