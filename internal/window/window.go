// Package window says when a run may begin new work. It reads no clock: the time is an
// argument.
//
// A schedule is about what the clocks of its zone show. Where they are put forward over
// an opening, the window opens when they have been; where they are put back, it opens the
// first time only. How long it then stays open is real time, whatever the clocks do.
package window

import (
	"errors"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/apimachinery/pkg/util/validation/field"

	run "windlass.dev/api/run/v1alpha1"
)

// horizon is how far ahead a close is looked for: windows that follow each other without
// a gap for longer are as good as always open.
const horizon = 14 * 24 * time.Hour

// Windows are parsed and valid. None are always open.
type Windows []window

type window struct {
	schedule cron.Schedule
	duration time.Duration
	zone     *time.Location
}

// Parse returns windows, or an error that says of each wrong field what is wrong with it.
func Parse(windows []run.Window) (Windows, error) {
	var parsed Windows
	var wrong field.ErrorList
	for i, given := range windows {
		at := field.NewPath("windows").Index(i)
		w := window{duration: time.Duration(given.DurationSeconds) * time.Second}
		if given.DurationSeconds < 60 || given.DurationSeconds > 7*24*60*60 {
			wrong = append(wrong, field.Invalid(at.Child("durationSeconds"), given.DurationSeconds, "give 60 (a minute) to 604800 (a week)"))
		}
		var err error
		if w.schedule, err = parseSchedule(given.Schedule); err != nil {
			wrong = append(wrong, field.Invalid(at.Child("schedule"), given.Schedule, err.Error()))
		}
		if w.zone, err = parseZone(given.TimeZone); err != nil {
			wrong = append(wrong, field.Invalid(at.Child("timeZone"), given.TimeZone, err.Error()))
		}
		parsed = append(parsed, w)
	}
	if err := wrong.ToAggregate(); err != nil {
		return nil, err
	}
	return parsed, nil
}

func parseSchedule(text string) (cron.Schedule, error) {
	// The parser takes both, but a zone has a field of its own, and what repeats from
	// whenever it was read has no fixed times.
	switch {
	case strings.Contains(text, "TZ="):
		return nil, errors.New("a schedule has no time zone; use timeZone")
	case strings.HasPrefix(strings.TrimSpace(text), "@every"):
		return nil, errors.New(`@every has no fixed times; write them, such as "0 */6 * * *"`)
	}
	schedule, err := cron.ParseStandard(text)
	if err != nil {
		return nil, errors.New(err.Error() + `; write minute, hour, day of month, month and day of week, such as "0 22 * * 1-5"`)
	}
	if schedule.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, errors.New("there is no such day; the window would never open")
	}
	return schedule, nil
}

func parseZone(name string) (*time.Location, error) {
	// The library takes Local for the zone of this machine, which means nothing elsewhere.
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, errors.New("no such time zone; give a name of the IANA database, such as Europe/Berlin, or none for UTC")
	}
	return zone, nil
}

// Open reports whether any window is open, and until when one is: windows that overlap, or
// begin where another ends, count as one. A zero until is no end in the next two weeks.
func (all Windows) Open(now time.Time) (open bool, until time.Time) {
	if len(all) == 0 {
		return true, time.Time{}
	}
	end := now
	for end.Sub(now) <= horizon {
		later := all.extend(end)
		switch {
		case later.After(end):
			end = later
		case end.After(now):
			return true, end
		default:
			return false, time.Time{}
		}
	}
	return true, time.Time{}
}

// extend is when a window ends that is open at t, and t itself if none is.
func (all Windows) extend(t time.Time) time.Time {
	end := t
	for _, w := range all {
		if opened, ok := w.latest(t); ok && opened.Add(w.duration).After(end) {
			end = opened.Add(w.duration)
		}
	}
	return end
}

// Next is when a window next opens after now. It is zero if none does in the next five
// years, or if there are no windows.
func (all Windows) Next(now time.Time) time.Time {
	var next time.Time
	for _, w := range all {
		if at := w.next(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// next is when the window opens after t.
func (w window) next(t time.Time) time.Time {
	// In UTC clocks are never changed, so that the schedule is asked about readings of a
	// clock as if they were times of UTC. A reading that comes twice has been before t at
	// first.
	for reading := w.reading(t); ; {
		if reading = w.schedule.Next(reading); reading.IsZero() {
			return time.Time{}
		}
		if at := w.first(reading); at.After(t) {
			return at
		}
	}
}

// latest is an opening at t, or before it by less than the duration, so that the window is
// still open; it is the last one or near it. Schedules only look ahead, so it looks further
// and further back.
func (w window) latest(t time.Time) (time.Time, bool) {
	for back := time.Minute; ; back *= 2 {
		back = min(back, w.duration)
		// An opening that far back has just ended: next leaves it out.
		if at := w.next(t.Add(-back)); !at.IsZero() && !at.After(t) {
			return at, true
		}
		if back == w.duration {
			return time.Time{}, false
		}
	}
}

// reading is what a clock of the zone shows at t.
func (w window) reading(t time.Time) time.Time {
	t = t.In(w.zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// first is when a clock of the zone first shows a reading, or a later one if it never does.
func (w window) first(reading time.Time) time.Time {
	year, month, day := reading.Date()
	at := time.Date(year, month, day, reading.Hour(), reading.Minute(), reading.Second(), 0, w.zone)
	start, end := at.ZoneBounds()
	switch shown := w.reading(at); {
	case shown.After(reading): // Skipped, and counted from before the change.
		return start
	case shown.Before(reading): // Skipped, and counted from after it.
		return end
	}
	if start.IsZero() {
		return at
	}
	_, before := start.Add(-1).Zone()
	if earlier := reading.Add(-time.Duration(before) * time.Second).In(w.zone); earlier.Before(at) && w.reading(earlier).Equal(reading) {
		return earlier
	}
	return at
}
