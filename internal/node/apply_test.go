package node

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

func TestFixed(t *testing.T) {
	require.NoError(t, Fixed(Value{"a", 1, 1}, Value{"b", config.Node{Name: "x"}, config.Node{Name: "x"}}))
	require.EqualError(t, Fixed(Value{"a", 1, 2}, Value{"b", 1, 1}, Value{"c", config.Node{}, config.Node{Name: "x"}}),
		"a change of a, c needs a restart; nothing was changed")
}

func TestApplyEach(t *testing.T) {
	channel := func(name string, port uint16) config.Channel {
		return config.Channel{Name: name, Multicast: config.Downstream{Session: config.Session{Port: port}}}
	}
	list := func(c ...config.Channel) []config.Channel { return c }
	var log []string
	broken := map[string]bool{}
	note := func(what string, c config.Channel) error {
		log = append(log, what+" "+c.Name)
		if broken[c.Name] {
			return errors.New(c.Name + " is broken")
		}
		return nil
	}
	do := Actions[config.Channel]{
		Add:    func(c config.Channel) error { return note("add", c) },
		Change: func(_, c config.Channel) error { return note("change", c) },
		Remove: func(c config.Channel) { _ = note("remove", c) },
	}
	old := list(channel("a", 1), channel("b", 1), channel("c", 1), channel("d", 1))
	next := list(channel("e", 1), channel("b", 2), channel("a", 1), channel("c", 2), channel("f", 1))
	have, err := ApplyEach(old, next, do)
	require.NoError(t, err)
	require.Equal(t, next, have)
	require.Equal(t, []string{"remove d", "change b", "change c", "add e", "add f"}, log)

	// What fails is not there afterwards, and is tried again.
	log = nil
	broken = map[string]bool{"b": true, "e": true}
	have, err = ApplyEach(old, next, do)
	require.EqualError(t, err, "b is broken\ne is broken")
	require.Equal(t, list(channel("b", 1), channel("a", 1), channel("c", 2), channel("f", 1)), have)
	log, broken = nil, nil
	have, err = ApplyEach(have, next, do)
	require.NoError(t, err)
	require.Equal(t, next, have)
	require.Equal(t, []string{"change b", "add e"}, log)
}
