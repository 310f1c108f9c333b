package wire

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"reflect"
	"time"
)

// EncodeXML writes an action's answer. What is empty is left out; numbers and truth
// values never are.
func EncodeXML(action string, d Dialect, answer any, request string) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	open(&b, action+"Response")
	if d == EC2 {
		element(&b, "requestId", request)
		encodeFields(&b, d, reflect.ValueOf(answer))
		if reflect.Indirect(reflect.ValueOf(answer)).NumField() == 0 {
			element(&b, "return", "true")
		}
	} else {
		open(&b, action+"Result")
		encodeFields(&b, d, reflect.ValueOf(answer))
		shut(&b, action+"Result")
		b.WriteString("<ResponseMetadata>")
		element(&b, "RequestId", request)
		b.WriteString("</ResponseMetadata>")
	}
	shut(&b, action+"Response")
	return b.Bytes()
}

// EncodeError writes why an action was refused.
func EncodeError(d Dialect, code, message, request string) []byte {
	var b bytes.Buffer
	b.WriteString(xml.Header)
	if d == EC2 {
		b.WriteString("<Response><Errors><Error>")
		element(&b, "Code", code)
		element(&b, "Message", message)
		b.WriteString("</Error></Errors>")
		element(&b, "RequestID", request)
		b.WriteString("</Response>")
		return b.Bytes()
	}
	b.WriteString("<ErrorResponse><Error><Type>Sender</Type>")
	element(&b, "Code", code)
	element(&b, "Message", message)
	b.WriteString("</Error>")
	element(&b, "RequestId", request)
	b.WriteString("</ErrorResponse>")
	return b.Bytes()
}

func encodeFields(b *bytes.Buffer, d Dialect, v reflect.Value) {
	v = reflect.Indirect(v)
	for i := range v.NumField() {
		if names, ok := namesOf(v.Type().Field(i), d); ok {
			encode(b, d, names.answer, names.item, v.Field(i))
		}
	}
}

func encode(b *bytes.Buffer, d Dialect, name, item string, v reflect.Value) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		if !t.IsZero() {
			element(b, name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		open(b, name)
		encodeFields(b, d, v)
		shut(b, name)
	case reflect.Slice:
		if v.Len() == 0 {
			return
		}
		open(b, name)
		for n := range v.Len() {
			encode(b, d, item, item, v.Index(n))
		}
		shut(b, name)
	case reflect.String:
		// An element of a list may be empty, and then still is one.
		if v.Len() > 0 || name == item || name == "Value" || name == "value" {
			element(b, name, v.String())
		}
	default:
		element(b, name, fmt.Sprint(v.Interface()))
	}
}

func open(b *bytes.Buffer, name string) { b.WriteString("<" + name + ">") }
func shut(b *bytes.Buffer, name string) { b.WriteString("</" + name + ">") }

func element(b *bytes.Buffer, name, text string) {
	open(b, name)
	// A buffer takes everything.
	_ = xml.EscapeText(b, []byte(text))
	shut(b, name)
}
