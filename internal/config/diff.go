package config

import (
	"fmt"
	"reflect"
)

// Item is what a node has several of, told apart by name.
type Item interface {
	Channel | Service | RelayService
}

// Changes is how the channels or services of two configurations differ.
type Changes[S Item] struct {
	Added, Removed []S
	Changed        []Change[S]
}

// Change is a channel or service that both configurations have.
type Change[S Item] struct {
	Old, New S
	// Keys are the paths within it that differ: "keys", "multicast.group".
	Keys []string
}

// Empty says that nothing differs.
func (c Changes[S]) Empty() bool {
	return len(c.Added) == 0 && len(c.Removed) == 0 && len(c.Changed) == 0
}

// Diff compares by name: what has another name is another channel or service.
func Diff[S Item](old, new []S) Changes[S] {
	var c Changes[S]
	before := map[string]S{}
	for _, s := range old {
		before[NameOf(s)] = s
	}
	for _, s := range new {
		o, ok := before[NameOf(s)]
		if !ok {
			c.Added = append(c.Added, s)
			continue
		}
		delete(before, NameOf(s))
		if keys := differences(reflect.ValueOf(o), reflect.ValueOf(s), "", nil); len(keys) > 0 {
			c.Changed = append(c.Changed, Change[S]{o, s, keys})
		}
	}
	for _, s := range old {
		if _, gone := before[NameOf(s)]; gone {
			c.Removed = append(c.Removed, s)
		}
	}
	return c
}

// NameOf returns the name of a channel or service.
func NameOf[S Item](s S) string {
	switch s := any(s).(type) {
	case Channel:
		return s.Name
	case Service:
		return s.Name
	case RelayService:
		return s.Name
	}
	return ""
}

// Differences lists the paths at which two documents differ, in the order of
// the schema. Lists of channels and services count as one path each.
func Differences[T Role](old, new *T) []string {
	return differences(reflect.ValueOf(old).Elem(), reflect.ValueOf(new).Elem(), "", nil)
}

func differences(a, b reflect.Value, path string, out []string) []string {
	if isLeaf(a.Type()) || a.Kind() == reflect.Slice {
		// DeepEqual follows the pointers of secrets and URLs.
		if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			out = append(out, path)
		}
		return out
	}
	for _, f := range fieldsOf(a.Type()) {
		out = differences(a.FieldByIndex(f.index), b.FieldByIndex(f.index), join(path, f.key), out)
	}
	return out
}

// String is a line for the log: "added a; removed b; changed c (keys)".
func (c Changes[S]) String() string {
	s := ""
	add := func(format string, args ...any) {
		if s != "" {
			s += "; "
		}
		s += fmt.Sprintf(format, args...)
	}
	for _, i := range c.Added {
		add("added %s", NameOf(i))
	}
	for _, i := range c.Removed {
		add("removed %s", NameOf(i))
	}
	for _, i := range c.Changed {
		add("changed %s %v", NameOf(i.New), i.Keys)
	}
	if s == "" {
		return "none"
	}
	return s
}
