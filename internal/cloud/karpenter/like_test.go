package karpenter

import "testing"

func TestPermits(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		operator string
		values   []string
		value    string
		want     bool
	}{
		"in":                {"In", []string{"a", "b"}, "b", true},
		"not in":            {"In", []string{"a", "b"}, "c", false},
		"excluded":          {"NotIn", []string{"a"}, "a", false},
		"not excluded":      {"NotIn", []string{"a"}, "b", true},
		"there":             {"Exists", nil, "a", true},
		"not to be there":   {"DoesNotExist", nil, "a", false},
		"above":             {"Gt", []string{"4"}, "5", true},
		"not above":         {"Gt", []string{"4"}, "4", false},
		"at least":          {"Gte", []string{"4"}, "4", true},
		"below":             {"Lt", []string{"10"}, "9", true},
		"not below":         {"Lt", []string{"10"}, "10", false},
		"at most":           {"Lte", []string{"10"}, "10", true},
		"more than at most": {"Lte", []string{"10"}, "11", false},
		"no number":         {"Gt", []string{"4"}, "many", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := (requirement{Key: "k", Operator: c.operator, Values: c.values}).permits(c.value); got != c.want {
				t.Errorf("%q is permitted: %v", c.value, got)
			}
		})
	}
}

func TestOwn(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]bool{
		"team": true, "example.com/tier": true, "karpenter.example.com": true,
		"topology.kubernetes.io/zone": false, "kubernetes.io/arch": false, "node.k8s.io/x": false,
		"karpenter.sh/capacity-type": false, "karpenter.k8s.aws/instance-cpu": false, "karpenter.azure.com/sku-cpu": false,
	} {
		if own(key) != want {
			t.Errorf("%s is the user's own: %v", key, !want)
		}
	}
}
