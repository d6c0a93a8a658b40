package flute_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
)

// A file many times larger than the memory that there is goes to disk, with losses that FEC makes up for, and from there
// through its digest.
func TestStore(t *testing.T) {
	for _, scheme := range []fec.EncodingID{fec.CompactNoCode, fec.RaptorQ} {
		const length = 8 << 20
		dir := t.TempDir()
		files := map[uint64]*os.File{}
		w := newWire(t, flute.SenderConfig{
			FEC: flute.FEC{Scheme: scheme, Loss: fec.Loss{Random: 0.05}, MaxBlock: 200}, Rate: 1_000_000_000, SHA256: true,
		}, flute.ReceiverConfig{
			MaxMemory: 2 << 20, MaxObject: 1 << 30,
			Store: func(o *flute.Object) flute.Store {
				require.Equal(t, int64(length), o.Length())
				require.Equal(t, "a", o.Location())
				f, err := os.Create(filepath.Join(dir, "a"))
				require.NoError(t, err)
				files[o.TOI()] = f
				return f
			},
		})
		rnd := rand.New(rand.NewPCG(1, 1))
		w.lose = func([]byte) bool { return scheme != fec.CompactNoCode && rnd.IntN(20) == 0 }
		body := random(1, length)
		toi := w.add(file("a", body))
		w.run(3 * time.Second)
		require.Equal(t, sum(body), w.got(toi))
		require.Equal(t, flute.DigestEncoded, w.c.digests[object{0, toi, -1}])
		require.Len(t, files, 1)
		require.NoError(t, files[toi].Close())
		got, err := os.ReadFile(filepath.Join(dir, "a"))
		require.NoError(t, err)
		require.True(t, bytes.Equal(body, got))
		require.Zero(t, w.c.r.Stats().Memory)
	}
}

// memory is a Store in memory, that may fail.
type memory struct {
	b    []byte
	fail error
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.fail != nil {
		return 0, m.fail
	}
	m.b = append(m.b, make([]byte, max(0, int(off)+len(p)-len(m.b)))...)
	return copy(m.b[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(m.b)) {
		return 0, io.EOF
	}
	return copy(p, m.b[off:]), nil
}

// What comes before the description moves to the Store with it, holes and all.
func TestStoreLate(t *testing.T) {
	var m memory
	h := newHand(t, flute.ReceiverConfig{Store: func(*flute.Object) flute.Store { return &m }})
	body := random(1, 95)
	require.NoError(t, h.push(data(1, 0, 0, body[:10])))
	require.NoError(t, h.push(data(1, 1, 0, body[50:60])))
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	require.NoError(t, h.push(data(1, 0, 2, body[20:50])))
	list, _ := h.events()
	o := list[1].Object
	require.Equal(t, []flute.Range{{10, 20}, {60, 95}}, o.AppendMissing(nil))
	require.Nil(t, o.Bytes(0))
	buf := make([]byte, 100)
	n, err := o.ReadAt(buf[:40], 20)
	require.NoError(t, err)
	require.Equal(t, body[20:60], buf[:n])
	_, err = o.ReadAt(buf[:20], 5)
	require.ErrorIs(t, err, flute.ErrNotHeld)
	require.Error(t, h.push(data(1, 0, 0, make([]byte, 10))), "differs")
	require.NoError(t, h.push(data(1, 0, 1, body[10:20])))
	require.NoError(t, h.push(data(1, 1, 1, body[60:])))
	require.Equal(t, []string{string(body)}, h.release())
	require.Equal(t, body, m.b)
}

func TestStoreFails(t *testing.T) {
	m := memory{fail: errors.New("disk is full")}
	h := newHand(t, flute.ReceiverConfig{Store: func(*flute.Object) flute.Store { return &m }})
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	require.ErrorIs(t, h.push(data(1, 0, 0, make([]byte, 10))), flute.ErrStore)
	list, kinds := h.events()
	require.Equal(t, "fdt;lost;", kinds)
	require.ErrorIs(t, list[1].Err, flute.ErrStore)
	require.ErrorIs(t, list[1].Err, m.fail)

	// While it moves there, and by unicast.
	h = newHand(t, flute.ReceiverConfig{Store: func(*flute.Object) flute.Store { return &m }})
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	_, kinds = h.events()
	require.Equal(t, "fdt;lost;", kinds)
	m.fail = nil
	h.wait(3 * time.Second)
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	list, _ = h.events()
	m.fail = errors.New("disk is full")
	require.Error(t, h.r.Supply(h.now, list[0].Object, 10, make([]byte, 10)))
	_, kinds = h.events()
	require.Equal(t, "lost;", kinds)
	require.Zero(t, h.r.Stats().Memory)
}
