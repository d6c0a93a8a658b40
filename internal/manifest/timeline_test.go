package manifest

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestNewestByClock(t *testing.T) {
	m, err := ParseMPD(read(t, "ffmpeg-ldash.mpd"), Limits{})
	require.NoError(t, err)
	r := &m.Representations[0]
	at := func(d time.Duration, n int) []Position { return m.Newest(r, m.AvailabilityStart.Add(d), n) }
	require.Empty(t, at(-time.Second, 3))
	first := at(0, 3)
	require.Equal(t, []Position{{Number: 1, Available: m.AvailabilityStart.Add(40 * time.Millisecond)}}, first)
	later := at(20*time.Second, 3)
	require.Len(t, later, 3)
	require.EqualValues(t, 11, later[2].Number)
	require.EqualValues(t, 20_000_000, later[2].Time)
	require.Equal(t, m.AvailabilityStart.Add(20*time.Second+40*time.Millisecond), later[2].Available)
	require.EqualValues(t, 9, later[0].Number)
	require.Empty(t, at(20*time.Second, 0))

	m.AvailabilityStart = time.Time{}
	require.Empty(t, m.Newest(r, time.Now(), 3))
	m.AvailabilityStart = time.Unix(0, 0)
	r.Timescale = math.MaxUint64
	require.Empty(t, m.Newest(r, time.Now(), 3), "nonsense")
}

func TestNewestOfStatic(t *testing.T) {
	m, err := ParseMPD(read(t, "ffmpeg-ldash-end.mpd"), Limits{})
	require.NoError(t, err)
	all := m.Newest(&m.Representations[0], time.Time{}, 100)
	require.Len(t, all, 4)
	require.EqualValues(t, 4, all[3].Number)
	require.True(t, all[3].Available.IsZero())
}

func TestNewestOfTimeline(t *testing.T) {
	m, err := ParseMPD(read(t, "ffmpeg-timeline.mpd"), Limits{})
	require.NoError(t, err)
	require.Equal(t, []Position{{Number: 3, Time: 25600}, {Number: 4, Time: 38400}}, m.Newest(&m.Representations[0], time.Time{}, 2))
	require.Len(t, m.Newest(&m.Representations[0], time.Time{}, 10), 3)

	open := &MPD{AvailabilityStart: time.Unix(1000, 0)}
	r := &Representation{
		Media: Pattern{parts: []part{{variable: 'T', width: 1}, {}}}, Timescale: 10, StartNumber: 1,
		Timeline: []Run{{0, 20, -1}, {60, 10, 1}, {80, 5, -1}},
	}
	all := open.Newest(r, time.Unix(1000, 0).Add(9300*time.Millisecond), 100)
	times := []uint64{}
	for i, p := range all {
		require.EqualValues(t, i+1, p.Number)
		times = append(times, p.Time)
	}
	require.Equal(t, []uint64{0, 20, 40, 60, 70, 80, 85}, times)
}

// However large the counts of a manifest are, no more than was asked for is
// listed.
func FuzzNewest(f *testing.F) {
	for _, name := range []string{"ffmpeg-ldash.mpd", "ffmpeg-ldash-end.mpd", "ffmpeg-timeline.mpd"} {
		f.Add(read(f, name), int64(1_795_000_000), 10)
	}
	f.Fuzz(func(t *testing.T, body []byte, now int64, n int) {
		m, err := ParseMPD(body, Limits{})
		if err != nil {
			return
		}
		n = min(max(n, -1), 1000)
		for i := range m.Representations {
			r := &m.Representations[i]
			all := m.Newest(r, time.Unix(now, 0), n)
			require.LessOrEqual(t, len(all), max(n, 0))
			for k, p := range all {
				require.NotEmpty(t, r.Media.Expand(p.Number, p.Time))
				if k > 0 {
					require.GreaterOrEqual(t, p.Number, all[k-1].Number)
				}
			}
		}
	})
}
