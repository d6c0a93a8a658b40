package inspect_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/internal/inspect"
)

// A hundred thousand objects, sessions and lengths that are but claimed take no more memory than is allowed.
func TestHostileNumbers(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	told := 0
	in := inspect.New(inspect.Config{MaxMemory: 8 << 20, MaxObjects: 4096, Emit: func(e inspect.Event) {
		if o, ok := e.(*inspect.ObjectEvent); ok {
			told++
			require.False(t, o.Complete)
		}
	}})
	for i := range uint64(100_000) {
		h := lct.Header{PSI: 2, TSI: i % 7, TOI: i, HasTOI: true, Codepoint: 8}
		var err error
		h.Extensions, err = h.Extensions.AppendTOL(1 << 31)
		require.NoError(t, err)
		b, err := h.AppendTo(nil)
		require.NoError(t, err)
		if i%1000 == 0 {
			i *= 21474 // far away
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(i*7919%(1<<26))), make([]byte, 100)...)
		in.Push(noon, source, group, b)
	}
	after := heap()
	require.LessOrEqual(t, after-min(before, after), uint64(40<<20))
	require.LessOrEqual(t, in.Status().Open, 4096)
	in.Finish()
	require.Equal(t, 100_000, told)
	runtime.KeepAlive(in)
}

// fluteV2 makes a packet of FLUTE with 32-bit identifiers.
func fluteV2(t *testing.T, toi uint64, sbn, esi uint16, payload []byte, x lct.Extensions) packet {
	h := lct.Header{TSI: 1, TOI: toi, HasTOI: true, Extensions: x}
	b, err := h.AppendTo(nil)
	require.NoError(t, err)
	b = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, sbn), esi)
	return packet{noon, source, group, append(b, payload...)}
}

func fdtExtension(t *testing.T, id uint32) lct.Extensions {
	x, err := lct.Extensions(nil).AppendFDT(lct.FDT{Version: 2, InstanceID: id})
	require.NoError(t, err)
	return x
}

// Senders leave out what they must not: EXT_FTI of an FDT Instance, the symbol length in it.
func TestWithoutOTI(t *testing.T) {
	body := random(1, 2500)
	instance := []byte(`<FDT-Instance Expires="4294967295"><File TOI="5" Content-Location="a" Content-Length="2500"/></FDT-Instance>`)
	packets := []packet{fluteV2(t, 0, 0, 0, instance, fdtExtension(t, 9))}
	for i := range 3 {
		packets = append(packets, fluteV2(t, 5, 0, uint16(i), body[i*1000:min(2500, i*1000+1000)], nil))
	}
	for _, order := range [][]packet{packets, append(slices.Clone(packets[1:]), packets[0])} {
		got := objects(inspectAll(order, inspect.Config{}))
		require.Len(t, got, 2)
		for _, o := range got {
			require.True(t, o.Complete, "%v", o.Missing)
			if o.TOI == 5 {
				require.Equal(t, digest(body), *o.SHA256)
				require.Equal(t, "a", *o.Location)
			} else {
				require.Equal(t, uint32(9), *o.FDT)
			}
		}
	}
	got := objects(inspectAll(packets[:3], inspect.Config{}))
	require.Len(t, got, 2)
	require.False(t, got[1].Complete)
}

// Other octets under the same TOI are another object, however often both come; each is told once.
func TestVersions(t *testing.T) {
	first, second, longer := random(1, 5000), random(2, 5000), random(3, 6000)
	var packets []packet
	for range 3 {
		for _, b := range [][]byte{first, second, longer, first} {
			packets = append(packets, sendROUTE(t, 10, 7, b, true)...)
		}
	}
	lost := sendROUTE(t, 10, 7, random(4, 5000), true)
	packets = append(packets, lost[0], lost[2])
	var sums, missing []string
	for _, o := range objects(inspectAll(packets, inspect.Config{})) {
		if o.Complete {
			sums = append(sums, *o.SHA256)
		} else {
			missing = append(missing, fmt.Sprint(o.Missing))
		}
	}
	slices.Sort(sums)
	want := []string{digest(first), digest(second), digest(longer)}
	slices.Sort(want)
	require.Equal(t, want, sums)
	require.Equal(t, []string{"[[1300 2599] [3900 4999]]"}, missing)
}

// An object waits for its name, but not for ever.
func TestNameDelay(t *testing.T) {
	var events []inspect.Event
	in := inspect.New(inspect.Config{NameDelay: time.Second, Emit: func(e inspect.Event) { events = append(events, e) }})
	push := func(at time.Time, list []packet) {
		for _, p := range list {
			in.Push(at, p.from, p.to, p.b)
		}
	}
	push(noon, sendROUTE(t, 10, 7, random(1, 100), true))
	require.Empty(t, objects(events))
	in.Advance(noon.Add(2 * time.Second))
	require.Len(t, objects(events), 1)

	push(noon.Add(3*time.Second), sendROUTE(t, 10, 8, random(2, 100), true))
	require.Len(t, objects(events), 1)
	efdt := fdt.Instance{Expires: 4294967295, Files: []fdt.File{{TOI: 8, ContentLocation: "eight"}}}
	b, err := efdt.Append(nil)
	require.NoError(t, err)
	push(noon.Add(3*time.Second), sendROUTE(t, 10, 0, b, true))
	push(noon.Add(3*time.Second), sendROUTE(t, 10, 0, b, true))
	list := objects(events)
	require.Len(t, list, 3)
	require.Equal(t, "eight", *list[2].Location)
}

// What a sender puts into names does nothing to a terminal.
func TestPrinterIsHarmless(t *testing.T) {
	var out bytes.Buffer
	p := inspect.Printer{W: &out}
	for _, evil := range []string{"\x1b[2J", "a\nfatal  forged", "\u202egnp.exe", "\x07"} {
		require.NoError(t, p.Print(&inspect.ServiceEvent{ID: evil, Name: evil}))
		require.NoError(t, p.Print(&inspect.ObjectEvent{Location: &evil, Complete: true}))
		require.NoError(t, p.Print(&inspect.SignallingEvent{Kind: evil, Name: evil, Error: evil}))
		require.NoError(t, p.Print(&inspect.FindingEvent{Where: evil, Text: evil}))
	}
	require.Equal(t, 16, strings.Count(out.String(), "\n"))
	require.NotContains(t, out.String(), "\x1b")
	require.NotContains(t, out.String(), "\u202e")
	require.NotContains(t, out.String(), "\x07")
}

// An EXT_FTI of Raptor in the form of RaptorQ, and a header of RFC 3451 with times in it.
func TestOddSenders(t *testing.T) {
	body := random(9, 2000)
	info := fec.ObjectInfo{ID: fec.Raptor, TransferLength: 2000, SymbolSize: 500, SourceBlocks: 1, SubBlocks: 1, Alignment: 4}
	require.NoError(t, info.Validate())
	fti, err := info.AppendFTI(nil)
	require.NoError(t, err)
	odd := append(append(slices.Clone(fti[1:7]), fti[8:14]...), 0, 0)
	x, err := lct.Extensions(nil).AppendFTI(odd)
	require.NoError(t, err)
	var packets []packet
	for i := range 4 {
		h := lct.Header{TSI: 1, TOI: 5, HasTOI: true, Codepoint: 1, TSILen: 2, TOILen: 2, Extensions: x}
		b, err := h.AppendTo(nil)
		require.NoError(t, err)
		// T and R, and their words between the TOI and the extensions.
		b[1] |= 0x0c
		b[2] += 2
		b = slices.Insert(b, 12, 0, 0, 0, 1, 0, 0, 0, 2)
		b = binary.BigEndian.AppendUint32(b, uint32(i))
		packets = append(packets, packet{noon, source, group, append(b, body[i*500:i*500+500]...)})
	}
	got := objects(inspectAll(packets, inspect.Config{}))
	require.Len(t, got, 1)
	require.True(t, got[0].Complete, "%v", got[0].Missing)
	require.Equal(t, digest(body), *got[0].SHA256)
}
