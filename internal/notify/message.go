// Package notify tells people and programs of what a run does: by the incoming webhooks of
// Mattermost and Slack, and as CloudEvents 1.0.
//
// A message may be told twice, if whoever sends it is killed before it has noted that it
// did. CloudEvents then have the same id, by which a receiver knows the repeat.
package notify

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	run "windlass.dev/api/run/v1alpha1"
	"windlass.dev/internal/kit/plan"
)

// What a message may have, within what the receivers take: texts in bytes.
const (
	maxText   = 3000
	maxFields = 10
	maxField  = 300
	// short values are shown beside each other.
	short = 40
)

// Message is what is told.
type Message struct {
	Event run.NotifiedEvent
	Run   Run
	// Cluster is where it happens; empty where there is only one.
	Cluster string
	// Text is a sentence, without secrets.
	Text   string
	Fields []Field
	At     time.Time
	// Sequence tells the events of a run apart that have the same name. It is the same for
	// a repeat: the number of the wave, say, and not that of the messages that were sent.
	Sequence int64
}

// Run is the object that does the work.
type Run struct {
	Kind, Name string
	UID        types.UID
}

// Field is a figure or a name that belongs to a message.
type Field struct{ Name, Value string }

// ID is the same for a message and its repeats, and for no other.
func (m Message) ID() string { return fmt.Sprintf("%s/%s/%d", m.Run.UID, m.Event, m.Sequence) }

// Wants reports whether somebody is to be told of an event.
func Wants(n run.Notification, event run.NotifiedEvent) bool {
	return len(n.Events) == 0 || slices.Contains(n.Events, event)
}

// body is what is sent.
type body struct {
	contentType string
	data        []byte
}

// render returns what is sent, and to whom.
func render(n run.Notification, m Message) (body, run.WebhookNotification, error) {
	switch {
	case n.Mattermost != nil:
		b, err := chat(m, n.Mattermost.Channel, forMattermost)
		return b, *n.Mattermost, err
	case n.Slack != nil:
		b, err := chat(m, n.Slack.Channel, forSlack)
		return b, *n.Slack, err
	case n.CloudEvents != nil:
		b, err := cloudEvent(m)
		return b, *n.CloudEvents, err
	default:
		return body{}, run.WebhookNotification{}, fmt.Errorf("a notification of a kind that this version does not know")
	}
}

var (
	// Nobody is to be called by a text that has an @ in it, and no text is to look like a
	// link to elsewhere. Between @ and a name there is a space of no width.
	forMattermost = strings.NewReplacer("@", "@\u200b", "[", `\[`)
	forSlack      = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
)

// post is the body of an incoming webhook. Mattermost took its form over from Slack.
type post struct {
	Channel     string       `json:"channel,omitempty"`
	Attachments []attachment `json:"attachments"`
}

type attachment struct {
	// Fallback is shown where attachments are not, such as in notifications.
	Fallback string      `json:"fallback"`
	Color    string      `json:"color"`
	Title    string      `json:"title"`
	Text     string      `json:"text,omitempty"`
	Fields   []postField `json:"fields,omitempty"`
	Footer   string      `json:"footer"`
}

type postField struct {
	Title string `json:"title"`
	Value string `json:"value"`
	Short bool   `json:"short"`
}

// words and colors of events; green, amber and red as Slack names them.
var words = map[run.NotifiedEvent]struct{ says, color string }{
	run.NotifyStarted:      {"started", "#439fe0"},
	run.NotifyBlocked:      {"is blocked", "warning"},
	run.NotifyPaused:       {"is paused", "warning"},
	run.NotifyWaveFinished: {"finished a wave", "#439fe0"},
	run.NotifyGateFailed:   {"has a gate that failed", "danger"},
	run.NotifyRollingBack:  {"rolls back", "danger"},
	run.NotifySucceeded:    {"succeeded", "good"},
	run.NotifyFailed:       {"failed", "danger"},
	run.NotifyAborted:      {"was aborted", "warning"},
}

// hex are the colours that Slack has names for; Mattermost knows none but these.
var hex = map[string]string{"good": "#00c100", "warning": "#dede01", "danger": "#e40303"}

func chat(m Message, channel string, escape *strings.Replacer) (body, error) {
	clean := func(text string, limit int) string { return escape.Replace(plan.Bounded(text, limit)) }
	event, ok := words[m.Event]
	if !ok {
		event.says = string(m.Event)
	}
	if color, ok := hex[event.color]; ok {
		event.color = color
	}
	title := m.Run.Kind + " " + m.Run.Name
	if m.Cluster != "" {
		title += " of " + m.Cluster
	}
	title = clean(title+" "+event.says, maxField)
	a := attachment{
		Fallback: title, Color: event.color, Title: title, Text: clean(m.Text, maxText), Footer: m.At.UTC().Format(time.RFC3339),
	}
	if a.Text != "" {
		a.Fallback += ": " + a.Text
	}
	for _, f := range m.Fields[:min(len(m.Fields), maxFields)] {
		a.Fields = append(a.Fields, postField{Title: clean(f.Name, maxField), Value: clean(f.Value, maxField), Short: len(f.Value) <= short})
	}
	data, err := json.Marshal(post{Channel: channel, Attachments: []attachment{a}})
	return body{contentType: "application/json", data: data}, err
}

// event is a CloudEvent in structured mode: github.com/cloudevents/spec, version 1.0.
type event struct {
	SpecVersion string    `json:"specversion"`
	ID          string    `json:"id"`
	Source      string    `json:"source"`
	Type        string    `json:"type"`
	Subject     string    `json:"subject"`
	Time        time.Time `json:"time"`
	ContentType string    `json:"datacontenttype"`
	Data        eventData `json:"data"`
}

type eventData struct {
	Event   run.NotifiedEvent `json:"event"`
	Kind    string            `json:"kind"`
	Name    string            `json:"name"`
	UID     types.UID         `json:"uid"`
	Cluster string            `json:"cluster,omitempty"`
	Text    string            `json:"text,omitempty"`
	Fields  map[string]string `json:"fields,omitempty"`
}

func cloudEvent(m Message) (body, error) {
	kind := strings.ToLower(m.Run.Kind)
	e := event{
		SpecVersion: "1.0", ID: m.ID(), Type: "dev.windlass." + kind + "." + strings.ToLower(string(m.Event)),
		Source: "/" + kind + "s/" + url.PathEscape(m.Run.Name), Subject: m.Run.Name, Time: m.At.UTC(), ContentType: "application/json",
		Data: eventData{Event: m.Event, Kind: m.Run.Kind, Name: m.Run.Name, UID: m.Run.UID, Cluster: m.Cluster, Text: plan.Bounded(m.Text, maxText)},
	}
	if m.Cluster != "" {
		e.Source = "/clusters/" + url.PathEscape(m.Cluster) + e.Source
	}
	for _, f := range m.Fields[:min(len(m.Fields), maxFields)] {
		if e.Data.Fields == nil {
			e.Data.Fields = map[string]string{}
		}
		e.Data.Fields[f.Name] = plan.Bounded(f.Value, maxField)
	}
	data, err := json.Marshal(e)
	return body{contentType: "application/cloudevents+json", data: data}, err
}
