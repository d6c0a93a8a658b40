package node

import (
	"errors"
	"fmt"
	"strings"

	"github.com/treedn/treedn/internal/config"
)

// Value is a value of two configurations.
type Value struct {
	Key      string
	Old, New any // comparable
}

// Fixed refuses a change of values that need a restart.
func Fixed(values ...Value) error {
	var changed []string
	for _, v := range values {
		if v.Old != v.New {
			changed = append(changed, v.Key)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return fmt.Errorf("a change of %s needs a restart; nothing was changed", strings.Join(changed, ", "))
}

// Actions bring the channels or services of a node from one configuration to another.
type Actions[S config.Item] struct {
	Add    func(S) error
	Change func(old, next S) error
	Remove func(S)
}

// ApplyEach touches the items that differ: first those that go, which may free what others take. It returns what the
// node has now, with the old form of what could not be changed and without what could not be added, so that another try
// tries them again.
func ApplyEach[S config.Item](old, next []S, do Actions[S]) ([]S, error) {
	changes := config.Diff(old, next)
	kept := make(map[string]S)
	failed := make(map[string]bool)
	var errs []error
	for _, s := range changes.Removed {
		do.Remove(s)
	}
	for _, c := range changes.Changed {
		if err := do.Change(c.Old, c.New); err != nil {
			errs = append(errs, err)
			kept[config.NameOf(c.New)] = c.Old
		}
	}
	for _, s := range changes.Added {
		if err := do.Add(s); err != nil {
			errs = append(errs, err)
			failed[config.NameOf(s)] = true
		}
	}
	var have []S
	for _, s := range next {
		name := config.NameOf(s)
		if failed[name] {
			continue
		}
		if o, ok := kept[name]; ok {
			s = o
		}
		have = append(have, s)
	}
	return have, errors.Join(errs...)
}
