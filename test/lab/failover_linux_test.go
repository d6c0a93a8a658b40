package lab_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFailover breaks the tree in all sorts of ways and prints what players
// behind two RELAYs see: one 10 s behind the publisher, and one 2 s. It fails
// only where a player got something else than CAST took in.
func TestFailover(t *testing.T) {
	l := newLab(t)
	l.start("cast", "cast")
	s := l.push("cast", ingestURL)
	l.ready("cast")
	relay := l.start("relay", "relay")
	relay2 := l.start("relay2", "relay")
	relay4 := l.start("relay4", "relay")
	l.start("bf", "beacon")
	l.start("bb", "beacon")
	l.ready(relay.name, relay2.name, relay4.name, "bf")
	require.NoError(t, s.wait(t.Context(), func() bool { return s.segment(0, 4) != nil }))

	// What nobody but a parent gives.
	far, near := l.play("bb", s, 10*time.Second, false), l.play("bb", s, 2*time.Second, true)
	time.Sleep(14 * time.Second)
	a, b := far.end(), near.end()
	t.Log("--- no multicast at all")
	t.Logf("10 s behind: %v", a)
	t.Logf(" 2 s behind: %v", b)
	t.Log(figures("bb", l.service("bb")))
	require.Zero(t, a.different+b.different)

	for _, c := range []struct {
		name  string
		lasts time.Duration // the disturbance
		after time.Duration // until its traces are gone
		begin func()
		end   func()
	}{
		{
			"multicast alone dropped on the first hop", 5 * time.Second, 11 * time.Second,
			func() { l.sh("hole", "r1", "relay", media) }, func() { l.sh("clear", "r1", "relay") },
		},
		{
			"multicast alone dropped on the last hop", 5 * time.Second, 11 * time.Second,
			func() { l.sh("hole", "relay4", "bf", media) }, func() { l.sh("clear", "relay4", "bf") },
		},
		{
			"carrier lost between the RELAYs", 5 * time.Second, 12 * time.Second,
			func() { l.sh("cut", "relay", "relay4") }, func() { l.sh("heal", "relay", "relay4") },
		},
		{
			"the last RELAY killed and back", 3 * time.Second, 12 * time.Second,
			relay4.kill, relay4.run,
		},
		{
			"the first RELAY killed and back", 3 * time.Second, 12 * time.Second,
			relay.kill, relay.run,
		},
		{
			"29 % loss in bursts on the last hop", 18 * time.Second, 4 * time.Second,
			func() { l.sh("wire", "relay4", "bf", "-udp", "-ge", "8,20,100") }, func() { l.sh("unwire", "relay4", "bf") },
		},
		{
			"the first RELAY killed for good, another parent known", 5 * time.Second, 12 * time.Second,
			relay.kill, func() {},
		},
	} {
		before := l.services([]string{"bf"})
		far, near, lister := l.play("bf", s, 10*time.Second, false), l.play("bf", s, 2*time.Second, true), l.list("bf", s)
		time.Sleep(2500 * time.Millisecond)
		c.begin()
		time.Sleep(c.lasts)
		c.end()
		time.Sleep(c.after)
		a, b := far.end(), near.end()
		t.Logf("--- %s, %v", c.name, c.lasts)
		t.Logf("10 s behind: %v", a)
		t.Logf(" 2 s behind: %v", b)
		t.Log(lister.end())
		t.Log(figures("bf", difference(l.service("bf"), before["bf"])))
		require.Zero(t, a.different+b.different)
	}
}
