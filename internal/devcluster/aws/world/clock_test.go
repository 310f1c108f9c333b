package world

import (
	"testing"
	"time"
)

func TestFaster(t *testing.T) {
	t.Parallel()
	c := Faster(3600 * 1000)
	began := c.Now()
	<-c.After(time.Hour)
	// A timer may be early by what is lost in its division.
	if passed := c.Now().Sub(began); passed < time.Hour-time.Second {
		t.Errorf("an hour took %s", passed)
	}
	if time.Since(began) >= time.Hour {
		t.Error("it took an hour")
	}
}
