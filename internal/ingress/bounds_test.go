package ingress_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/route"
	"github.com/treedn/treedn/route/sls"
)

// unsigned is a node that believes what comes, from a sender that is a bad one.
func unsigned(t *testing.T, stem string) (in *ingress.Ingress, push func(tsi, toi, off uint32, p []byte)) {
	svc := newService(t, "live")
	in = ingress.New(ingress.Config{Service: svc, Receiver: route.ReceiverConfig{Session: session, MaxMemory: 64 << 20}})
	push = func(tsi, toi, off uint32, p []byte) {
		h := lct.Header{PSI: 2, Codepoint: 8, TSI: uint64(tsi), TOI: uint64(toi), HasTOI: true}
		if tsi == 0 {
			h.Codepoint = 3
			h.Extensions, _ = h.Extensions.AppendTOL(uint64(len(p)))
		}
		b, err := h.AppendTo(nil)
		require.NoError(t, err)
		in.Push(netip.AddrPortFrom(session.Source, 5000), append(binary.BigEndian.AppendUint32(b, off), p...))
	}
	doc := sls.STSID{RS: []sls.RS{{LS: []sls.LS{{TSI: 2, SrcFlow: &sls.SrcFlow{EFDT: &fdt.Instance{
		Expires: 0xffffffff, MaxExpiresDelta: 600, MaxTransportSize: 1 << 30, FileTemplate: stem,
	}}}}}}}
	body, err := doc.Append(nil)
	require.NoError(t, err)
	pkg := sls.Package{NoEnvelope: true, Version: 1, Parts: []sls.Part{{ContentType: sls.MediaTypeSTSID, Location: "stsid.xml", Body: body}}}
	b, err := pkg.AppendGzip(nil)
	require.NoError(t, err)
	push(0, uint32(pkg.TOI(true)), 0, b)
	return in, push
}

func TestObjectThatNeverEnds(t *testing.T) {
	in, push := unsigned(t, "v-$TOI$")
	p := make([]byte, 1400)
	for off := uint32(0); off < 100<<20; off += uint32(len(p)) {
		push(2, 1, off, p)
	}
	st := in.Stats().Receiver
	require.LessOrEqual(t, st.Memory, int64(64<<20))
	require.NotZero(t, st.RejectedPackets(route.RejectTooLarge)+st.RejectedPackets(route.RejectMemory))
	require.NotZero(t, st.SourceOctets)
}

// A name takes no more room than a name may. Who announces a longer one announces nothing.
func TestNameOfAMegabyte(t *testing.T) {
	for _, size := range []int{500, 513, 4000, 30_000, 900_000} {
		in, push := unsigned(t, strings.Repeat("a", size)+"-$TOI$")
		for toi := range uint32(2000) {
			push(2, toi+1, 0, make([]byte, 1000))
		}
		st := in.Stats()
		require.LessOrEqual(t, st.Receiver.Memory, int64(64<<20))
		require.LessOrEqual(t, st.Receiver.Incomplete, 300)
		if size > 512 {
			require.NotZero(t, st.Receiver.RejectedPackets(route.RejectUndescribed), "%d", size)
		}
	}
}
