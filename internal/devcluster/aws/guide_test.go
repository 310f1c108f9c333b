package aws_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"windlass.dev/internal/devcluster/aws"
)

// TestGuideNamesAllActions keeps the table of docs/guides/fake-aws.md as the code is.
func TestGuideNamesAllActions(t *testing.T) {
	t.Parallel()
	titles := map[string]string{aws.EC2: "EC2", aws.AutoScaling: "Auto Scaling", aws.EKS: "EKS", aws.SSM: "Systems Manager", aws.STS: "STS", aws.ELB: "Elastic Load Balancing v2"}
	var order []string
	names := map[string][]string{}
	for _, a := range aws.Actions() {
		if names[a.Service] == nil {
			order = append(order, a.Service)
		}
		names[a.Service] = append(names[a.Service], "`"+a.Name+"`")
	}
	var want strings.Builder
	for _, service := range order {
		want.WriteString("| " + titles[service] + " | " + strings.Join(names[service], ", ") + " |\n")
	}
	content, err := os.ReadFile("../../../docs/guides/fake-aws.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "| service | actions |\n|---|---|\n")
	got, _, _ := strings.Cut(rest, "\n\n")
	if diff := cmp.Diff(want.String(), got+"\n"); diff != "" {
		t.Errorf("the table has to be\n%s\n%s", want.String(), diff)
	}
}
