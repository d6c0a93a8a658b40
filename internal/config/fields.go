package config

import (
	"encoding"
	"reflect"
	"strings"
)

// field is one key of a mapping.
type field struct {
	key   string
	index []int
}

// fieldsOf lists the keys of a struct, those of inline parts among them.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, opts, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if opts == "inline" {
			for _, in := range fieldsOf(f.Type) {
				fields = append(fields, field{in.key, append([]int{i}, in.index...)})
			}
		} else if key != "" {
			fields = append(fields, field{key, []int{i}})
		}
	}
	return fields
}

// isLeaf says whether a value is written as a single text.
func isLeaf(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return true
	}
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// suggest returns the key that was probably meant, or "".
func suggest(key string, fields []field) string {
	best, dist := "", 3
	for _, f := range fields {
		if d := distance(key, f.key); d < dist {
			best, dist = f.key, d
		}
	}
	return best
}

func listKeys(fields []field) string {
	known := make([]string, len(fields))
	for i, f := range fields {
		known[i] = f.key
	}
	return strings.Join(known, ", ")
}

// distance is Levenshtein's, cut off where the lengths alone exceed it.
func distance(a, b string) int {
	if len(a) > len(b)+2 || len(b) > len(a)+2 {
		return 3
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			sub := diag
			if a[i] != b[j] {
				sub++
			}
			diag = row[j+1]
			row[j+1] = min(sub, diag+1, row[j]+1)
		}
	}
	return row[len(b)]
}
