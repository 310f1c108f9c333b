// Package wire reads requests and writes answers in the protocols of AWS: the query
// protocol in the dialect of EC2 and in that of the others, and JSON as Systems Manager
// and as EKS speak it. What it reads into and writes from are plain structs whose fields
// have AWS's names; it knows no action.
//
// A struct says what is known: a parameter that it has no field for is refused, so that
// nobody can rely on something that would be dropped.
//
// EC2 has names of its own for lists. The tag `ec2:"Request,answer,item"` has them; what
// is empty is derived from the field's name. A field with `wire:"-"` is on no wire.
package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Dialect is how names are made.
type Dialect int

// The dialects.
const (
	// EC2 says Name.1 and <name><item>.
	EC2 Dialect = iota
	// Query says Name.member.1 and <Name><member>.
	Query
)

// field is a field's names on the wire.
type field struct {
	request, answer, item string
}

// namesOf is false for what is on no wire.
func namesOf(f reflect.StructField, d Dialect) (field, bool) {
	if f.Tag.Get("wire") == "-" || !f.IsExported() {
		return field{}, false
	}
	if d == Query {
		return field{f.Name, f.Name, "member"}, true
	}
	names := field{f.Name, lower(f.Name), "item"}
	parts := strings.Split(f.Tag.Get("ec2"), ",")
	for n, to := range []*string{&names.request, &names.answer, &names.item} {
		if n < len(parts) && parts[n] != "" {
			*to = parts[n]
		}
	}
	return names, true
}

// lower makes the first letter small, as EC2 and EKS do in answers.
func lower(name string) string {
	first, size := utf8.DecodeRuneInString(name)
	return string(unicode.ToLower(first)) + name[size:]
}

// setText sets a field from the text of a form or a path.
func setText(v reflect.Value, text string) error {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil {
			return fmt.Errorf("%q is no number", text)
		}
		v.SetInt(n)
	default:
		return fmt.Errorf("a %s cannot be %q", v.Kind(), text)
	}
	return nil
}
