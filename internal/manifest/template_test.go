package manifest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var templateCases = []struct {
	text     string
	template Template
	number   uint32
	name     string
}{
	// RFC 9223, 6.3.1 and captures of real senders.
	{"myVideo$TOI%05d$.mps", Template{"myVideo", ".mps", 5}, 33, "myVideo00033.mps"},
	{"myVideo$TOI%05d$.mps", Template{"myVideo", ".mps", 5}, 1234567, "myVideo1234567.mps"},
	{"a$$b$TOI$", Template{"a$b", "", 1}, 7, "a$b7"},
	{"clip_dash_track1_$TOI$.m4s", Template{"clip_dash_track1_", ".m4s", 1}, 3, "clip_dash_track1_3.m4s"},
	{"v/$TOI%03d$$$.x", Template{"v/", "$.x", 3}, 0, "v/000$.x"},
}

func TestTemplate(t *testing.T) {
	for _, c := range templateCases {
		t.Run(c.text+" "+c.name, func(t *testing.T) {
			got, err := ParseTemplate(c.text)
			require.NoError(t, err)
			require.Equal(t, c.template, got)
			require.Equal(t, c.text, got.String())
			require.Equal(t, c.name, got.Name(c.number))
			n, ok := got.Match(c.name)
			require.True(t, ok)
			require.Equal(t, c.number, n)
		})
	}
	for _, bad := range []string{"", "a", "$", "$TOI", "$Number$", "$TOI%5d$", "$TOI%00d$", "$TOI%021d$", "$TOI%0x$", "$TOI$$TOI$", "a$b"} {
		_, err := ParseTemplate(bad)
		require.ErrorIs(t, err, ErrTemplate, bad)
	}
	five := Template{"s", ".m4s", 5}
	for _, name := range []string{"s1.m4s", "s0001.m4s", "s000001.m4s", "s.m4s", "s-0001.m4s", "s00001.mp4", "s4294967296.m4s"} {
		_, ok := five.Match(name)
		require.False(t, ok, name)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name, stem string
		number     uint32
		width      int
	}{
		{"chunk-stream0-00001.m4s", "chunk-stream0-$TOI%05d$.m4s", 1, 5},
		{"chunk-stream0-12345.m4s", "chunk-stream0-$TOI$.m4s", 12345, 1},
		{"v-0/seg-00000001.m4s", "v-0/seg-$TOI%08d$.m4s", 1, 8},
		{"init-stream0.m4s", "init-stream$TOI$.m4s", 0, 1},
		{"seg_00000.ts", "seg_$TOI%05d$.ts", 0, 5},
		{"seg.00017", "seg.$TOI%05d$", 17, 5},
		{"a$1.vtt", "a$$$TOI$.vtt", 1, 1},
		{"1080p/7b.m4s", "1080p/$TOI$b.m4s", 7, 1},
		{"seg-4294967295.m4s", "seg-$TOI$.m4s", 4294967295, 1},
	} {
		stem, number, width, ok := Classify(c.name)
		require.True(t, ok, c.name)
		require.Equal(t, c.stem, stem)
		require.Equal(t, c.number, number)
		require.Equal(t, c.width, width)
	}
	for _, name := range []string{"", "init.mp4", "index.m3u8", "v0/init.mp4", "seg-4294967296.m4s", "x99999999999999999999999.m4s"} {
		_, _, _, ok := Classify(name)
		require.False(t, ok, name)
	}
}

func FuzzClassify(f *testing.F) {
	for _, c := range templateCases {
		f.Add(c.name)
		f.Add(c.text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if template, n, ok := ClassifyTemplate(s); ok {
			require.Equal(t, s, template.Name(n))
			again, err := ParseTemplate(template.String())
			require.NoError(t, err)
			require.Equal(t, template, again)
		}
		if template, err := ParseTemplate(s); err == nil {
			again, err := ParseTemplate(template.String())
			require.NoError(t, err)
			require.Equal(t, template, again)
			n, ok := template.Match(template.Name(77))
			require.True(t, ok)
			require.Equal(t, uint32(77), n)
		}
	})
}

func TestPatternString(t *testing.T) {
	for text, want := range map[string]string{
		"$RepresentationID$/$Number%05d$.m4s": "v1/$Number%05d$.m4s",
		"a$$b_$Time$":                         "a$$b_$Time$",
		"$Number%01d$-$SubNumber$":            "$Number$-$SubNumber$",
		"$Bandwidth$_$Number$":                "500_$Number$",
		"":                                    "",
	} {
		p, err := compilePattern(text, "v1", 500)
		require.NoError(t, err)
		require.Equal(t, want, p.String(), text)
	}
}
