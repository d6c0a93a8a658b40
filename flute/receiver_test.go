package flute_test

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute"
	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/ntp"
)

// hand makes packets by hand.
type hand struct {
	t   testing.TB
	r   *flute.Receiver
	now time.Time
}

func newHand(t testing.TB, cfg flute.ReceiverConfig) *hand {
	return &hand{t: t, r: flute.NewReceiver(cfg), now: noon}
}

func (h *hand) push(p alc.Packet) error {
	h.t.Helper()
	b, err := p.AppendTo(nil)
	require.NoError(h.t, err)
	return h.r.Push(h.now, source, b)
}

// data is a packet of a file under Compact No-Code.
func data(toi uint64, sbn, esi uint32, symbols []byte) alc.Packet {
	return alc.Packet{
		Header: lct.Header{TSI: 1, TOI: toi, HasTOI: true}, HasID: true, ID: fec.PayloadID{SBN: sbn, ESI: esi}, Symbols: symbols,
	}
}

// instance is a packet with a whole FDT Instance.
func instance(t testing.TB, id uint32, doc []byte) alc.Packet {
	p := data(0, 0, 0, doc)
	x, err := lct.Extensions(nil).AppendFDT(lct.FDT{Version: 2, InstanceID: id})
	require.NoError(t, err)
	info := fec.ObjectInfo{TransferLength: uint64(len(doc)), SymbolSize: uint16(len(doc)), MaxBlock: 1}
	p.Extensions, err = alc.AppendFTI(x, &info)
	require.NoError(t, err)
	return p
}

// describe is an FDT Instance of files with symbols of 10 octets, 5 to a block.
func describe(t testing.TB, files ...fdt.File) []byte {
	in := fdt.Instance{
		Expires: ntp.Seconds(noon.Add(time.Minute)), Files: files,
		FEC: fdt.FEC{HasEncodingID: true, EncodingSymbolLength: 10, MaxSourceBlockLength: 5},
	}
	b, err := in.Append(nil)
	require.NoError(t, err)
	return b
}

func described(toi uint64, location string, length int) fdt.File {
	return fdt.File{TOI: toi, ContentLocation: location, ContentLength: uint64(length), HasContentLength: true}
}

// events returns what has happened, and the kinds in short.
func (h *hand) events() (list []flute.Event, kinds string) {
	h.r.RunWork(h.now)
	for ev, ok := h.r.Poll(); ok; ev, ok = h.r.Poll() {
		list = append(list, ev)
		kinds += ev.Kind.String() + ";"
	}
	return list, kinds
}

func (h *hand) wait(d time.Duration) {
	h.now = h.now.Add(d)
	h.r.HandleTimeout(h.now)
}

// release releases what is complete and returns it.
func (h *hand) release() (bodies []string) {
	list, _ := h.events()
	for _, ev := range list {
		if ev.Kind == flute.Complete {
			b, err := io.ReadAll(ev.Object.Reader())
			require.NoError(h.t, err)
			bodies = append(bodies, string(b))
			h.r.Release(h.now, ev.Object)
		}
	}
	return bodies
}

func TestGrowing(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	body := random(1, 95)
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	require.NoError(t, h.push(data(1, 0, 0, body[:10])))
	list, kinds := h.events()
	require.Equal(t, "fdt;started;progress;", kinds)
	o := list[1].Object
	require.Equal(t, "a", o.Location())
	require.Equal(t, int64(95), o.Length())
	reader := o.Reader()
	buf := make([]byte, 100)
	n, err := reader.Read(buf)
	require.NoError(t, err)
	require.Equal(t, body[:10], buf[:n])
	_, err = reader.Read(buf)
	require.ErrorIs(t, err, flute.ErrNotHeld)

	// Two symbols in one packet, behind a hole.
	require.NoError(t, h.push(data(1, 0, 2, body[20:40])))
	_, kinds = h.events()
	require.Empty(t, kinds)
	n, err = o.ReadAt(buf[:20], 20)
	require.NoError(t, err)
	require.Equal(t, body[20:40], buf[:n])
	n, err = o.ReadAt(buf[:20], 30)
	require.ErrorIs(t, err, flute.ErrNotHeld)
	require.Equal(t, body[30:40], buf[:n])
	require.Equal(t, []flute.Range{{10, 20}, {40, 95}}, o.AppendMissing(nil))
	require.Equal(t, []flute.MissingSymbols{{0, []uint32{1, 4}, 2}, {1, []uint32{0, 1, 2, 3, 4}, 5}}, o.AppendMissingSymbols(nil, 9))
	require.Len(t, o.AppendMissingSymbols(nil, 1), 1)
	require.Equal(t, int64(30), o.Held())

	require.NoError(t, h.push(data(1, 0, 1, body[10:20])))
	require.NoError(t, h.push(data(1, 0, 4, body[40:50])))
	_, kinds = h.events()
	require.Equal(t, "progress;", kinds)
	n, err = reader.Read(buf)
	require.NoError(t, err)
	require.Equal(t, body[10:50], buf[:n])
	// The last symbol is padded.
	require.NoError(t, h.push(data(1, 1, 4, append(bytes.Clone(body[90:]), make([]byte, 5)...))))
	require.NoError(t, h.push(data(1, 1, 0, body[50:90])))
	_, kinds = h.events()
	require.Equal(t, "complete;", kinds)
	got, err := io.ReadAll(o.Reader())
	require.NoError(t, err)
	require.Equal(t, body, got)
	h.r.Release(h.now, o)
	_, err = o.ReadAt(buf, 0)
	require.ErrorIs(t, err, flute.ErrReleased)
	require.Zero(t, h.r.Stats().Memory)
}

func TestRepair(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	body := random(1, 95)
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	for i := range 10 {
		if i != 3 && i != 4 {
			require.NoError(t, h.push(data(1, uint32(i/5), uint32(i%5), body[i*10:min(95, i*10+10)])))
		}
	}
	_, kinds := h.events()
	require.Equal(t, "fdt;started;progress;", kinds)
	require.Equal(t, noon.Add(50*time.Millisecond), h.r.NextTimeout(), "the last symbol came")
	h.wait(49 * time.Millisecond)
	_, kinds = h.events()
	require.Empty(t, kinds)
	h.wait(time.Millisecond)
	list, kinds := h.events()
	require.Equal(t, "need repair;", kinds)
	require.Equal(t, []flute.Range{{30, 50}}, list[0].Missing)
	h.wait(199 * time.Millisecond)
	_, kinds = h.events()
	require.Empty(t, kinds)
	h.wait(time.Millisecond)
	_, kinds = h.events()
	require.Equal(t, "need repair;", kinds)

	o := list[0].Object
	require.Error(t, h.r.Supply(h.now, o, 90, make([]byte, 6)))
	require.Error(t, h.r.Supply(h.now, o, 25, make([]byte, 10)), "differs")
	require.NoError(t, h.r.Supply(h.now, o, 25, body[25:45]))
	require.NoError(t, h.r.SupplySymbols(h.now, o, fec.PayloadID{ESI: 4}, body[40:50]))
	_, kinds = h.events()
	require.Equal(t, "progress;complete;", kinds)
	require.Equal(t, int64(20), o.Supplied())
	require.Equal(t, uint64(20), h.r.Stats().Supplied)
	require.NoError(t, h.r.Supply(h.now, o, 0, []byte("late")))
	h.r.Release(h.now, o)
	require.ErrorIs(t, h.r.Supply(h.now, o, 0, nil), flute.ErrReleased)
	require.ErrorIs(t, h.r.SupplySymbols(h.now, o, fec.PayloadID{}, nil), flute.ErrReleased)
}

// Without the last symbol, silence or the flag B tell that the object has ended, and the deadline that it is lost.
func TestEnds(t *testing.T) {
	for _, closed := range []bool{false, true} {
		h := newHand(t, flute.ReceiverConfig{})
		require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
		p := data(1, 0, 0, random(1, 10))
		p.CloseObject = closed
		require.NoError(t, h.push(p))
		h.events()
		if closed {
			h.wait(50 * time.Millisecond)
		} else {
			h.wait(time.Second)
			_, kinds := h.events()
			require.Empty(t, kinds)
			h.wait(50 * time.Millisecond)
		}
		list, kinds := h.events()
		require.Equal(t, "need repair;", kinds)
		require.Equal(t, []flute.Range{{10, 95}}, list[0].Missing)
		h.wait(30 * time.Second)
		list, kinds = h.events()
		require.Contains(t, kinds, "lost;")
		require.ErrorIs(t, list[0].Err, flute.ErrDeadline)
		require.Zero(t, h.r.Stats().Memory)
		require.Zero(t, h.r.Stats().Incomplete)
	}
}

// Packets that come before their description are kept, whether or not they tell how to read them.
func TestUndescribed(t *testing.T) {
	body := random(1, 95)
	for _, fti := range []bool{false, true} {
		h := newHand(t, flute.ReceiverConfig{})
		packet := func(i int) alc.Packet {
			p := data(1, uint32(i/5), uint32(i%5), body[i*10:min(95, i*10+10)])
			if fti {
				x, err := alc.AppendFTI(nil, &fec.ObjectInfo{TransferLength: 95, SymbolSize: 10, MaxBlock: 5})
				require.NoError(t, err)
				p.Extensions = x
			}
			return p
		}
		for i := range 10 {
			require.NoError(t, h.push(packet(9-i)))
			require.NoError(t, h.push(packet(9-i)))
		}
		_, kinds := h.events()
		require.Empty(t, kinds)
		require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
		require.Equal(t, []string{string(body)}, h.release())
		require.Zero(t, h.r.Stats().Memory)

		// Those that are never described do not stay.
		for i := range 5 {
			p := packet(i)
			p.TOI = 2
			require.NoError(t, h.push(p))
		}
		require.NotZero(t, h.r.Stats().Memory)
		h.wait(2 * time.Second)
		require.Zero(t, h.r.Stats().Memory)
		_, kinds = h.events()
		require.Empty(t, kinds)
	}
}

// A file that is sent again and again is delivered once; under its TOI comes another one later.
func TestTOIReuse(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	first, second := random(1, 50), random(2, 50)
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 50)))))
	require.NoError(t, h.push(data(1, 0, 0, first)))
	require.NoError(t, h.push(data(1, 0, 0, first)), "complete, not released")
	require.Equal(t, []string{string(first)}, h.release())
	for range 3 {
		require.NoError(t, h.push(data(1, 0, 0, first)))
	}
	require.Empty(t, h.release())
	require.Equal(t, uint64(4), h.r.Stats().Repeats)
	require.NoError(t, h.push(data(1, 0, 0, second)))
	require.Equal(t, []string{string(second)}, h.release())

	// While the first is not released yet, too.
	require.NoError(t, h.push(data(1, 0, 0, first)))
	require.NoError(t, h.push(data(1, 0, 0, second)))
	require.Equal(t, []string{string(first), string(second)}, h.release())
	require.Zero(t, h.r.Stats().Memory)

	// By its description: after the old one has expired, or was not sent for long.
	h.wait(10 * time.Second)
	require.NoError(t, h.push(instance(t, 1, describe(t, described(1, "b", 40)))))
	require.NoError(t, h.push(data(1, 0, 0, second[:40])))
	require.Equal(t, []string{string(second[:40])}, h.release())
}

func TestExpiry(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 20), described(2, "b", 20)))))
	h.wait(59 * time.Second)
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	h.events()
	h.wait(time.Second)
	list, kinds := h.events()
	require.Equal(t, "fdt;", kinds)
	require.Len(t, list[0].Changes, 2)
	require.Equal(t, fdt.Expired, list[0].Changes[0].Kind)
	// What is on its way goes on; nothing new begins.
	require.NoError(t, h.push(data(1, 0, 1, make([]byte, 10))))
	require.NoError(t, h.push(data(2, 0, 0, make([]byte, 20))))
	require.Len(t, h.release(), 1)
}

func TestWanted(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{Wanted: func(e *fdt.Entry) bool { return e.File.ContentLocation == "b" }})
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 20), described(2, "b", 20)))))
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 20))))
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 20))))
	require.NoError(t, h.push(data(2, 0, 0, make([]byte, 20))))
	_, kinds := h.events()
	require.Equal(t, "fdt;started;complete;", kinds)
	require.Equal(t, uint64(2), h.r.Stats().Ignored)
}

func TestEmptyFile(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	doc := describe(t, described(1, "a", 0))
	require.NoError(t, h.push(instance(t, 0, doc)))
	require.Equal(t, []string{""}, h.release())
	require.NoError(t, h.push(instance(t, 1, doc)))
	require.Empty(t, h.release(), "once")
}

func TestInstanceEncodings(t *testing.T) {
	doc := describe(t, described(1, "a", 20))
	encode := func(open func(io.Writer) io.WriteCloser) []byte {
		var b bytes.Buffer
		w := open(&b)
		_, err := w.Write(doc)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	for cenc, body := range map[lct.CENC][]byte{
		lct.CENCNull: doc,
		lct.CENCZLIB: encode(func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }),
		lct.CENCDeflate: encode(func(w io.Writer) io.WriteCloser {
			f, err := flate.NewWriter(w, 9)
			require.NoError(t, err)
			return f
		}),
		lct.CENCGzip: encode(func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }),
	} {
		h := newHand(t, flute.ReceiverConfig{})
		p := instance(t, 0, body)
		p.Extensions = p.Extensions.AppendCENC(cenc)
		require.NoError(t, h.push(p))
		list, kinds := h.events()
		require.Equal(t, "fdt;", kinds, cenc)
		require.Equal(t, doc, list[0].Document)
		require.Equal(t, body, list[0].Raw)
		require.Equal(t, uint8(2), list[0].Session.Version())
	}
	h := newHand(t, flute.ReceiverConfig{MaxInstance: 100_000})
	bomb := func() []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, err := w.Write(make([]byte, 10<<20))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}()
	p := instance(t, 0, bomb)
	p.Extensions = p.Extensions.AppendCENC(lct.CENCGzip)
	require.NoError(t, h.push(p))
	list, kinds := h.events()
	require.Equal(t, "fault;", kinds)
	require.ErrorIs(t, list[0].Err, flute.ErrExpansion)
}

func TestFaults(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	reject := func(ev flute.Event) flute.Reason {
		e, ok := errors.AsType[*flute.RejectError](ev.Err)
		require.True(t, ok)
		return e.Reason
	}
	require.NoError(t, h.push(instance(t, 0, []byte("<x>"))))
	list, kinds := h.events()
	require.Equal(t, "fault;", kinds)
	require.Equal(t, flute.RejectInstance, reject(list[0]))
	require.ErrorIs(t, list[0].Err, fdt.ErrRoot)
	h.wait(time.Second)
	require.NoError(t, h.push(instance(t, 1, describe(t, described(1, "a", 20)))))
	require.NoError(t, h.push(instance(t, 2, describe(t, described(1, "evil", 20)))))
	list, kinds = h.events()
	require.Equal(t, "fdt;fault;", kinds)
	require.ErrorIs(t, list[1].Err, fdt.ErrContradiction)
	require.NoError(t, h.push(instance(t, 1, describe(t, described(2, "b", 20)))))
	_, kinds = h.events()
	require.Empty(t, kinds, "one a second of each kind")
	h.wait(time.Second)
	require.NoError(t, h.push(instance(t, 1, describe(t, described(2, "b", 20)))))
	list, kinds = h.events()
	require.Equal(t, "fault;", kinds)
	require.ErrorIs(t, list[0].Err, fdt.ErrReused)
}

func TestDigests(t *testing.T) {
	body := random(1, 20)
	for name, c := range map[string]struct {
		change func(*fdt.File)
		ignore bool
		want   string
	}{
		"wrong MD5":     {func(f *fdt.File) { f.ContentMD5 = make([]byte, 16) }, false, "fdt;lost;"},
		"ignored":       {func(f *fdt.File) { f.ContentMD5 = make([]byte, 16) }, true, "fdt;started;complete;"},
		"wrong SHA-256": {func(f *fdt.File) { f.ContentDigest.SHA256 = make([]byte, 32) }, false, "fdt;lost;"},
		"wrong SHA-512": {func(f *fdt.File) { f.ReprDigest.SHA512 = make([]byte, 64) }, false, "fdt;lost;"},
		"of the whole":  {func(f *fdt.File) { f.ContentLocation = "a#0"; f.ReprDigest.SHA512 = make([]byte, 64) }, false, "fdt;started;complete;"},
	} {
		h := newHand(t, flute.ReceiverConfig{IgnoreDigests: c.ignore})
		f := described(1, "a", 20)
		c.change(&f)
		require.NoError(t, h.push(instance(t, 0, describe(t, f))))
		require.NoError(t, h.push(data(1, 0, 0, body)))
		list, kinds := h.events()
		require.Equal(t, c.want, kinds, name)
		if last := list[len(list)-1]; last.Kind == flute.Lost {
			require.ErrorIs(t, last.Err, flute.ErrDigest)
			require.Zero(t, h.r.Stats().Memory)
			// It is tried again later.
			require.NoError(t, h.push(data(1, 0, 0, body)))
			h.wait(2 * time.Second)
			require.NoError(t, h.push(data(1, 0, 0, body)))
			_, kinds = h.events()
			require.Equal(t, "lost;", kinds)
		}
	}
}

func TestRejects(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{Source: source.Addr(), TSIs: []uint64{1}, MaxObject: 1000, MaxSessions: 1})
	require.NoError(t, h.push(instance(t, 0, describe(t,
		described(1, "a", 95), described(2, "large", 1001), fdt.File{TOI: 3, ContentLocation: "c", ContentLength: 9, HasContentLength: true, FEC: fdt.FEC{HasEncodingID: true, EncodingID: 5}}))))
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	fti := func(p alc.Packet, info fec.ObjectInfo) alc.Packet {
		x, err := alc.AppendFTI(p.Extensions, &info)
		require.NoError(t, err)
		p.Extensions = x
		return p
	}
	noTOI := data(1, 0, 0, []byte("x"))
	noTOI.HasTOI = false
	wide := data(1, 0, 0, []byte("x"))
	wide.TOIHigh = 1
	version := data(0, 0, 0, []byte("x"))
	version.Extensions, _ = lct.Extensions(nil).AppendFDT(lct.FDT{Version: 3})
	bare := data(0, 0, 0, []byte("x"))
	bare.Extensions, _ = lct.Extensions(nil).AppendFDT(lct.FDT{Version: 1, InstanceID: 9})
	broken := data(1, 0, 1, make([]byte, 10))
	broken.Extensions, _ = lct.Extensions(nil).AppendFTI(make([]byte, 14))
	scheme := data(1, 0, 1, make([]byte, 10))
	scheme.Codepoint, scheme.Scheme = 6, 6
	tsi := data(1, 0, 1, make([]byte, 10))
	tsi.TSI = 2
	for _, c := range []struct {
		name string
		p    alc.Packet
		want flute.Reason
	}{
		{"TSI", tsi, flute.RejectSource},
		{"no TOI", noTOI, flute.RejectTOI},
		{"wide TOI", wide, flute.RejectTOI},
		{"no EXT_FDT", data(0, 0, 0, []byte("x")), flute.RejectFDT},
		{"version 3", version, flute.RejectFDT},
		{"FDT without EXT_FTI", bare, flute.RejectFTI},
		{"malformed EXT_FTI", broken, flute.RejectFTI},
		{"other EXT_FTI", fti(data(1, 0, 1, make([]byte, 10)), fec.ObjectInfo{TransferLength: 96, SymbolSize: 10, MaxBlock: 5}), flute.RejectFTI},
		{"other scheme", scheme, flute.RejectScheme},
		{"scheme of the FDT", data(3, 0, 0, make([]byte, 9)), flute.RejectScheme},
		{"too large", data(2, 0, 0, make([]byte, 10)), flute.RejectTooLarge},
		{"block", data(1, 2, 0, make([]byte, 10)), flute.RejectSymbol},
		{"symbol", data(1, 0, 5, make([]byte, 10)), flute.RejectSymbol},
		{"symbols across blocks", data(1, 0, 4, make([]byte, 20)), flute.RejectSymbol},
		{"short symbol", data(1, 0, 1, make([]byte, 9)), flute.RejectSymbol},
		{"long symbol", data(1, 1, 4, make([]byte, 11)), flute.RejectSymbol},
		{"other octets", data(1, 0, 0, bytes.Repeat([]byte{1}, 10)), flute.RejectConflict},
	} {
		before := h.r.Stats()
		err := h.push(c.p)
		e, ok := errors.AsType[*flute.RejectError](err)
		require.True(t, ok, "%s: %v", c.name, err)
		require.Equal(t, c.want, e.Reason, "%s: %v", c.name, err)
		st := h.r.Stats()
		require.Equal(t, before.RejectedPackets(c.want)+1, st.RejectedPackets(c.want), c.name)
		require.NotContains(t, e.Reason.String(), "unknown")
	}
	require.Error(t, h.r.Push(h.now, netip.MustParseAddrPort("192.0.2.9:1"), nil))
	err := h.r.Push(h.now, source, []byte{0x62, 0, 0, 0x23})
	require.ErrorIs(t, err, lct.ErrVersion)
	require.ErrorIs(t, h.r.Push(h.now, source, []byte{0x10, 0x10, 3, 200, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0}), fec.ErrUnsupported)

	one := newHand(t, flute.ReceiverConfig{MaxSessions: 1})
	require.NoError(t, one.push(data(1, 0, 0, nil)))
	err = one.push(tsi)
	e, _ := errors.AsType[*flute.RejectError](err)
	require.Equal(t, flute.RejectSession, e.Reason)
	one.wait(time.Second)
	require.NoError(t, one.push(tsi), "a session without files gives way")
}

func TestClosed(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 95)))))
	require.NoError(t, h.push(data(1, 0, 0, make([]byte, 10))))
	h.events()
	end := alc.Packet{Header: lct.Header{TSI: 1, CloseSession: true}}
	require.NoError(t, h.push(end))
	h.wait(time.Second)
	require.NoError(t, h.push(data(1, 0, 1, make([]byte, 10))), "it was not the end")
	h.wait(900 * time.Millisecond)
	_, kinds := h.events()
	require.Equal(t, "progress;", kinds)
	require.NoError(t, h.push(end))
	require.NoError(t, h.push(end))
	h.wait(2 * time.Second)
	list, kinds := h.events()
	require.Contains(t, kinds, "closed;")
	require.True(t, list[0].Session.Closed())
	h.wait(10 * time.Second)
	_, kinds = h.events()
	require.NotContains(t, kinds, "closed;", "once")
}

// FLUTE version 1 over the first LCT may have times behind the TOI.
func TestRFC3451(t *testing.T) {
	p := instance(t, 0, describe(t, described(1, "a", 10)))
	p.HasSCT, p.SCT = true, 7
	b, err := p.AppendTo(nil)
	require.NoError(t, err)
	r := flute.NewReceiver(flute.ReceiverConfig{RFC3451: true})
	require.NoError(t, r.Push(noon, source, b))
	ev, ok := r.Poll()
	require.True(t, ok)
	require.Equal(t, flute.FDT, ev.Kind)
	require.Error(t, flute.NewReceiver(flute.ReceiverConfig{}).Push(noon, source, b))
}

// One source under one TSI is another session than another source.
func TestSessions(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	other := netip.MustParseAddrPort("[2001:db8::1]:4000")
	for i, src := range []netip.AddrPort{source, other} {
		for _, p := range []alc.Packet{instance(t, 0, describe(t, described(1, fmt.Sprint(i), 10))), data(1, 0, 0, bytes.Repeat([]byte{byte('0' + i)}, 10))} {
			b, err := p.AppendTo(nil)
			require.NoError(t, err)
			require.NoError(t, h.r.Push(h.now, src, b))
		}
	}
	require.Equal(t, []string{"0000000000", "1111111111"}, h.release())
	sessions := h.r.Sessions()
	require.Len(t, sessions, 2)
	require.False(t, sessions[0].Closed())
	require.Equal(t, other.Addr(), sessions[1].Source())
	require.Equal(t, uint64(1), sessions[1].TSI())
	require.Equal(t, uint64(2), sessions[1].Packets())
}

func TestDecode(t *testing.T) {
	_, err := flute.Decode(bytes.NewReader(nil), "br", 1)
	require.ErrorIs(t, err, flute.ErrEncoding)
	r, err := flute.Decode(bytes.NewReader([]byte("abc")), "", 2)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.ErrorIs(t, err, flute.ErrExpansion)
	require.Equal(t, "ab", string(b))
	r, err = flute.Decode(bytes.NewReader([]byte("abc")), "identity", 3)
	require.NoError(t, err)
	b, err = io.ReadAll(r)
	require.NoError(t, err)
	require.Equal(t, "abc", string(b))
}

// A packet costs no memory but that of its octets.
func TestPushAllocations(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	f := described(1, "a", 10_000*1000)
	f.FEC = fdt.FEC{HasEncodingID: true, EncodingSymbolLength: 1000, MaxSourceBlockLength: 100}
	require.NoError(t, h.push(instance(t, 0, describe(t, f))))
	var packets [][]byte
	for i := range 5000 {
		p := data(1, uint32(i/100), uint32(i%100), make([]byte, 1000))
		b, err := p.AppendTo(nil)
		require.NoError(t, err)
		packets = append(packets, b)
	}
	push := func(b []byte) {
		if err := h.r.Push(h.now, source, b); err != nil {
			t.Fatal(err)
		}
		for {
			if _, ok := h.r.Poll(); !ok {
				return
			}
		}
	}
	i := 0
	fresh := testing.AllocsPerRun(4000, func() { push(packets[i]); i++ })
	require.Less(t, fresh, 0.1, "a slab for each 16 packets")
	require.Zero(t, testing.AllocsPerRun(1000, func() { push(packets[0]) }), "repeats")
	require.Zero(t, testing.AllocsPerRun(1000, func() { _ = h.r.Push(h.now, source, packets[0][:3]) }), "what is no packet")
}

// An instance without files is not allowed, and senders use it to show that they are alive.
func TestEmptyInstance(t *testing.T) {
	h := newHand(t, flute.ReceiverConfig{})
	require.NoError(t, h.push(instance(t, 0, []byte(`<FDT-Instance xmlns="urn:IETF:metadata:2005:FLUTE:FDT" Expires="4294944000" mbms2008:FullFDT="true"/>`))))
	list, kinds := h.events()
	require.Equal(t, "fdt;", kinds)
	require.Empty(t, list[0].Changes)
}

// Runs of packets, as the kernel joins them, and packets to elsewhere.
func TestPushRun(t *testing.T) {
	here, elsewhere := netip.MustParseAddrPort("232.0.0.1:4000"), netip.MustParseAddrPort("232.0.0.1:4001")
	h := newHand(t, flute.ReceiverConfig{Destination: here})
	body := random(1, 45)
	require.NoError(t, h.push(instance(t, 0, describe(t, described(1, "a", 45)))))
	var run []byte
	size := 0
	for i := range 5 {
		p := data(1, 0, uint32(i), body[i*10:min(45, i*10+10)])
		var err error
		run, err = p.AppendTo(run)
		require.NoError(t, err)
		size = max(size, len(run)/(i+1))
	}
	h.r.PushRun(h.now, source, elsewhere, run, size)
	require.Empty(t, h.release())
	h.r.PushRun(h.now, source, here, run, size)
	require.Equal(t, []string{string(body)}, h.release())
	h.r.PushRun(h.now, source, netip.AddrPort{}, run[:size], 0)
	require.Equal(t, uint64(1), h.r.Stats().Repeats)
}
