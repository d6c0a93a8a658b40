package inspect_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/gunzip"
	"github.com/treedn/treedn/internal/inspect"
)

func TestPath(t *testing.T) {
	for location, want := range map[string]string{
		"live/v1_00001.m4s":               "live/v1_00001.m4s",
		"http://host.example/a/b.mpd":     "host.example/a/b.mpd",
		"file:///etc/passwd":              "etc/passwd",
		"/etc/passwd":                     "etc/passwd",
		"../../etc/passwd":                "etc/passwd",
		"a/../../b":                       "a/b",
		"a/./b//c/":                       "a/b/c",
		"...":                             "fallback",
		"..":                              "fallback",
		"":                                "fallback",
		"///":                             "fallback",
		`..\..\windows\system32`:          "windows/system32",
		"a\x00b":                          "a_b",
		"a\x1b[31m":                       "a_[31m",
		"a\nb":                            "a_b",
		"\xff\xfe":                        "__",
		"%2e%2e/%2e%2e/x":                 "%2e%2e/%2e%2e/x",
		"urn:dvb:metadata:cs:X:y":         "urn:dvb:metadata:cs:X:y",
		"seg.m4s?isLast#154360":           "seg.m4s?isLast#154360",
		". /x":                            "x",
		"a b":                             "a b",
		strings.Repeat("x/", 600) + "end": "",
	} {
		if runtime.GOOS == "windows" && strings.ContainsAny(want, ":?") {
			continue
		}
		got := inspect.Path(location, "fallback")
		if want == "" {
			require.True(t, strings.HasPrefix(got, "fallback-"), got)
			continue
		}
		require.Equal(t, want, got, "%q", location)
	}
	long := inspect.Path(strings.Repeat("ü", 300), "f")
	require.LessOrEqual(t, len(long), 200)
	require.NotEqual(t, long, inspect.Path(strings.Repeat("ü", 301), "f"), "long names stay apart")
}

func object(location string, body string) *inspect.ObjectEvent {
	e := &inspect.ObjectEvent{TSI: 10, TOI: 7, Protocol: "flute", Complete: true, Body: []byte(body)}
	if location != "" {
		e.Location = &location
	}
	return e
}

// files lists what is below a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		if !d.Type().IsRegular() {
			return nil
		}
		b, err := os.ReadFile(p)
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, p)
		require.NoError(t, err)
		m[filepath.ToSlash(rel)] = string(b)
		return nil
	}))
	return m
}

func TestSave(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	s, err := inspect.NewSaver(dir)
	require.NoError(t, err)
	defer s.Close()
	packed, err := gunzip.Append(nil, []byte("text"))
	require.NoError(t, err)
	zipped := object("text.txt", string(packed))
	zipped.Encoding = "gzip"
	liar := object("no.png", "png")
	liar.Encoding = "gzip"
	for _, e := range []*inspect.ObjectEvent{
		object("a/m.mpd", "one"), object("a/m.mpd", "one"), object("a/m.mpd", "two"), object("a/m.mpd", "three"), object("a/m.mpd", "two"),
		object("", "nameless"), object("../../escape", "x"), object("/abs/olute", "y"), object("a", "where a directory is"),
		object("a/m.mpd/below", "below a file"), zipped, liar,
	} {
		_, err := s.Save(e)
		require.NoError(t, err)
	}
	incomplete := object("incomplete", "")
	incomplete.Complete = false
	paths, err := s.Save(incomplete)
	require.NoError(t, err)
	require.Empty(t, paths)
	require.Equal(t, map[string]string{
		"a/m.mpd": "one", "a/m~2.mpd": "two", "a/m~3.mpd": "three", "10-7": "nameless", "escape": "x", "abs/olute": "y",
		"10-7~2": "where a directory is", "10-7~3": "below a file", "text.txt": "text", "no.png": "png",
	}, files(t, dir))
	entries, err := os.ReadDir(parent)
	require.NoError(t, err)
	require.Len(t, entries, 1, "nothing was written beside the directory")

	raw, err := inspect.NewSaver(filepath.Join(parent, "raw"))
	require.NoError(t, err)
	defer raw.Close()
	raw.Raw = true
	_, err = raw.Save(zipped)
	require.NoError(t, err)
	require.Equal(t, string(packed), files(t, filepath.Join(parent, "raw"))["text.txt"])
}

// Links that are in the directory lead nowhere out of it.
func TestSaveSymlink(t *testing.T) {
	parent := t.TempDir()
	outside := filepath.Join(parent, "outside")
	require.NoError(t, os.Mkdir(outside, 0o755))
	dir := filepath.Join(parent, "out")
	require.NoError(t, os.Mkdir(dir, 0o755))
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	require.NoError(t, os.Symlink(filepath.Join(outside, "file"), filepath.Join(dir, "link.txt")))
	s, err := inspect.NewSaver(dir)
	require.NoError(t, err)
	defer s.Close()
	for _, name := range []string{"link/x", "link.txt", "link"} {
		_, err := s.Save(object(name, name))
		require.NoError(t, err)
	}
	require.Empty(t, files(t, outside))
}

// Parts of a package of signalling have files of their own.
func TestSavePackage(t *testing.T) {
	dir := t.TempDir()
	s, err := inspect.NewSaver(dir)
	require.NoError(t, err)
	defer s.Close()
	for _, e := range run2(t, "../../route/testdata/gpac-route-dash.pcap") {
		if _, err := s.Save(e); err != nil {
			t.Fatal(err)
		}
	}
	got := files(t, dir)
	require.Contains(t, got, "manifest.mpd")
	require.Contains(t, got, "stsid.xml")
	require.Contains(t, got, "0-2147876865")
	require.Contains(t, got, "clip_dash_track1_init.mp4")
	require.Contains(t, got, "clip_dash_track2_7.m4s")
	require.Len(t, got, 16+3)
	require.True(t, bytes.HasSuffix([]byte(got["manifest.mpd"]), []byte("</MPD>\r\n")))
}

func run2(t *testing.T, file string) []*inspect.ObjectEvent {
	return objects(inspectAll(packetsOf(t, file), inspect.Config{}))
}
