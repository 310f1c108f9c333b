package nodeimage

import (
	"errors"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"windlass.dev/api/nodes/v1alpha1"
	"windlass.dev/internal/cloud"
)

// judge says whether what was found can be rolled out.
func judge(sources []v1alpha1.ImageSource, found *Found) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionFound, Status: metav1.ConditionFalse}
	if found.Err != nil {
		c.Reason, c.Message = v1alpha1.ReasonProviderProblem, describe(sources, found.Source)+": "+cloud.Explain(found.Err)
		switch {
		case errors.Is(found.Err, cloud.ErrNotFound):
			c.Reason = v1alpha1.ReasonImageNotFound
		case !errors.Is(found.Err, cloud.ErrInvalid) && !errors.Is(found.Err, cloud.ErrUnsupported) && !errors.Is(found.Err, cloud.ErrCredentials):
			c.Status = metav1.ConditionUnknown
		}
		return c
	}
	by := map[string]int{}
	for i := range found.Images {
		image := &found.Images[i]
		if image.Architecture == "" && len(found.Images) > 1 {
			c.Reason = v1alpha1.ReasonArchitectureUnknown
			c.Message = fmt.Sprintf("%s: nobody says for which architecture %s is, so that it could be given to machines of another: give its region", describe(sources, i), image.ID)
			return c
		}
		if first, twice := by[image.Architecture]; twice {
			c.Reason = v1alpha1.ReasonInvalidSpec
			c.Message = fmt.Sprintf("%s and %s name images of one architecture, %s: %s and %s; leave one of them out", describe(sources, first), describe(sources, i), image.Architecture, found.Images[first].ID, image.ID)
			return c
		}
		by[image.Architecture] = i
	}
	c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonFound, "each source names an image"
	if found.Images[0].Architecture == "" {
		c.Message = fmt.Sprintf("%s is taken as it is: without a region nobody looks whether it is there, and for which machines", found.Images[0].ID)
	}
	return c
}

// describe names a source as people find it.
func describe(sources []v1alpha1.ImageSource, i int) string {
	switch s := &sources[i]; {
	case s.SSMParameter != "":
		return fmt.Sprintf("sources[%d] (parameter %s in %s)", i, s.SSMParameter, s.Region)
	case s.Filter != nil:
		return fmt.Sprintf("sources[%d] (images of %s in %s)", i, s.Filter.Owner, s.Region)
	default:
		return fmt.Sprintf("sources[%d] (image %s)", i, s.Fixed)
	}
}
