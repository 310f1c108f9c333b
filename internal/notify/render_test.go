package notify

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	run "windlass.dev/api/run/v1alpha1"
)

func finished() Message {
	return Message{
		Event: run.NotifyWaveFinished, Run: Run{Kind: "NodeRotation", Name: "june", UID: "0c4e"}, Cluster: "prod-1",
		Text: "8 of 100 nodes are replaced", Fields: []Field{{"Replaced", "8"}, {"Image", strings.Repeat("ami-", 11)}},
		At: time.Date(2026, 6, 1, 14, 0, 0, 0, time.FixedZone("", 7200)), Sequence: 4,
	}
}

func TestRender(t *testing.T) {
	t.Parallel()
	hook := &run.WebhookNotification{URL: run.SecretKey{Namespace: "ops", Name: "hook", Key: "url"}}
	town := &run.WebhookNotification{URL: hook.URL, Channel: "town-square"}
	alone := finished()
	alone.Cluster, alone.Fields, alone.Text = "", nil, ""
	rude := finished()
	rude.Fields, rude.Text = nil, "@channel <!channel> [here](https://evil.example.com) a&b"
	cases := map[string]struct {
		to          run.Notification
		message     Message
		contentType string
		want        string
	}{
		"Mattermost": {run.Notification{Mattermost: town}, finished(), "application/json", `{"channel":"town-square","attachments":[{
			"fallback":"NodeRotation june of prod-1 finished a wave: 8 of 100 nodes are replaced","color":"#439fe0",
			"title":"NodeRotation june of prod-1 finished a wave","text":"8 of 100 nodes are replaced",
			"fields":[{"title":"Replaced","value":"8","short":true},{"title":"Image","value":"ami-ami-ami-ami-ami-ami-ami-ami-ami-ami-ami-","short":false}],
			"footer":"2026-06-01T12:00:00Z"}]}`},
		"as little as can be": {run.Notification{Slack: hook}, alone, "application/json", `{"attachments":[{
			"fallback":"NodeRotation june finished a wave","color":"#439fe0","title":"NodeRotation june finished a wave","footer":"2026-06-01T12:00:00Z"}]}`},
		"Mattermost calls nobody": {run.Notification{Mattermost: hook}, rude, "application/json", `{"attachments":[{
			"fallback":"NodeRotation june of prod-1 finished a wave: @\u200bchannel <!channel> \\[here](https://evil.example.com) a&b","color":"#439fe0",
			"title":"NodeRotation june of prod-1 finished a wave","text":"@\u200bchannel <!channel> \\[here](https://evil.example.com) a&b",
			"footer":"2026-06-01T12:00:00Z"}]}`},
		"Slack calls nobody": {run.Notification{Slack: hook}, rude, "application/json", `{"attachments":[{
			"fallback":"NodeRotation june of prod-1 finished a wave: @channel &lt;!channel&gt; [here](https://evil.example.com) a&amp;b","color":"#439fe0",
			"title":"NodeRotation june of prod-1 finished a wave","text":"@channel &lt;!channel&gt; [here](https://evil.example.com) a&amp;b",
			"footer":"2026-06-01T12:00:00Z"}]}`},
		"CloudEvents": {run.Notification{CloudEvents: hook}, finished(), "application/cloudevents+json", `{
			"specversion":"1.0","id":"0c4e/WaveFinished/4","source":"/clusters/prod-1/noderotations/june","type":"dev.windlass.noderotation.wavefinished",
			"subject":"june","time":"2026-06-01T12:00:00Z","datacontenttype":"application/json",
			"data":{"event":"WaveFinished","kind":"NodeRotation","name":"june","uid":"0c4e","cluster":"prod-1","text":"8 of 100 nodes are replaced",
				"fields":{"Replaced":"8","Image":"ami-ami-ami-ami-ami-ami-ami-ami-ami-ami-ami-"}}}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, _, err := render(c.to, c.message)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded(t, []byte(c.want)), decoded(t, got.data)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got.contentType != c.contentType {
				t.Errorf("the content type is %s", got.contentType)
			}
		})
	}
}

func decoded(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return v
}

func events() []run.NotifiedEvent {
	return []run.NotifiedEvent{
		run.NotifyStarted, run.NotifyBlocked, run.NotifyPaused, run.NotifyWaveFinished, run.NotifyGateFailed,
		run.NotifyRollingBack, run.NotifySucceeded, run.NotifyFailed, run.NotifyAborted,
	}
}

func TestEveryEventHasWordsAndAColor(t *testing.T) {
	t.Parallel()
	for _, event := range events() {
		if color := hex[words[event].color]; words[event].says == "" || color == "" && !strings.HasPrefix(words[event].color, "#") {
			t.Errorf("%s has the words %+v", event, words[event])
		}
	}
}

// What the specification requires of an event's attributes.
func TestCloudEventsAreValid(t *testing.T) {
	t.Parallel()
	required := map[string]*regexp.Regexp{
		"specversion": regexp.MustCompile(`^1\.0$`), "id": regexp.MustCompile(`.`), "source": regexp.MustCompile(`^[A-Za-z0-9/%._-]+$`),
		"type": regexp.MustCompile(`^dev\.windlass\.[a-z]+\.[a-z]+$`), "time": regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`),
	}
	ids := map[string]bool{}
	for _, event := range events() {
		for _, cluster := range []string{"", "prod 1", "a/b?c#d"} {
			m := finished()
			m.Event, m.Cluster = event, cluster
			b, err := cloudEvent(m)
			if err != nil {
				t.Fatal(err)
			}
			attributes := decoded(t, b.data).(map[string]any)
			for name, pattern := range required {
				if value, _ := attributes[name].(string); !pattern.MatchString(value) {
					t.Errorf("%s of %s is %q", name, event, value)
				}
			}
			ids[fmt.Sprint(attributes["id"])] = true
		}
	}
	if len(ids) != len(events()) {
		t.Errorf("%d events have %d ids", len(events()), len(ids))
	}
}

func TestARepeatHasTheSameID(t *testing.T) {
	t.Parallel()
	first, again, next, other := finished(), finished(), finished(), finished()
	again.At, again.Text = again.At.Add(time.Minute), "9 of 100 nodes are replaced"
	next.Sequence++
	other.Run.UID = "0c4f"
	if first.ID() != again.ID() || first.ID() == next.ID() || first.ID() == other.ID() {
		t.Error(first.ID(), again.ID(), next.ID(), other.ID())
	}
}

func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	m := finished()
	m.Text = strings.Repeat("é", 100_000)
	for range 50 {
		m.Fields = append(m.Fields, Field{"field", m.Text})
	}
	hook := &run.WebhookNotification{}
	for _, n := range []run.Notification{{Mattermost: hook}, {Slack: hook}, {CloudEvents: hook}} {
		b, _, err := render(n, m)
		if err != nil || len(b.data) > 2*maxText+maxFields*2*maxField+2000 {
			t.Errorf("%d bytes, and the error %v", len(b.data), err)
		}
	}
}

func TestWants(t *testing.T) {
	t.Parallel()
	some := run.Notification{Events: []run.NotifiedEvent{run.NotifyFailed, run.NotifyBlocked}}
	if !Wants(run.Notification{}, run.NotifyStarted) || !Wants(some, run.NotifyBlocked) || Wants(some, run.NotifyStarted) {
		t.Error("the events that are listed are wanted, and all if none are")
	}
}
