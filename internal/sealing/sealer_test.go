package sealing_test

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/seal"
	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/internal/service"
)

func unmarshal(t *testing.T, b []byte) (d seal.Datagram) {
	t.Helper()
	require.NoError(t, d.Unmarshal(b))
	return d
}

func TestSealerSealsWhatTheServiceTakesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		o := r.begin("v-1.m4s", 7)
		require.NoError(t, o.Write(octets(1, 5000), false))
		require.Empty(t, r.take(), "no chunk has ended")
		require.NoError(t, o.Write(octets(2, 5000), true))
		sent := r.take()
		require.Len(t, sent, 1, "at once")
		rec := unmarshal(t, sent[0]).Records[0]
		require.EqualValues(t, 10_000, rec.End)
		require.EqualValues(t, 7, rec.Generation)
		require.Equal(t, "v-1.m4s", string(rec.Name))
		require.Equal(t, sent[0], r.sealer.Newest())

		got, _ := r.store.Lookup(r.key("v-1.m4s"))
		require.Equal(t, string(sent[0]), got.Meta().Header[service.SealHeader], "it is kept with the octets")

		require.NoError(t, o.Commit())
		time.Sleep(10 * time.Millisecond)
		sent = r.take()
		rec = unmarshal(t, sent[len(sent)-1]).Records[0]
		require.Equal(t, seal.Final, rec.Flags&seal.Final)

		// An empty object and one that breaks off.
		require.NoError(t, r.begin("v-2.m4s", 8).Commit())
		broken := r.begin("v-3.m4s", 9)
		require.NoError(t, broken.Write(octets(3, 100), true))
		broken.Abort(os.ErrDeadlineExceeded)
		time.Sleep(10 * time.Millisecond)
		flags := map[uint64]seal.Flags{}
		for _, b := range r.take() {
			for _, rec := range unmarshal(t, b).Records {
				flags[rec.Generation] |= rec.Flags
				if rec.Generation == 8 {
					require.Zero(t, rec.End)
				}
			}
		}
		require.NotZero(t, flags[8]&seal.Final)
		require.NotZero(t, flags[9]&seal.Aborted)
		require.Zero(t, flags[9]&seal.Final)
	})
}

// Times never fall, over restarts with a clock that stepped back or a crash right after a seal.
func TestClockFile(t *testing.T) {
	state := filepath.Join(t.TempDir(), "live")
	var last uint64
	seals := func(t *testing.T, generation uint64) {
		r := newRoot(t, state)
		defer r.stop()
		r.put("v.m4s", generation, octets(1, 10_000), 5000)
		for _, b := range r.take() {
			at := unmarshal(t, b).Time
			require.Greater(t, at, last)
			last = at
		}
		// What is in the file is ahead of what was sent, so that a crash does no harm.
		b, err := os.ReadFile(state)
		require.NoError(t, err)
		kept, err := strconv.ParseUint(string(b), 10, 64)
		require.NoError(t, err)
		require.Greater(t, kept, last)
	}
	for generation, hours := range []int{5, 5, 3, 0, 1} { // of virtual time, which begins anew for each
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Duration(hours) * time.Hour)
			seals(t, uint64(generation+1))
		})
	}
	require.NoError(t, os.WriteFile(state, []byte("yesterday"), 0o600))
	_, err := sealing.NewSealer(sealing.SealerConfig{Service: newService(t), Store: newStore(t), Key: testKey(1), State: state})
	require.ErrorIs(t, err, strconv.ErrSyntax, "guessing would make receivers deaf")
}

// A state that cannot be written stops nobody.
func TestClockFileThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, filepath.Join(t.TempDir(), "missing", "live"))
		r.put("v.m4s", 1, octets(1, 10_000), 5000)
		require.NotEmpty(t, r.take())
	})
}

func TestSealerEndsOlderGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t, "")
		old := r.begin("v.m4s", 1)
		require.NoError(t, old.Write(octets(1, 100), true))
		r.take()
		r.put("v.m4s", 2, octets(2, 100), 100)
		require.NoError(t, old.Write(octets(1, 100), true))
		require.NoError(t, old.Commit())
		time.Sleep(time.Second)
		for _, b := range r.take() {
			for _, rec := range unmarshal(t, b).Records {
				require.EqualValues(t, 2, rec.Generation)
			}
		}
	})
}

// An S-TSID is sealed once for each generation, and again every few seconds.
func TestHop(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	state := filepath.Join(t.TempDir(), "live.hop")
	source, group := testSession()
	h, err := sealing.NewHop(sealing.HopConfig{Service: "live", Key: testKey(2), Source: source, Group: group, Port: 4001, State: state})
	require.NoError(t, err)
	_, ok := h.Newest()
	require.False(t, ok)
	require.NoError(t, h.Announce(now, nil, 5))
	require.True(t, h.NextTimeout().IsZero())
	require.NoError(t, h.Announce(now, []byte("one"), 5))
	now = h.NextTimeout()
	b, ok := h.Poll(now)
	require.True(t, ok)
	rec := unmarshal(t, b).Records[0]
	require.Equal(t, h.Name(), string(rec.Name))
	require.EqualValues(t, 5, rec.Generation)

	require.NoError(t, h.Announce(now, []byte("two"), 6))
	s, _ := h.Newest()
	require.Equal(t, "one", string(s.Body), "not what is not sealed yet")
	n := 0
	for end := now.Add(20 * time.Second); now.Before(end); now = now.Add(time.Millisecond) {
		require.NoError(t, h.Announce(now, []byte("two"), 6))
		for b, ok := h.Poll(now); ok; b, ok = h.Poll(now) {
			require.EqualValues(t, 6, unmarshal(t, b).Records[0].Generation)
			n++
		}
	}
	require.InDelta(t, 9, n, 5)
	s, _ = h.Newest()
	require.Equal(t, "two", string(s.Body))

	// After a restart with a clock that stepped back, times and generations go on.
	before := h.Time()
	h, err = sealing.NewHop(sealing.HopConfig{Service: "live", Key: testKey(2), Source: source, Group: group, Port: 4001, State: state})
	require.NoError(t, err)
	require.Greater(t, h.Time(), before)
	require.NoError(t, h.Announce(now.Add(-time.Hour), []byte("three"), h.Time()+1))
	b, ok = h.Poll(h.NextTimeout())
	require.True(t, ok)
	require.Greater(t, unmarshal(t, b).Time, before)
}
