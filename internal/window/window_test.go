package window

import (
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/go-cmp/cmp"

	run "windlass.dev/api/run/v1alpha1"
)

func parse(t testing.TB, windows ...run.Window) Windows {
	t.Helper()
	parsed, err := Parse(windows)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// at reads a time of UTC.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func hours(schedule, zone string, hours float64) run.Window {
	return run.Window{Schedule: schedule, DurationSeconds: int32(hours * 3600), TimeZone: zone}
}

func TestOpen(t *testing.T) {
	t.Parallel()
	nights := hours("0 22 * * 1-5", "Europe/Berlin", 6)
	cases := map[string]struct {
		windows []run.Window
		now     string
		want    string // Until when it is open, empty if it is not.
		next    string
	}{
		"no windows":                     {nil, "2026-07-01 12:00", "always", "never"},
		"before":                         {[]run.Window{nights}, "2026-07-01 19:59", "", "2026-07-01 20:00"},
		"at the opening":                 {[]run.Window{nights}, "2026-07-01 20:00", "2026-07-02 02:00", "2026-07-02 20:00"},
		"past midnight":                  {[]run.Window{nights}, "2026-07-02 01:59", "2026-07-02 02:00", "2026-07-02 20:00"},
		"at the close":                   {[]run.Window{nights}, "2026-07-02 02:00", "", "2026-07-02 20:00"},
		"Saturday after Friday's window": {[]run.Window{nights}, "2026-07-04 01:00", "2026-07-04 02:00", "2026-07-06 20:00"},
		"Saturday":                       {[]run.Window{nights}, "2026-07-04 21:00", "", "2026-07-06 20:00"},
		"overlapping windows are one": {[]run.Window{hours("0 8 * * *", "", 2), hours("0 9 * * *", "UTC", 3)},
			"2026-07-01 08:30", "2026-07-01 12:00", "2026-07-01 09:00"},
		"windows end to end are one": {[]run.Window{hours("0 8 * * *", "", 1), hours("0 9 * * *", "", 1)},
			"2026-07-01 08:30", "2026-07-01 10:00", "2026-07-01 09:00"},
		"a window within another": {[]run.Window{hours("0 8 * * *", "", 8), hours("0 9 * * *", "", 1)},
			"2026-07-01 08:30", "2026-07-01 16:00", "2026-07-01 09:00"},
		"every minute never closes": {[]run.Window{hours("* * * * *", "", 168)}, "2026-07-01 08:30", "always", "2026-07-01 08:31"},
		"every day never closes":    {[]run.Window{hours("0 0 * * *", "", 24)}, "2026-07-01 08:30", "always", "2026-07-02 00:00"},
		"almost every day":          {[]run.Window{hours("0 0 * * 0-5", "", 24)}, "2026-07-01 08:30", "2026-07-04 00:00", "2026-07-02 00:00"},
		"a leap day":                {[]run.Window{hours("0 0 29 2 *", "", 1)}, "2026-07-01 08:30", "", "2028-02-29 00:00"},
		"a shorthand":               {[]run.Window{hours("@midnight", "", 1)}, "2026-07-01 00:30", "2026-07-01 01:00", "2026-07-02 00:00"},

		// Berlin goes from 02:00 to 03:00 on 29 March 2026, at 01:00 UTC.
		"Berlin, an opening that is skipped": {[]run.Window{hours("30 2 * * *", "Europe/Berlin", 1)},
			"2026-03-29 01:00", "2026-03-29 02:00", "2026-03-30 00:30"},
		"Berlin, before an opening that is skipped": {[]run.Window{hours("30 2 * * *", "Europe/Berlin", 1)},
			"2026-03-29 00:59", "", "2026-03-29 01:00"},
		"Berlin, across a skipped hour": {[]run.Window{hours("0 1 * * *", "Europe/Berlin", 3)},
			"2026-03-29 00:30", "2026-03-29 03:00", "2026-03-29 23:00"},
		// It goes from 03:00 back to 02:00 on 25 October 2026, at 01:00 UTC.
		"Berlin, an opening that comes twice": {[]run.Window{hours("30 2 * * *", "Europe/Berlin", 0.5)},
			"2026-10-25 00:30", "2026-10-25 01:00", "2026-10-26 01:30"},
		"Berlin, its second time": {[]run.Window{hours("30 2 * * *", "Europe/Berlin", 0.5)},
			"2026-10-25 01:30", "", "2026-10-26 01:30"},
		"Berlin, across a repeated hour": {[]run.Window{hours("0 1 * * *", "Europe/Berlin", 3)},
			"2026-10-25 01:30", "2026-10-25 02:00", "2026-10-26 00:00"},

		// New York changes on 8 March 2026 at 07:00 UTC, and on 1 November at 06:00 UTC.
		"New York, an opening that is skipped": {[]run.Window{hours("0 2 * * 0", "America/New_York", 2)},
			"2026-03-08 08:59", "2026-03-08 09:00", "2026-03-15 06:00"},
		"New York, across a skipped hour": {[]run.Window{hours("0 22 * * 6", "America/New_York", 8)},
			"2026-03-08 03:00", "2026-03-08 11:00", "2026-03-15 02:00"},
		"New York, an opening that comes twice": {[]run.Window{hours("0 1 * * *", "America/New_York", 0.5)},
			"2026-11-01 05:00", "2026-11-01 05:30", "2026-11-02 06:00"},
		"New York, its second time": {[]run.Window{hours("0 1 * * *", "America/New_York", 0.5)},
			"2026-11-01 06:00", "", "2026-11-02 06:00"},

		// Lord Howe's clocks change by half an hour: on 4 October 2026 from 02:00 to 02:30, at
		// 15:30 UTC of the day before, and on 5 April from 02:00 back to 01:30, at 15:00 UTC.
		"Lord Howe, an opening that is skipped": {[]run.Window{hours("15 2 * * *", "Australia/Lord_Howe", 1)},
			"2026-10-03 15:30", "2026-10-03 16:30", "2026-10-04 15:15"},
		"Lord Howe, an opening just after": {[]run.Window{hours("30 2 * * *", "Australia/Lord_Howe", 1)},
			"2026-10-03 15:30", "2026-10-03 16:30", "2026-10-04 15:30"},
		"Lord Howe, an opening that comes twice": {[]run.Window{hours("45 1 * * *", "Australia/Lord_Howe", 0.25)},
			"2026-04-04 14:45", "2026-04-04 15:00", "2026-04-05 15:15"},
		"Lord Howe, its second time": {[]run.Window{hours("45 1 * * *", "Australia/Lord_Howe", 0.25)},
			"2026-04-04 15:15", "", "2026-04-05 15:15"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			windows := parse(t, c.windows...)
			open, until := windows.Open(at(t, c.now))
			got := ""
			if open && until.IsZero() {
				got = "always"
			} else if open {
				got = until.UTC().Format("2006-01-02 15:04")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Open (-want +got):\n%s", diff)
			}
			got = "never"
			if next := windows.Next(at(t, c.now)); !next.IsZero() {
				got = next.UTC().Format("2006-01-02 15:04")
			}
			if diff := cmp.Diff(c.next, got); diff != "" {
				t.Errorf("Next (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		window run.Window
		want   []string
	}{
		"an hour that no day has": {hours("0 25 * * *", "", 1), []string{"windows[1].schedule", "above maximum (23)", "write minute, hour"}},
		"four fields":             {hours("0 22 * *", "", 1), []string{"windows[1].schedule", "expected exactly 5 fields", "write minute, hour"}},
		"words":                   {hours("every night", "", 1), []string{"windows[1].schedule", "write minute, hour"}},
		"a zone in the schedule":  {hours("CRON_TZ=Asia/Tokyo 0 22 * * *", "", 1), []string{"windows[1].schedule", "use timeZone"}},
		"a zone and no more":      {hours("TZ=", "", 1), []string{"windows[1].schedule", "use timeZone"}},
		"an interval":             {hours("@every 6h", "", 1), []string{"windows[1].schedule", "no fixed times"}},
		"a day that never is":     {hours("0 0 30 2 *", "", 1), []string{"windows[1].schedule", "no such day"}},
		"an unknown zone":         {hours("0 22 * * *", "Europe/Atlantis", 1), []string{"windows[1].timeZone", "IANA"}},
		"this machine's zone":     {hours("0 22 * * *", "Local", 1), []string{"windows[1].timeZone", "IANA"}},
		"a path":                  {hours("0 22 * * *", "../../etc/passwd", 1), []string{"windows[1].timeZone", "IANA"}},
		"half a minute":           {hours("0 22 * * *", "", 0.008), []string{"windows[1].durationSeconds", "60"}},
		"more than a week":        {hours("0 22 * * *", "", 169), []string{"windows[1].durationSeconds", "604800"}},
		"all of it":               {hours("x", "x", 0), []string{"windows[1].schedule", "windows[1].timeZone", "windows[1].durationSeconds"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse([]run.Window{hours("0 22 * * *", "", 1), c.window})
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(c.want, "windows[1]") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not contain %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "windows[0]") {
				t.Errorf("%q blames the window that is right", err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0 22 * * 1-5", "@daily", "@every 1h", "TZ=UTC * * * * *", "*/7 1,2 ? JAN-MAR MON", "59 23 31 12 7"} {
		f.Add(seed, "Europe/Berlin")
	}
	f.Fuzz(func(t *testing.T, schedule, zone string) {
		windows, err := Parse([]run.Window{{Schedule: schedule, DurationSeconds: 3600, TimeZone: zone}})
		if err != nil {
			return
		}
		now := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC)
		if next := windows.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("the next opening after %v is %v", now, next)
		}
		windows.Open(now)
	})
}
