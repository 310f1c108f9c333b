package world

import "time"

// Faster is a clock that runs as many times faster than life.
func Faster(times float64) Clock { return faster{times, time.Now()} }

type faster struct {
	times float64
	since time.Time
}

func (f faster) Now() time.Time {
	return f.since.Add(time.Duration(float64(time.Since(f.since)) * f.times))
}

func (f faster) After(d time.Duration) <-chan time.Time {
	return time.After(time.Duration(float64(d) / f.times))
}
