package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"
)

// DecodeJSON reads a body into a struct, and what the path and the query said.
func DecodeJSON(body []byte, into any, said map[string]string) error {
	if len(bytes.TrimSpace(body)) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(body))
		decoder.DisallowUnknownFields()
		// Names are matched whatever the case of their letters.
		if err := decoder.Decode(into); err != nil {
			return fmt.Errorf("the body: %w", err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return errors.New("there is something after the body")
		}
	}
	v := reflect.ValueOf(into).Elem()
	for name, text := range said {
		f := v.FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, name) })
		if !f.IsValid() {
			return fmt.Errorf("the parameter %s is not known to the fake", name)
		}
		if f.Kind() == reflect.Pointer {
			f.Set(reflect.New(f.Type().Elem()))
			f = f.Elem()
		}
		if err := setText(f, text); err != nil {
			return fmt.Errorf("the parameter %s: %w", name, err)
		}
	}
	return nil
}

// EncodeJSON writes an answer; small makes the first letters of names small. Times are
// seconds, as both services have them.
func EncodeJSON(answer any, small bool) ([]byte, error) {
	return json.Marshal(plain(reflect.ValueOf(answer), small))
}

// plain is a value as encoding/json has it; nil for what is left out.
func plain(v reflect.Value, small bool) any {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem(), small)
	}
	if t, ok := reflect.TypeAssert[time.Time](v); ok {
		if t.IsZero() {
			return nil
		}
		return float64(t.UnixMilli()) / 1000
	}
	switch v.Kind() {
	case reflect.Struct:
		return plainStruct(v, small)
	case reflect.Slice:
		if v.IsNil() {
			return nil
		}
		all := make([]any, v.Len())
		for n := range all {
			if all[n] = plain(v.Index(n), small); all[n] == nil {
				all[n] = "" // An element of a list may be empty, and then still is one.
			}
		}
		return all
	case reflect.Map:
		if v.IsNil() {
			return nil
		}
		return v.Interface()
	case reflect.String:
		if v.Len() == 0 {
			return nil
		}
		return v.String()
	default:
		return v.Interface()
	}
}

func plainStruct(v reflect.Value, small bool) any {
	all := map[string]any{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Tag.Get("wire") == "-" {
			continue
		}
		name := f.Name
		if small {
			name = lower(name)
		}
		if value := plain(v.Field(i), small); value != nil {
			all[name] = value
		}
	}
	return all
}
