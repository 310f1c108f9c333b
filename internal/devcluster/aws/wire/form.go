package wire

import (
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// branch is a form's parameters by the parts of their names.
type branch struct {
	text     string
	children map[string]*branch
}

// DecodeForm reads a form into a struct.
func DecodeForm(form url.Values, d Dialect, into any) error {
	root := &branch{}
	for name, values := range form {
		if name == "Action" || name == "Version" {
			continue
		}
		if len(values) != 1 {
			return fmt.Errorf("the parameter %s is there %d times", name, len(values))
		}
		at := root
		for part := range strings.SplitSeq(name, ".") {
			if at.children == nil {
				at.children = map[string]*branch{}
			}
			if at.children[part] == nil {
				at.children[part] = &branch{}
			}
			at = at.children[part]
		}
		at.text = values[0]
	}
	return decode(root, d, reflect.ValueOf(into).Elem(), "")
}

func decode(b *branch, d Dialect, v reflect.Value, path string) error {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return decode(b, d, v.Elem(), path)
	case reflect.Struct:
		return decodeStruct(b, d, v, path)
	case reflect.Slice:
		return decodeList(b, d, v, path)
	default:
		if b.children != nil {
			return fmt.Errorf("the parameter %s has parts", path)
		}
		if err := setText(v, b.text); err != nil {
			return fmt.Errorf("the parameter %s: %w", path, err)
		}
		return nil
	}
}

func decodeStruct(b *branch, d Dialect, v reflect.Value, path string) error {
	left := maps.Clone(b.children)
	for i := range v.NumField() {
		names, ok := namesOf(v.Type().Field(i), d)
		if !ok {
			continue
		}
		child, ok := left[names.request]
		if !ok {
			continue
		}
		delete(left, names.request)
		if err := decode(child, d, v.Field(i), join(path, names.request)); err != nil {
			return err
		}
	}
	for _, unknown := range slices.Sorted(maps.Keys(left)) {
		return fmt.Errorf("the parameter %s is not known to the fake", join(path, unknown))
	}
	return nil
}

func decodeList(b *branch, d Dialect, v reflect.Value, path string) error {
	if d == Query && b.children != nil {
		member, ok := b.children["member"]
		if !ok || len(b.children) != 1 {
			return fmt.Errorf("the parameter %s is no list", path)
		}
		b = member
	}
	var numbers []int
	for name := range b.children {
		n, err := strconv.Atoi(name)
		if err != nil || strconv.Itoa(n) != name {
			return fmt.Errorf("the parameter %s.%s is no element of a list", path, name)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	v.Set(reflect.MakeSlice(v.Type(), len(numbers), len(numbers)))
	for at, n := range numbers {
		if err := decode(b.children[strconv.Itoa(n)], d, v.Index(at), join(path, strconv.Itoa(n))); err != nil {
			return err
		}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
