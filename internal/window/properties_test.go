package window

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	run "windlass.dev/api/run/v1alpha1"
)

// daily is a schedule that the test understands by itself.
type daily struct {
	minutes, hours, days []int // Days of the week; none are all of them.
	duration             int   // In minutes.
}

func (d daily) window(zone string) run.Window {
	days := "*"
	if len(d.days) > 0 {
		days = list(d.days)
	}
	return run.Window{Schedule: list(d.minutes) + " " + list(d.hours) + " * * " + days, DurationSeconds: int32(d.duration * 60), TimeZone: zone}
}

func list(numbers []int) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(numbers), " ", ","), "[]")
}

func (d daily) opensAt(reading time.Time) bool {
	return slices.Contains(d.minutes, reading.Minute()) && slices.Contains(d.hours, reading.Hour()) &&
		(len(d.days) == 0 || slices.Contains(d.days, int(reading.Weekday())))
}

// walk goes from minute to minute and notes when the windows open, and in which minutes
// they are. Clocks are read as people would: what was shown before opens nothing again,
// and what is skipped opens at once.
func walk(schedules []daily, zone *time.Location, from, to time.Time) (openings map[time.Time]bool, open map[time.Time]bool) {
	openings, open = map[time.Time]bool{}, map[time.Time]bool{}
	shown := from.Add(-time.Minute).In(zone)
	latest := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), 0, 0, time.UTC)
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		local := t.In(zone)
		reading := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), 0, 0, time.UTC)
		for latest.Before(reading) {
			latest = latest.Add(time.Minute)
			for _, d := range schedules {
				if d.opensAt(latest) {
					openings[t] = true
					for i := range d.duration {
						open[t.Add(time.Duration(i)*time.Minute)] = true
					}
				}
			}
		}
	}
	return openings, open
}

func TestOpenAgreesWithAWalk(t *testing.T) {
	t.Parallel()
	changes := map[string][]string{
		"Europe/Berlin":       {"2026-03-29 01:00", "2026-10-25 01:00", "2026-07-01 12:00"},
		"America/New_York":    {"2026-03-08 07:00", "2026-11-01 06:00"},
		"Australia/Lord_Howe": {"2026-04-04 15:00", "2026-10-03 15:30"},
		"America/Sao_Paulo":   {"2018-11-04 03:00", "2018-02-18 02:00"}, // At midnight.
		"Pacific/Apia":        {"2011-12-30 10:00"},                     // A day that was skipped.
		"Asia/Kathmandu":      {"2026-05-05 05:00"},                     // 5 hours and 45 minutes.
	}
	zones := make([]string, 0, len(changes))
	for zone := range changes {
		zones = append(zones, zone)
	}
	slices.Sort(zones)
	numbers := func(below, most int) *rapid.Generator[[]int] {
		return rapid.SliceOfNDistinct(rapid.IntRange(0, below-1), 1, most, rapid.ID[int])
	}
	schedule := rapid.Custom(func(t *rapid.T) daily {
		d := daily{minutes: numbers(60, 4).Draw(t, "minutes"), hours: numbers(24, 6).Draw(t, "hours"), duration: rapid.IntRange(1, 30*60).Draw(t, "duration")}
		if rapid.Bool().Draw(t, "some hours near the change") {
			d.hours, d.duration = []int{0, 1, 2, 3}, rapid.IntRange(1, 90).Draw(t, "short")
		}
		if rapid.Bool().Draw(t, "some days") {
			d.days = numbers(7, 5).Draw(t, "days")
		}
		return d
	})
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(zones).Draw(rt, "zone")
		zone, err := time.LoadLocation(name)
		if err != nil {
			rt.Fatal(err)
		}
		change := at(t, rapid.SampledFrom(changes[name]).Draw(rt, "change"))
		schedules := rapid.SliceOfN(schedule, 1, 3).Draw(rt, "schedules")
		var windows []run.Window
		for _, d := range schedules {
			windows = append(windows, d.window(name))
		}
		parsed := parse(t, windows...)
		from, to := change.Add(-60*time.Hour), change.Add(60*time.Hour)
		openings, open := walk(schedules, zone, from, to)
		// What opened before the walk is over by then.
		for now := change.Add(-30 * time.Hour); now.Before(change.Add(30 * time.Hour)); now = now.Add(time.Duration(rapid.IntRange(1, 300).Draw(rt, "step")) * time.Minute) {
			got, until := parsed.Open(now)
			if got != open[now] {
				rt.Fatalf("at %v open is %v, and %v by the walk", now.In(zone), got, open[now])
			}
			if next := nextOf(openings, now, to); !next.IsZero() && !parsed.Next(now).Equal(next) {
				rt.Fatalf("after %v the next opening is %v, and %v by the walk", now.In(zone), parsed.Next(now).In(zone), next.In(zone))
			}
			if end := closeOf(open, now, to); got && !end.IsZero() && !until.Equal(end) {
				rt.Fatalf("at %v it is open until %v, and until %v by the walk", now.In(zone), until.In(zone), end.In(zone))
			}
			// Between minutes nothing changes.
			if later, _ := parsed.Open(now.Add(59*time.Second + 999*time.Millisecond)); later != got {
				rt.Fatalf("open changes within the minute of %v", now.In(zone))
			}
		}
	})
}

// nextOf is the first opening of the walk after now; zero if it is not within the walk.
func nextOf(openings map[time.Time]bool, now, to time.Time) time.Time {
	for t := now.Add(time.Minute); t.Before(to); t = t.Add(time.Minute) {
		if openings[t] {
			return t
		}
	}
	return time.Time{}
}

// closeOf is the first closed minute after now; zero if it is not within the walk.
func closeOf(open map[time.Time]bool, now, to time.Time) time.Time {
	for t := now; t.Before(to); t = t.Add(time.Minute) {
		if !open[t] {
			return t
		}
	}
	return time.Time{}
}

func BenchmarkOpenEveryMinuteForAWeek(b *testing.B) {
	windows := parse(b, run.Window{Schedule: "* * * * *", DurationSeconds: 604800, TimeZone: "Europe/Berlin"})
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		windows.Open(now)
	}
}
