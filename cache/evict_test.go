package cache

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// check recomputes what the store accounts for.
func check(t testing.TB, s *Store) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var mem, disk usage
	for _, svc := range s.services {
		var m, d usage
		queued, onDisk := 0, 0
		for name, o := range svc.objects {
			require.Equal(t, name, o.key.Name)
			require.True(t, o.current)
			require.Same(t, svc, o.svc)
			if b := o.body.Load(); b != nil {
				m.add(o.charged, 1)
				var octets int64
				for _, p := range b.pages {
					octets += int64(len(p))
				}
				if s.growing[o] == nil {
					require.Equal(t, octets, o.charged)
					require.True(t, o.inMem.In(&svc.clean) || o.inMem.In(&svc.dirty) || o.inMem.In(&svc.pinned))
					queued++
				} else {
					require.LessOrEqual(t, octets, o.charged)
				}
			} else {
				require.Zero(t, o.charged)
				require.NotNil(t, o.file.Load())
			}
			if f := o.file.Load(); f != nil {
				d.add(f.size, 1)
				require.True(t, o.inDisk.In(&svc.files) || o.inDisk.In(&svc.pinnedFiles))
				require.True(t, slices.Contains(svc.keys, f.epoch))
				onDisk++
			}
		}
		require.Equal(t, svc.clean.Len()+svc.dirty.Len()+svc.pinned.Len(), queued)
		require.Equal(t, svc.files.Len()+svc.pinnedFiles.Len(), onDisk)
		for o := range s.growing {
			if o.svc == svc && !o.current {
				m.add(o.charged, 1)
			}
		}
		require.Equal(t, m, svc.mem)
		require.Equal(t, d, svc.disk)
		require.False(t, svc.cfg.Memory.exceeded(svc.mem, 0, 0))
		mem.add(m.octets, m.objects)
		disk.add(d.octets, d.objects)
	}
	for o := range s.growing {
		if s.services[o.svc.name] != o.svc {
			mem.add(o.charged, 1) // its service was removed
		}
	}
	for _, f := range s.foreign {
		disk.add(f.size, 1)
	}
	require.Equal(t, mem, s.mem)
	require.Equal(t, disk, s.disk)
	require.False(t, s.cfg.Memory.exceeded(s.mem, 0, 0))
}

func present(s *Store, service string) (names []int) {
	for i := range 1000 {
		svc := s.services[service]
		if svc != nil && svc.objects[strconv.Itoa(i)] != nil {
			names = append(names, i)
		}
	}
	return names
}

func TestMemoryLimitEvictsBySieve(t *testing.T) {
	s := openStore(t, Config{Memory: Limit{Octets: 5000}, LiveWindow: -1})
	for i := range 5 {
		put(t, s, Key{"s", strconv.Itoa(i)}, 1, make([]byte, 1000))
	}
	_, ok := s.Lookup(Key{"s", "0"})
	require.True(t, ok)
	put(t, s, Key{"s", "5"}, 1, make([]byte, 1000))
	put(t, s, Key{"s", "6"}, 1, make([]byte, 1500))
	check(t, s)
	require.Equal(t, []int{0, 4, 5, 6}, present(s, "s"))
	require.EqualValues(t, 3, s.Stats().EvictedMemory)
}

func TestLiveEdgeAndPinnedStay(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{Memory: Limit{Objects: 6}, LiveWindow: 10 * time.Second, Now: c.Now})
	_, err := s.Put(Key{"s", "900"}, Meta{Pinned: true}, nil)
	require.NoError(t, err)
	for i := range 3 {
		put(t, s, Key{"s", strconv.Itoa(i)}, 1, nil)
		s.Lookup(Key{"s", strconv.Itoa(i)})
	}
	c.Advance(11 * time.Second)
	growing := create(t, s, Key{"s", "901"}, Meta{})
	put(t, s, Key{"s", "3"}, 1, nil) // live, and never asked for
	put(t, s, Key{"s", "4"}, 1, nil)
	put(t, s, Key{"s", "5"}, 1, nil)
	put(t, s, Key{"s", "6"}, 1, nil)
	require.Equal(t, []int{3, 4, 5, 6, 900, 901}, present(s, "s"))
	// Nothing but the live edge: its oldest goes.
	put(t, s, Key{"s", "7"}, 1, nil)
	require.Equal(t, []int{4, 5, 6, 7, 900, 901}, present(s, "s"))
	// Nothing but pinned and growing: the oldest pinned goes.
	for i := range 4 {
		s.Remove(Key{"s", strconv.Itoa(i + 4)})
	}
	var open []*Writer
	for i := range 5 {
		open = append(open, create(t, s, Key{"s", strconv.Itoa(910 + i)}, Meta{}))
	}
	require.Equal(t, []int{901, 910, 911, 912, 913, 914}, present(s, "s"))
	// Nothing but growing: no.
	_, err = s.Put(Key{"s", "8"}, Meta{}, nil)
	require.ErrorIs(t, err, ErrNoSpace)
	_, err = s.Create(Key{"s", "8"}, Meta{})
	require.ErrorIs(t, err, ErrNoSpace)
	require.NoError(t, growing.Finish())
	put(t, s, Key{"s", "8"}, 1, nil)
	for _, w := range open {
		w.Abort(nil)
	}
	check(t, s)
}

func TestGrowthIsBounded(t *testing.T) {
	s := openStore(t, Config{Memory: Limit{Octets: 10 * pageSize}})
	put(t, s, Key{"s", "1"}, 1, make([]byte, 5*pageSize))
	w := create(t, s, Key{"s", "2"}, Meta{})
	write(t, w, make([]byte, 8*pageSize)) // evicts the other one
	require.Equal(t, []int{2}, present(s, "s"))
	_, err := w.Write(make([]byte, 3*pageSize))
	require.ErrorIs(t, err, ErrNoSpace)
	_, _, err = w.Object().Size()
	require.ErrorIs(t, err, ErrNoSpace)
	require.Zero(t, s.Stats().Memory.Octets)

	// What was replaced counts until it ends.
	w = create(t, s, Key{"s", "2"}, Meta{})
	write(t, w, make([]byte, 6*pageSize))
	w2 := create(t, s, Key{"s", "2"}, Meta{})
	_, err = w2.Write(make([]byte, 6*pageSize))
	require.ErrorIs(t, err, ErrNoSpace)
	check(t, s)
	require.NoError(t, w.Finish())
	require.Zero(t, s.Stats().Memory.Octets)
}

func TestServiceLimits(t *testing.T) {
	s := openStore(t, Config{
		Memory:     Limit{Objects: 20},
		LiveWindow: -1,
		Services:   map[string]ServiceConfig{"small": {Memory: Limit{Objects: 3, Octets: 2500}}},
	})
	for i := range 10 {
		put(t, s, Key{"small", strconv.Itoa(i)}, 1, make([]byte, 1000))
		require.LessOrEqual(t, s.ServiceStats("small").Memory.Octets, int64(2500))
	}
	require.Equal(t, []int{8, 9}, present(s, "small"))
	// One that floods pays for itself.
	for i := range 100 {
		put(t, s, Key{"flood", strconv.Itoa(i)}, 1, nil)
	}
	require.Equal(t, []int{8, 9}, present(s, "small"))
	require.Len(t, present(s, "flood"), 18)
	// A lower limit holds at once.
	require.NoError(t, s.SetService("flood", ServiceConfig{Memory: Limit{Objects: 4}}))
	require.Len(t, present(s, "flood"), 4)
	check(t, s)
}

func TestRetention(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{
		Retention: time.Minute, Now: c.Now,
		Services: map[string]ServiceConfig{"long": {Retention: time.Hour}, "ever": {Retention: -1}},
	})
	for _, service := range []string{"s", "long", "ever"} {
		put(t, s, Key{service, "1"}, 1, nil)
		_, err := s.Put(Key{service, "2"}, Meta{Pinned: true}, nil)
		require.NoError(t, err)
		create(t, s, Key{service, "3"}, Meta{})
	}
	for _, tt := range []struct {
		after           time.Duration
		s, long, always bool
	}{
		{time.Minute, true, true, true},
		{time.Second, false, true, true},
		{time.Hour, false, false, true},
	} {
		c.Advance(tt.after)
		for service, want := range map[string]bool{"s": tt.s, "long": tt.long, "ever": tt.always} {
			_, ok := s.Lookup(Key{service, "1"})
			require.Equal(t, want, ok, service)
			_, ok = s.Lookup(Key{service, "2"})
			require.True(t, ok)
			_, ok = s.Lookup(Key{service, "3"})
			require.True(t, ok)
		}
	}
	require.Equal(t, 9, s.Stats().Memory.Objects) // found by nobody, still there
	put(t, s, Key{"s", "4"}, 1, nil)              // sweeps its service
	require.Equal(t, []int{2, 3, 4}, present(s, "s"))
	s.Sweep()
	require.Equal(t, []int{2, 3}, present(s, "long"))
	require.Equal(t, []int{1, 2, 3}, present(s, "ever"))
	require.EqualValues(t, 2, s.Stats().Expired)
	check(t, s)
}

func TestMemoryIsBoundedUnderFlood(t *testing.T) {
	s := openStore(t, Config{Memory: Limit{Octets: 1 << 20, Objects: 100}})
	for i := range 3000 {
		w := create(t, s, Key{fmt.Sprint("s", i%7), strconv.Itoa(i % 500)}, Meta{})
		write(t, w, make([]byte, i%30_000))
		if i%11 == 0 {
			w.Abort(nil)
		} else {
			require.NoError(t, w.Finish())
		}
		st := s.Stats()
		require.LessOrEqual(t, st.Memory.Octets, int64(1<<20))
		require.LessOrEqual(t, st.Memory.Objects, 100)
	}
	check(t, s)
}

// TestExpiredGenerationComesAgain makes sure that what is a miss can be filled.
func TestExpiredGenerationComesAgain(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{Retention: time.Minute, Now: c.Now})
	put(t, s, key, 5, []byte("x"))
	_, err := s.Put(key, Meta{Generation: 5}, nil)
	require.ErrorIs(t, err, ErrExists)
	c.Advance(2 * time.Minute)
	_, ok := s.Lookup(key)
	require.False(t, ok)
	put(t, s, key, 5, []byte("x"))
	_, ok = s.Lookup(key)
	require.True(t, ok)
	check(t, s)
}

func TestCreated(t *testing.T) {
	c := newClock()
	s := openStore(t, Config{Now: c.Now})
	for _, tt := range []struct{ created, want time.Time }{
		{time.Time{}, c.Now()},
		{c.Now().Add(-time.Hour), c.Now().Add(-time.Hour)},
		{c.Now().Add(time.Hour), c.Now()},
	} {
		o, err := s.Put(key, Meta{Created: tt.created}, nil)
		require.NoError(t, err)
		require.Equal(t, tt.want, o.Meta().Created)
	}
}
