package wire

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Name  string
	Size  *int
	Inner []inner `ec2:"Part,partSet"`
}

type sample struct {
	Text   string
	Yes    bool
	Number int
	Maybe  *bool
	Names  []string `ec2:"Name,nameSet,entry"`
	Parts  []inner  `ec2:"Part,partSet"`
	One    *inner
	When   time.Time
	Hidden string `wire:"-"`
}

func TestDecodeForm(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		form    string
		dialect Dialect
		want    sample
		err     string
	}{
		"EC2": {
			form: "Action=X&Version=1&Text=a&Yes=true&Number=3&Name.1=x&Name.2=y&Part.1.Name=p&Part.1.Part.1.Size=4&One.Name=q",
			want: sample{Text: "a", Yes: true, Number: 3, Names: []string{"x", "y"}, Parts: []inner{{Name: "p", Inner: []inner{{Size: new(4)}}}}, One: &inner{Name: "q"}},
		},
		"the others": {
			form: "Text=a&Maybe=false&Names.member.1=x&Names.member.2=y&Parts.member.1.Name=p", dialect: Query,
			want: sample{Text: "a", Maybe: new(false), Names: []string{"x", "y"}, Parts: []inner{{Name: "p"}}},
		},
		"an empty list":              {form: "Names=", dialect: Query, want: sample{Names: []string{}}},
		"more than nine":             {form: "Name.2=b&Name.10=c&Name.1=a", want: sample{Names: []string{"a", "b", "c"}}},
		"what is not known":          {form: "Nothing=1", err: "the parameter Nothing is not known to the fake"},
		"what is not known, deeper":  {form: "Part.1.Nothing=1", err: "the parameter Part.1.Nothing is not known to the fake"},
		"what is on no wire":         {form: "Hidden=1", err: "the parameter Hidden is not known to the fake"},
		"twice the same":             {form: "Text=a&Text=b", err: "the parameter Text is there 2 times"},
		"no number":                  {form: "Number=x", err: `the parameter Number: "x" is no number`},
		"no truth":                   {form: "Yes=perhaps", err: `the parameter Yes: "perhaps" is neither true nor false`},
		"parts where there are none": {form: "Text.1=a", err: "the parameter Text has parts"},
		"no element":                 {form: "Name.x=a", err: "the parameter Name.x is no element of a list"},
		"no list":                    {form: "Names.1=a", dialect: Query, err: "the parameter Names is no list"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			form, err := url.ParseQuery(c.form)
			if err != nil {
				t.Fatal(err)
			}
			var got sample
			if err := DecodeForm(form, c.dialect, &got); err != nil || c.err != "" {
				if err == nil || err.Error() != c.err {
					t.Errorf("the error is %v, want %s", err, c.err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDecodeJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body string
		said map[string]string
		want sample
		err  bool
	}{
		"a body and a path":         {body: `{"text":"a","parts":[{"name":"p"}]}`, said: map[string]string{"maybe": "true", "number": "2"}, want: sample{Text: "a", Parts: []inner{{Name: "p"}}, Maybe: new(true), Number: 2}},
		"no body":                   {body: "", want: sample{}},
		"what is not known":         {body: `{"nothing":1}`, err: true},
		"what is not known, deeper": {body: `{"parts":[{"nothing":1}]}`, err: true},
		"a path that is not known":  {said: map[string]string{"nothing": "1"}, err: true},
		"a list in a path":          {said: map[string]string{"names": "1"}, err: true},
		"broken":                    {body: `{"text":`, err: true},
		"two bodies":                {body: `{} {}`, err: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got sample
			if err := DecodeJSON([]byte(c.body), &got, c.said); (err != nil) != c.err {
				t.Fatalf("the error is %v", err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" && !c.err {
				t.Error(diff)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	t.Parallel()
	v := sample{Text: "<&", Names: []string{"x", ""}, Parts: []inner{{Name: "p"}}, When: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC), Hidden: "no"}
	const head = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	for name, c := range map[string]struct {
		dialect Dialect
		want    string
	}{
		"EC2":        {EC2, `<XResponse><requestId>id</requestId><text>&lt;&amp;</text><yes>false</yes><number>0</number><nameSet><entry>x</entry><entry></entry></nameSet><partSet><item><name>p</name></item></partSet><when>2026-01-02T03:04:05.006Z</when></XResponse>`},
		"the others": {Query, `<XResponse><XResult><Text>&lt;&amp;</Text><Yes>false</Yes><Number>0</Number><Names><member>x</member><member></member></Names><Parts><member><Name>p</Name></member></Parts><When>2026-01-02T03:04:05.006Z</When></XResult><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></XResponse>`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(head+c.want, string(EncodeXML("X", c.dialect, &v, "id"))); diff != "" {
				t.Error(diff)
			}
		})
	}
	got, err := EncodeJSON(&v, true)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"names":["x",""],"number":0,"parts":[{"name":"p"}],"text":"\u003c\u0026","when":1767323045.006,"yes":false}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecode: whatever comes is read or refused.
func FuzzDecode(f *testing.F) {
	f.Add("Part.1.Part.2.Name=a&Name.member.1=x&Text=&One=1")
	f.Add(`{"parts":[{"inner":[{}]}]}`)
	f.Fuzz(func(_ *testing.T, text string) {
		if form, err := url.ParseQuery(text); err == nil {
			for _, d := range []Dialect{EC2, Query} {
				var got sample
				if DecodeForm(form, d, &got) == nil {
					EncodeXML("X", d, &got, "")
				}
			}
		}
		var got sample
		_ = DecodeJSON([]byte(text), &got, map[string]string{"text": text})
	})
}
