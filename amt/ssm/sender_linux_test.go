package ssm

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

func TestRunLength(t *testing.T) {
	sized := func(sizes ...int) (packets [][]byte) {
		for _, n := range sizes {
			packets = append(packets, make([]byte, n))
		}
		return packets
	}
	many := make([]int, 100)
	for i := range many {
		many[i] = 1400
	}
	for _, c := range []struct {
		name  string
		limit int
		sizes []int
		want  int
	}{
		{"lone", mmsg.MaxRun, []int{1400}, 1},
		{"equal", mmsg.MaxRun, []int{1400, 1400, 1400}, 3},
		{"shorter one ends the run", mmsg.MaxRun, []int{1400, 1400, 90, 1400}, 3},
		{"longer one starts another", mmsg.MaxRun, []int{1400, 1401}, 1},
		{"bounded by octets", mmsg.MaxRun, many, 46},
		{"bounded by segments", mmsg.MaxRun, make([]int, 0, 1), 0},
		{"empty packet alone", mmsg.MaxRun, []int{0, 0}, 1},
		{"empty packet is no segment", mmsg.MaxRun, []int{100, 0}, 1},
		{"no segmentation", 0, []int{1400, 1400}, 1},
		{"too large for the interface", 1400, []int{1400, 1400}, 1},
		{"small enough for the interface", 1400, []int{1399, 1399}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := batchWriter{segmentLimit: c.limit}
			packets := sized(c.sizes...)
			if len(packets) == 0 {
				for range 100 {
					packets = append(packets, make([]byte, 10))
				}
				c.want = mmsg.MaxSegments
			}
			require.Equal(t, c.want, w.runLength(packets))
		})
	}
}

// An interface without checksum offload answers EIO, one with a smaller MTU
// EINVAL or EMSGSIZE.
func TestLowerLimit(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		run   int
		retry bool
		limit int
	}{
		{unix.EIO, 3, true, 0},
		{unix.EINVAL, 3, true, 1400},
		{unix.EMSGSIZE, 3, true, 1400},
		{unix.EMSGSIZE, 1, false, mmsg.MaxRun},
		{unix.ENETUNREACH, 3, false, mmsg.MaxRun},
	} {
		w := batchWriter{segmentLimit: mmsg.MaxRun}
		w.runs[0] = c.run
		require.Equal(t, c.retry, w.lowerLimit(c.errno, 1400), c.errno)
		require.Equal(t, c.limit, w.segmentLimit, c.errno)
	}
}

func TestGather(t *testing.T) {
	buf := make([]byte, 100)
	other := make([]byte, 100)
	iovecs := make([]unix.Iovec, 8)
	n := gather(iovecs, [][]byte{buf[:10], buf[10:20], buf[20:25], other[:10], buf[30:40], buf[40:50]})
	require.Equal(t, 3, n)
	require.Equal(t, &buf[0], iovecs[0].Base)
	require.Equal(t, &other[0], iovecs[1].Base)
	require.Equal(t, &buf[30], iovecs[2].Base)
	require.EqualValues(t, 25, iovecs[0].Len)
	require.EqualValues(t, 10, iovecs[1].Len)
	require.EqualValues(t, 20, iovecs[2].Len)
	require.Zero(t, gather(iovecs, nil))
}
