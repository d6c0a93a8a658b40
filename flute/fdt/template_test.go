package fdt_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct {
		template string
		toi      uint64
		name     string
	}{
		{"myVideo$TOI%05d$.mps", 33, "myVideo00033.mps"},
		{"myVideo$TOI%05d$.mps", 1234567, "myVideo1234567.mps"},
		{"a$$b$TOI$", 7, "a$b7"},
		{"clip_dash_track1_$TOI$.m4s", 3, "clip_dash_track1_3.m4s"},
		{"$TOI$", 0, "0"},
		{"$TOI$$$", 18446744073709551615, "18446744073709551615$"},
		{"$$TOI$TOI%03d$9", 99, "$TOI0999"},
		{"$TOI%032d$", 5, "00000000000000000000000000000005"},
	} {
		tpl, err := fdt.ParseTemplate(c.template)
		require.NoError(t, err)
		require.Equal(t, c.name, tpl.Expand(c.toi))
		toi, ok := tpl.Match(c.name)
		require.True(t, ok)
		require.Equal(t, c.toi, toi)
		require.Equal(t, c.template, tpl.String())
	}
}

func TestTemplateRefuses(t *testing.T) {
	for _, s := range []string{
		"", "none", "$", "a$b", "$TOI", "$toi$", "$TOI$$TOI$", "$TOI$$", "$Number$", "$TOI$$Time$",
		"$TOI%5d$", "$TOI%0d$", "$TOI%00d$", "$TOI%033d$", "$TOI%05x$", "$TOI%05$", "$TOI%0+5d$", "$TOI%0-5d$", "$TOI5$", "$TOI%099999999999999999999d$",
	} {
		_, err := fdt.ParseTemplate(s)
		require.ErrorIs(t, err, fdt.ErrTemplate, s)
	}
}

func TestTemplateMatchRefuses(t *testing.T) {
	tpl := fdt.Template{Prefix: "v", Width: 3, Suffix: ".m4s"}
	for _, name := range []string{
		"", "v", "v.m4s", "v12.m4s", "v0123.m4s", "v-12.m4s", "v+12.m4s", "v 12.m4s", "v1a2.m4s", "v123.m4", "V123.m4s", "v123.m4s/", "v18446744073709551616.m4s",
	} {
		_, ok := tpl.Match(name)
		require.False(t, ok, name)
	}
	overlap := fdt.Template{Prefix: "aa", Width: 1, Suffix: "aa"}
	_, ok := overlap.Match("aaa")
	require.False(t, ok)
}

func TestTemplateAllocations(t *testing.T) {
	tpl := fdt.Template{Prefix: "chunk-stream0-", Width: 5, Suffix: ".m4s"}
	buf := make([]byte, 0, 64)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		buf = tpl.Append(buf[:0], 1234)
		if _, ok := tpl.Match("chunk-stream0-01234.m4s"); !ok {
			t.Fatal("no match")
		}
	}))
}

func FuzzTemplate(f *testing.F) {
	f.Add("myVideo$TOI%05d$.mps", "myVideo00033.mps", uint64(33))
	f.Add("a$$b$TOI$", "a$b7", uint64(7))
	f.Fuzz(func(t *testing.T, s, name string, toi uint64) {
		tpl, err := fdt.ParseTemplate(s)
		if err != nil {
			return
		}
		again, err := fdt.ParseTemplate(tpl.String())
		require.NoError(t, err)
		require.Equal(t, tpl, again)
		got, ok := tpl.Match(tpl.Expand(toi))
		require.True(t, ok)
		require.Equal(t, toi, got)
		if toi, ok := tpl.Match(name); ok {
			require.Equal(t, name, tpl.Expand(toi))
		}
	})
}

func BenchmarkTemplateMatch(b *testing.B) {
	tpl := fdt.Template{Prefix: "chunk-stream0-", Width: 5, Suffix: ".m4s"}
	b.ReportAllocs()
	for b.Loop() {
		tpl.Match("chunk-stream0-01234.m4s")
	}
}
