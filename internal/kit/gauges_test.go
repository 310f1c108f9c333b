package kit

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
)

// unfilled is a cache that cannot be read yet.
type unfilled struct{ client.Reader }

func (unfilled) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("not started")
}

func TestGauges(t *testing.T) {
	t.Parallel()
	desc := prometheus.NewDesc("maps", "How many keys a map has.", []string{"map"}, nil)
	cache := fake.NewClientBuilder().WithObjects(
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "one"}, Data: map[string]string{"x": "y"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "none"}},
	).Build()
	tell := func(list *corev1.ConfigMapList, tell Tell) {
		for i := range list.Items {
			tell(desc, float64(len(list.Items[i].Data)), list.Items[i].Name)
		}
	}
	const want = `
# HELP maps How many keys a map has.
# TYPE maps gauge
maps{map="none"} 0
maps{map="one"} 1
`
	if err := testutil.CollectAndCompare(Gauges(t.Context(), cache, tell, desc), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(Gauges(t.Context(), unfilled{}, tell, desc)); n != 0 {
		t.Errorf("%d values of a cache that cannot be read", n)
	}
}

func TestOldest(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	o := NewOldest("Stalled", "Blocked")
	for _, one := range []metav1.Condition{
		{Type: "Stalled", Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Minute))},
		{Type: "Stalled", Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))},
		{Type: "Blocked", Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))},
		{Type: "Ready", Status: metav1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))},
	} {
		o.Add([]metav1.Condition{one}, now)
	}
	if len(o) != 2 || o["Stalled"] != time.Hour || o["Blocked"] != 0 {
		t.Errorf("%v", o)
	}
}
