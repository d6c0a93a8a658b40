package service

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/route"
)

func newRuns(t *testing.T) *Service {
	t.Helper()
	s := newService(t, nil)
	s.cfg.Runs = true
	return s
}

func ofRun(run uint64, n uint32) Meta {
	name := map[uint32]string{1: "v-1.m4s", 2: "v-2.m4s", 3: "v-3.m4s", 4: "v-4.m4s", 5: "v-5.m4s", 9: "v-9.m4s"}[n]
	return Meta{Name: name, Generation: run, Kind: Media, Track: route.Track{Stem: "v-$TOI$.m4s", Number: n, Run: run}}
}

// What an encoder that begins again has named, or names next, is nothing of the run before.
func TestEncoderBeginsAgain(t *testing.T) {
	s := newRuns(t)
	for n := uint32(1); n <= 5; n++ {
		put(t, s, ofRun(100, n), "old")
	}
	put(t, s, Meta{Name: "a-3.m4s", Generation: 100, Kind: Media, Track: route.Track{Stem: "a-$TOI$.m4s", Number: 3, Run: 100}}, "old")

	put(t, s, ofRun(200, 2), "new") // the first one was missed
	for name, here := range map[string]bool{"v-1.m4s": false, "v-2.m4s": true, "v-3.m4s": false, "v-4.m4s": false, "v-5.m4s": true, "a-3.m4s": true} {
		require.Equal(t, here, s.Has(name), name)
	}
	body, err := read(t, s, "v-2.m4s")
	require.NoError(t, err)
	require.Equal(t, "new", body)
	_, err = s.Begin(ofRun(100, 4))
	require.ErrorIs(t, err, ErrOlder, "it would be taken for the one that comes next")
	put(t, s, ofRun(100, 9), "the last of the old run, late")

	put(t, s, ofRun(200, 3), "new")
	require.False(t, s.Has("v-5.m4s"))
	put(t, s, ofRun(200, 1), "new, late")
	require.True(t, s.Has("v-1.m4s"))
	require.True(t, s.Has("v-9.m4s"))
}

// A reader who asks for what comes next waits for it, and does not get what had its name.
func TestReaderAheadOfARun(t *testing.T) {
	s := newRuns(t)
	require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 1}, []byte(
		"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\nv-1.m4s\n#EXTINF:2,\nv-2.m4s\n#EXTINF:2,\nv-3.m4s\n")))
	for n := uint32(1); n <= 3; n++ {
		put(t, s, ofRun(100, n), "old")
	}
	put(t, s, ofRun(200, 1), "new")
	require.NoError(t, s.PutManifest(Meta{Name: "v.m3u8", Generation: 2}, []byte(
		"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n#EXTINF:2,\nv-1.m4s\n")))
	timer := time.AfterFunc(50*time.Millisecond, func() {
		o, err := s.Begin(ofRun(200, 2))
		if err == nil && o.Write([]byte("new"), true) == nil {
			_ = o.Commit()
		}
	})
	defer timer.Stop()
	body, err := read(t, s, "v-2.m4s")
	require.NoError(t, err)
	require.Equal(t, "new", body)
}

// Who counts generations by objects has no runs.
func TestGenerationsOfObjects(t *testing.T) {
	s := newService(t, nil)
	put(t, s, ofRun(100, 1), "one")
	put(t, s, ofRun(101, 2), "two")
	put(t, s, ofRun(102, 3), "three")
	for _, name := range []string{"v-1.m4s", "v-2.m4s", "v-3.m4s"} {
		require.True(t, s.Has(name), name)
	}
}

// What is removed as old is that alone.
func TestRemoveOlder(t *testing.T) {
	s := newRuns(t)
	put(t, s, ofRun(100, 1), "x")
	key := cache.Key{Service: "live", Name: "v-1.m4s"}
	require.False(t, s.cfg.Store.RemoveOlder(key, 100))
	require.True(t, s.cfg.Store.RemoveOlder(key, 101))
	require.False(t, s.cfg.Store.RemoveOlder(key, 101))
}
