package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/flute/packetio/pcap"
)

func inspectRun(t *testing.T, stdin []byte, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = inspectCommand(t.Context(), args, bytes.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// Of each kind of event the fields have these names.
func TestInspectJSON(t *testing.T) {
	code, stdout, stderr := inspectRun(t, nil, "-json", "../../route/testdata/atsc3-ateme-lls-esg.pcap")
	require.Zero(t, code, stderr)
	golden := map[string]string{
		"session":    `{"event":"session","time":"2019-01-22T03:07:18.104052Z","source":"192.168.0.4","dst":"239.255.20.9","port":52009,"protocol":"route"}`,
		"service":    `{"event":"service","time":"2019-01-22T03:07:18.357366Z","system":"atsc3","id":"1001","name":"ATEME MMT 1","channel":"10.1","protocol":"mmtp","dst":"239.255.10.1","port":51001,"source":"172.16.200.1"}`,
		"signalling": `{"event":"signalling","time":"2019-01-22T03:07:18.357366Z","source":"192.168.0.4","dst":"224.0.23.60","port":4937,"kind":"SLT","version":2}`,
		"object":     `{"event":"object","time":"2019-01-22T03:07:18.62185Z","source":"192.168.0.4","dst":"239.255.20.9","port":52009,"tsi":0,"toi":0,"fdt":null,"protocol":"route","codepoint":0,"packets":1,"length":351,"complete":true,"missing":[],"sha256":"f2b9e45b120920f66d9074a7a6800beabe6603ad04a27af0d24b319b16b5cb07","location":null}`,
		"finding":    `{"event":"finding","time":"2019-01-22T03:07:45.900662Z","severity":"fault","rule":"slt-source","where":"SLT: service 5009","text":"it announces the source 172.16.200.1, the packets to 239.255.20.9:52009 come from 192.168.0.4: receivers that join the announced source, or check it, get nothing","section":"A/331 6.3"}`,
		"summary":    `{"event":"summary","time":"2019-01-22T03:07:45.900662Z","source":"192.168.0.4","dst":"239.255.20.9","port":52009,"protocol":"route","system":"atsc3","channels":5,"packets":134,"octets":154335,"objects":14,"incomplete":3,"missingOctets":9541,"repairPackets":0,"recoveredOctets":0,"foreignPackets":0}`,
	}
	incomplete := `"length":12397,"complete":false,"missing":[[8568,12396]],"sha256":null,"location":"sgdu_long_2231","contentType":"application/vnd.oma.bcast.sgdu","encoding":"gzip","received":8568}`
	require.Contains(t, stdout, incomplete)
	for line := range strings.Lines(stdout) {
		var e struct{ Event string }
		require.NoError(t, json.Unmarshal([]byte(line), &e))
		if want, ok := golden[e.Event]; ok {
			require.Equal(t, want, strings.TrimSpace(line))
			delete(golden, e.Event)
		}
	}
	require.Empty(t, golden)

	_, stdout, _ = inspectRun(t, nil, "-json", "../../flute/testdata/libflute-gzip.pcap")
	require.Contains(t, stdout, `"tsi":16,"toi":0,"fdt":1,"protocol":"flute"`)
	require.Contains(t, stdout, `"location":"text.txt"`)
}

func TestInspectText(t *testing.T) {
	code, stdout, stderr := inspectRun(t, nil, "../../route/testdata/gpac-mabr-route.pcap")
	require.Zero(t, code, stderr)
	for _, line := range []string{
		"session    232.1.1.4:6000 from 10.77.0.1: FLUTE\n",
		"service    10 (gpac.io:dvb-mabr:service:0, dvb-mabr): ROUTE to 232.1.1.4:6001\n",
		"signalling 232.1.1.4:6001 TSI 0 TOI 2147876865 S-TSID stsid.xml\n",
		"note       232.1.1.4:6001: the packets arrive with a TTL of 1: no router forwards them any further\n",
		"object     232.1.1.4:6001 TSI 20 TOI 7 17.1 kB clip_dash_track2_7.m4s\n",
		"fault      session configuration: carousel 1: no packets come to 232.1.1.4:6001 with the TSI 1 (TS 103 769 10.2.3.9)\n",
		"sum        232.1.1.4:6001 from 10.77.0.1: ROUTE dvb-mabr, 3 channels, no FEC, 840 packets, 1215.0 kB, 17 objects\n",
	} {
		require.Contains(t, stdout, line)
	}
	require.Empty(t, stderr, "no progress where there is no terminal")
}

// What a capture does not show is said, and what came before it broke is shown.
func TestInspectCaptures(t *testing.T) {
	good, err := os.ReadFile("../../flute/testdata/libflute-gzip.pcap")
	require.NoError(t, err)

	code, stdout, stderr := inspectRun(t, good[:24], "-")
	require.Zero(t, code)
	require.Contains(t, stdout, "0 packets")
	require.Contains(t, stderr, "it holds no frames")

	code, _, stderr = inspectRun(t, withLink(good, 147), "-")
	require.Zero(t, code)
	require.Contains(t, stderr, "are of link type 147, which is not understood")

	large := append(bytes.Clone(good[24:40]), make([]byte, 14+20+8+10*1400)...)
	binary.LittleEndian.PutUint32(large[8:], uint32(len(large)-16))
	binary.LittleEndian.PutUint32(large[12:], uint32(len(large)-16))
	copy(large[16:], good[40:40+14+20+8])
	binary.BigEndian.PutUint16(large[16+14+2:], 20+8+10*1400)
	binary.BigEndian.PutUint16(large[16+14+20+4:], 8+10*1400)
	_, _, stderr = inspectRun(t, append(bytes.Clone(good), large...), "-")
	require.Contains(t, stderr, "taken with segmentation offload")

	tcp := bytes.Clone(good)
	for at := 24; at < len(tcp); at += 16 + int(binary.LittleEndian.Uint32(tcp[at+8:])) {
		tcp[at+16+14+9] = 6
	}
	_, _, stderr = inspectRun(t, tcp, "-")
	require.Contains(t, stderr, "frames is of UDP over IP")

	broken := append(bytes.Clone(good), bytes.Repeat([]byte{0xff}, 16)...)
	code, stdout, stderr = inspectRun(t, broken, "-")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "text.txt")
	require.Contains(t, stderr, "here is what came before")

	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err = w.Write(good)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	code, stdout, stderr = inspectRun(t, z.Bytes(), "-")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "text.txt")

	code, stdout, stderr = inspectRun(t, tunnelled(good), "-")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "text.txt")
}

func withLink(capture []byte, link uint32) []byte {
	b := bytes.Clone(capture)
	binary.LittleEndian.PutUint32(b[20:], link)
	return b
}

// tunnelled puts the datagrams of a capture of Ethernet into messages of AMT.
func tunnelled(capture []byte) (out []byte) {
	le, be := binary.LittleEndian, binary.BigEndian
	out = append(out, capture[:24]...)
	for b := capture[24:]; len(b) > 0; {
		n := le.Uint32(b[8:])
		ip := b[16+14 : 16+n]
		inner := append([]byte{6, 0}, ip...)
		outer := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 2268 >> 8, 2268 & 0xff, 0x9c, 0x40, 0, 0, 0, 0}
		be.PutUint16(outer[2:], uint16(len(outer)+len(inner)))
		be.PutUint16(outer[24:], uint16(8+len(inner)))
		frame := slices.Concat(b[16:16+14], outer, inner)
		out = append(out, b[:8]...)
		out = le.AppendUint32(le.AppendUint32(out, uint32(len(frame))), uint32(len(frame)))
		out = append(out, frame...)
		b = b[16+n:]
	}
	return out
}

// A session description from a file is compared with what comes.
func TestInspectSDP(t *testing.T) {
	sdp := filepath.Join(t.TempDir(), "x.sdp")
	require.NoError(t, os.WriteFile(sdp, []byte("v=0\nm=application 40085 FLUTE/UDP 0\nc=IN IP4 238.1.1.95/1\na=flute-tsi:17\n"), 0o644))
	_, described, _ := inspectRun(t, nil, "-sdp", sdp, "../../flute/testdata/libflute-gzip.pcap")
	require.Contains(t, described, "SDP: it announces the TSI 17, the packets to 238.1.1.95:40085 have 16")
	require.NoError(t, os.WriteFile(sdp, []byte("v=0\nt=x"), 0o644))
	for _, file := range []string{"/does/not/exist", sdp} {
		code, _, stderr := inspectRun(t, nil, "-sdp", file)
		require.Equal(t, 1, code)
		require.NotEmpty(t, stderr)
	}
}

func TestInspectStandardInputAndFiles(t *testing.T) {
	capture, err := os.ReadFile("../../route/testdata/gpac-route-dash.pcap")
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "out")
	code, _, stderr := inspectRun(t, capture, "-o", dir, "-")
	require.Zero(t, code, stderr)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 19)

	// A capture that was cut off is read as far as it goes.
	code, stdout, stderr := inspectRun(t, capture[:len(capture)/2], "-")
	require.Zero(t, code)
	require.Contains(t, stderr, "here is what came before")
	require.Contains(t, stdout, "clip_dash_track1_init.mp4")
}

func TestInspectRefuses(t *testing.T) {
	for _, args := range [][]string{{}, {"-source", "x", "232.1.1.1:1"}, {"-unknown"}} {
		code, _, stderr := inspectRun(t, nil, args...)
		require.Equal(t, 2, code, args)
		require.NotEmpty(t, stderr)
	}
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("not a capture"), 0o644))
	for _, args := range [][]string{{"/does/not/exist"}, {empty}, {"a", "b"}, {"232.1.1.1:6000"}} {
		code, _, stderr := inspectRun(t, nil, append([]string{"-for", "10ms"}, args...)...)
		require.Equal(t, 1, code, args)
		require.NotEmpty(t, stderr)
	}
	_, _, stderr := inspectRun(t, nil, "232.1.1.1:6000")
	require.Contains(t, stderr, "by -source")
	code, _, stderr := inspectRun(t, nil, "-help")
	require.Zero(t, code)
	require.Contains(t, stderr, "usage: treedn inspect")
}

// payloads returns the datagrams of a capture.
func payloads(t *testing.T, file string) (packets [][]byte) {
	t.Helper()
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	r, err := pcap.NewReader(f)
	require.NoError(t, err)
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		packets = append(packets, bytes.Clone(p.Payload))
	}
	return packets
}

// Live, by unicast: what a capture holds is sent to the command, which writes its objects until it is interrupted.
func TestInspectLive(t *testing.T) {
	probe, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	to := netip.MustParseAddrPort(probe.LocalAddr().String())
	require.NoError(t, probe.Close())

	out := newWatch("text.txt")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var stderr bytes.Buffer
	go func() { done <- inspectCommand(ctx, []string{to.String()}, nil, out, &stderr) }()

	packets := payloads(t, "../../flute/testdata/libflute-gzip.pcap")
	conn, err := net.Dial("udp4", to.String())
	require.NoError(t, err)
	defer conn.Close()
	for seen := false; !seen; { // the command may not listen yet
		for _, p := range packets {
			_, _ = conn.Write(p) // refused until then
		}
		select {
		case <-out.seen:
			seen = true
		case <-time.After(20 * time.Millisecond):
		case code := <-done:
			t.Fatalf("ended with %d: %s", code, stderr.String())
		}
	}
	cancel()
	require.Zero(t, <-done, stderr.String())
	require.Contains(t, out.String(), "sum ")
}

// Live, by multicast, on a group that is joined by itself, and on one that an AMT relay might bring.
func TestInspectMulticast(t *testing.T) {
	for _, relay := range []bool{false, true} {
		ch := ssmtest.Channel(t)
		args := []string{"-source", ch.Source.String(), "-q"}
		if relay {
			args = append(args, "-relay", "127.0.0.1:9")
		}
		out := newWatch("text.txt")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int, 1)
		var stderr bytes.Buffer
		go func() { done <- inspectCommand(ctx, append(args, ch.Destination().String()), nil, out, &stderr) }()
		tx, err := ssm.NewSender(ch.Source, nil)
		require.NoError(t, err)
		packets := payloads(t, "../../flute/testdata/libflute-gzip.pcap")
		for seen := false; !seen; { // until it has joined
			for _, p := range packets {
				_, err := tx.WriteBatch([][]byte{p}, ch.Destination())
				require.NoError(t, err)
			}
			select {
			case <-out.seen:
				seen = true
			case <-time.After(20 * time.Millisecond):
			case code := <-done:
				t.Fatalf("ended with %d: %s", code, stderr.String())
			}
		}
		cancel()
		require.Zero(t, <-done, stderr.String())
		require.NoError(t, tx.Close())
	}
}
