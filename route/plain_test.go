package route

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/xml"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route/sls"
)

// A plainReceiver takes what a Sender sends apart as a receiver does that was
// written by others and has no FEC. It uses none of our decoders, and demands
// what RFC 9223 and A/331 say, and beyond that what GPAC was seen to insist on.
type plainReceiver struct {
	t        *testing.T
	channels map[uint32]*plainLS
	objects  map[[2]uint32]*plainObject
	files    map[string][]string // contents of the complete objects of a name

	packageTOI  uint32
	packageBody []byte
	known       uint32 // version of the manifest taken last, plus one
	manifests   []string
	partTypes   []string // of the last package

	repair, growing, closing, repeats int
}

type plainObject struct {
	name string
	data []byte
	tol  int64
	done bool
}

type plainLS struct {
	TSI  uint32 `xml:"tsi,attr"`
	Flow *struct {
		EFDT *struct {
			Instance *struct {
				Template string `xml:"fileTemplate,attr"`
				MaxSize  uint64 `xml:"maxTransportSize,attr"`
				Expires  uint64 `xml:"Expires,attr"`
				Files    []struct {
					TOI  uint32 `xml:"TOI,attr"`
					Name string `xml:"Content-Location,attr"`
				} `xml:"urn:ietf:params:xml:ns:fdt File"`
			} `xml:"FDT-Instance"`
		} `xml:"EFDT"`
		Payloads []struct {
			Codepoint uint8 `xml:"codePoint,attr"`
			Format    uint8 `xml:"formatId,attr"`
			SrcFEC    uint8 `xml:"srcFecPayloadId,attr"`
		} `xml:"Payload"`
	} `xml:"SrcFlow"`
	Repair *struct {
		Protected []struct {
			TSI uint32 `xml:"tsi,attr"`
		} `xml:"FECParameters>ProtectedObject"`
	} `xml:"RepairFlow"`
}

func newPlainReceiver(t *testing.T) *plainReceiver {
	return &plainReceiver{
		t: t, channels: map[uint32]*plainLS{},
		objects: map[[2]uint32]*plainObject{}, files: map[string][]string{},
	}
}

// push takes one packet.
func (r *plainReceiver) push(b []byte) {
	t := r.t
	require.GreaterOrEqual(t, len(b), 20, "a packet without FEC Payload ID is an empty one, of which ROUTE has none")
	// RFC 9223, section 2.1: V=1, C=0, PSI=X0; S=1, O=01, H=0, reserved 0.
	// Close Session is not ours to set: a service has no end.
	psi, flags, size := b[0]&3, b[1], int(b[2])*4
	require.Equal(t, uint8(0x10), b[0]&^3)
	require.Equal(t, uint8(0xa0), flags&^1)
	require.GreaterOrEqual(t, size, 16)
	require.GreaterOrEqual(t, len(b), size+4)
	require.Zero(t, binary.BigEndian.Uint32(b[4:]), "CCI, section 5.1")
	tsi, toi := binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	require.NotZero(t, toi, "TOI 0 is that of an EFDT")
	tol, fti := r.extensions(b[16:size])
	id, payload := binary.BigEndian.Uint32(b[size:]), b[size+4:]

	if psi == 0 && r.channels[tsi] == nil {
		// RFC 5775, section 4.4: packets of a TSI that is not joined are
		// dropped. GPAC drops them for their PSI.
		require.NotZero(t, tsi)
		r.growing++
		return
	}
	if psi == 0 {
		// Section 9.4: SPI alone tells repair from source packets of one
		// TSI. GPAC drops them for it without a further look.
		require.True(t, fti)
		require.Less(t, tol, int64(0))
		require.NotEmpty(t, payload)
		require.NotNil(t, r.channels[tsi])
		require.NotNil(t, r.channels[tsi].Repair)
		r.repair++
		return
	}
	require.Equal(t, uint8(2), psi, "GPAC drops what has neither 00 nor 10")
	require.False(t, fti)
	last := flags&1 != 0
	// DVB's profile of ROUTE: Close Object if and only if it is the last octet.
	require.Equal(t, tol >= 0 && int64(id)+int64(len(payload)) == tol, last)
	if tsi == 0 {
		r.signalling(b[3], toi, tol, id, payload, last)
		return
	}
	r.source(b[3], tsi, toi, tol, id, payload)
}

// extensions walks through the header extensions. A/331, A.3.8.1: HET 194 for
// lengths of 24 bits, HET 67 for longer ones.
func (r *plainReceiver) extensions(b []byte) (tol int64, fti bool) {
	tol = -1
	for len(b) > 0 {
		n := 4
		if b[0] < 128 {
			n = int(b[1]) * 4
		}
		require.True(r.t, n > 0 && n <= len(b), "RFC 5651, section 5.2")
		switch b[0] {
		case 194:
			tol = int64(binary.BigEndian.Uint32(b) & 0xffffff)
		case 67:
			require.Equal(r.t, 8, n)
			tol = int64(binary.BigEndian.Uint64(b) & 0xffffffffffff)
			require.GreaterOrEqual(r.t, tol, int64(1)<<24)
		case 64:
			require.Equal(r.t, 16, n, "EXT_FTI of RaptorQ")
			fti = true
		default:
			r.t.Fatalf("extension %d", b[0])
		}
		b = b[n:]
	}
	return tol, fti
}

// source takes a source packet: RFC 9223, section 6.1.
func (r *plainReceiver) source(cp uint8, tsi, toi uint32, tol int64, offset uint32, payload []byte) {
	t := r.t
	ls := r.channels[tsi]
	require.NotNil(t, ls, "TSI %d before the S-TSID that describes it", tsi)
	declared := false
	for _, p := range ls.Flow.Payloads {
		declared = declared || p.Codepoint == cp && p.Format == 1 && p.SrcFEC == 0
	}
	require.True(t, declared, "codepoint %d", cp)

	key := [2]uint32{tsi, toi}
	o := r.objects[key]
	if o == nil {
		o = &plainObject{name: ls.name(toi), tol: -1}
		require.NotEmpty(t, o.name, "TSI %d TOI %d has no name", tsi, toi)
		r.objects[key] = o
	}
	end := int(offset) + len(payload)
	if int(offset) < len(o.data) || o.done && len(payload) > 0 {
		require.LessOrEqual(t, end, len(o.data))
		require.Equal(t, o.data[offset:end], payload, "a TOI with new content")
		r.repeats++
		return
	}
	require.Equal(t, len(o.data), int(offset), "out of order")
	o.data = append(o.data, payload...)
	if len(payload) == 0 {
		require.GreaterOrEqual(t, tol, int64(0), "a packet that says nothing")
		r.closing++
	}
	if tol < 0 {
		require.Less(t, o.tol, int64(0), "the length is forgotten")
		return
	}
	require.True(t, o.tol < 0 || o.tol == tol, "two lengths")
	require.LessOrEqual(t, int64(len(o.data)), tol)
	if o.tol = tol; tol == int64(len(o.data)) {
		o.done = true
		r.files[o.name] = append(r.files[o.name], string(o.data))
	}
}

// name is that of the File entry, else of the template: RFC 9223, section 6.3.1.
func (ls *plainLS) name(toi uint32) string {
	in := ls.Flow.EFDT.Instance
	for _, f := range in.Files {
		if f.TOI == toi {
			return f.Name
		}
	}
	// GPAC takes this TOI for an initialization segment whatever the S-TSID says.
	if in.Template == "" || toi == 0xffffffff {
		return ""
	}
	prefix, rest, _ := strings.Cut(in.Template, "$TOI")
	format, suffix, _ := strings.Cut(rest, "$")
	if format == "" {
		format = "%d"
	}
	return prefix + fmt.Sprintf(format, toi) + suffix
}

// signalling takes a packet of TSI 0: A/331, section 7.1.6 and Annex C.
func (r *plainReceiver) signalling(cp uint8, toi uint32, tol int64, offset uint32, payload []byte, last bool) {
	t := r.t
	require.Equal(t, uint8(3), cp, "unsigned package")
	require.GreaterOrEqual(t, tol, int64(0))
	if offset == 0 {
		r.packageBody = nil
	}
	require.Equal(t, len(r.packageBody), int(offset))
	r.packageBody = append(r.packageBody, payload...)
	if !last || toi == r.packageTOI {
		return // GPAC drops repetitions by the TOI
	}
	r.packageTOI = toi
	version := toi & 0xff
	require.NotZero(t, version, "GPAC takes version 0 for none")
	// GPAC skips a package if the number in its TOI is that of the manifest
	// which it took last, whatever the rest of the TOI is.
	require.NotEqual(t, r.known, version+1, "this package would be skipped")
	require.NotZero(t, toi>>31, "gzip")

	z, err := gzip.NewReader(bytes.NewReader(r.packageBody))
	require.NoError(t, err)
	plain, err := io.ReadAll(z)
	require.NoError(t, err)
	// GPAC compares octets: no other case, no blank less, nothing behind.
	require.True(t, bytes.HasPrefix(plain, []byte("Content-Type: multipart/")))
	require.True(t, bytes.HasSuffix(plain, []byte("--")))
	m, err := mail.ReadMessage(bytes.NewReader(plain))
	require.NoError(t, err)
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	r.parts(version, toi, multipart.NewReader(m.Body, params["boundary"]))
}

var (
	prefixed    = regexp.MustCompile(`<\w+:\w+`)
	itemVersion = regexp.MustCompile(` version="(\d+)" contentType="(.*?)"`)
)

func (r *plainReceiver) parts(version, toi uint32, parts *multipart.Reader) {
	t := r.t
	r.partTypes = nil
	stsid, manifest := false, false
	for {
		part, err := parts.NextRawPart()
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		body, err := io.ReadAll(part)
		require.NoError(t, err)
		kind := part.Header.Get("Content-Type")
		r.partTypes = append(r.partTypes, kind)
		switch kind {
		case "application/mbms-envelope+xml":
			require.Len(t, r.partTypes, 1, "the first part")
			var kinds []string
			for _, m := range itemVersion.FindAllSubmatch(body, -1) {
				require.Equal(t, fmt.Sprint(version), string(m[1]), "GPAC compares it with the TOI")
				kinds = append(kinds, string(m[2]))
			}
			// Without both GPAC gives the package up.
			require.Contains(t, kinds, "application/dash+xml")
			require.Contains(t, kinds, "application/route-s-tsid+xml")
		case "application/route-s-tsid+xml":
			require.False(t, manifest, "GPAC drops a manifest if there is no channel yet")
			r.stsid(body)
			stsid = true
		default:
			// GPAC takes the first manifest of a package, and no other.
			if !manifest {
				r.manifests = append(r.manifests, string(body))
				r.known = version + 1
			}
			manifest = true
		}
	}
	require.Equal(t, stsid, toi&(1<<17) != 0)
	require.Equal(t, manifest, toi&(1<<18) != 0)
}

// stsid takes an S-TSID: A/331, section 7.1.4.
func (r *plainReceiver) stsid(body []byte) {
	t := r.t
	var doc struct {
		XMLName xml.Name
		RS      []struct {
			LS []*plainLS `xml:"LS"`
		} `xml:"RS"`
	}
	require.NoError(t, xml.Unmarshal(body, &doc))
	require.Equal(t, xml.Name{Space: "tag:atsc.org,2016:XMLSchemas/ATSC3/Delivery/S-TSID/1.0/", Local: "S-TSID"}, doc.XMLName)
	for _, m := range prefixed.FindAllString(string(body), -1) {
		require.Equal(t, "<fdt:File", m, "GPAC knows nothing of prefixes; it searches this name")
	}
	require.Len(t, doc.RS, 1)
	clear(r.channels)
	for _, ls := range doc.RS[0].LS {
		require.NotZero(t, ls.TSI)
		require.NotContains(t, r.channels, ls.TSI)
		r.channels[ls.TSI] = ls
		// GPAC refuses the whole S-TSID for one channel without these. It is
		// why a repair flow shares the channel of its source flow.
		require.NotNil(t, ls.Flow)
		require.NotNil(t, ls.Flow.EFDT)
		in := ls.Flow.EFDT.Instance
		require.NotNil(t, in)
		require.NotZero(t, in.Expires, "RFC 6726, section 3.4.2")
		require.True(t, in.Template != "" || len(in.Files) > 0)
		if in.Template != "" {
			require.NotZero(t, in.MaxSize, "A/331, A.3.3.2.3")
		}
		for _, f := range in.Files {
			require.NotZero(t, f.TOI)
			require.NotEmpty(t, f.Name)
		}
		require.Less(t, len(ls.Flow.Payloads), 8, "GPAC counts to 8")
		require.NotNil(t, ls.Repair)
		require.Len(t, ls.Repair.Protected, 1)
		require.Equal(t, ls.TSI, ls.Repair.Protected[0].TSI)
	}
}

// A live service through two runs of its encoder, as octets.
func TestWireForPlainReceivers(t *testing.T) {
	s := NewSender(SenderConfig{
		Session:  Session{Source: simSrc.Addr(), Group: netip.MustParseAddr("232.1.2.3"), Port: 5000},
		FirstTSI: 59571175,
	})
	r := newPlainReceiver(t)
	now := simStart
	run := func(d time.Duration) {
		for end := now.Add(d); ; {
			s.RunWork(now)
			for {
				pkt, ok := s.Poll(now, nil)
				if !ok {
					break
				}
				r.push(pkt)
			}
			next := s.NextTimeout(now)
			if next.IsZero() || next.After(end) {
				now = end
				return
			}
			now = next
		}
	}
	sent := map[string][]string{}
	seed := uint64(0)
	send := func(out Outgoing, chunks int, pause time.Duration) {
		tx, err := s.Begin(now, out)
		require.NoError(t, err)
		var all []byte
		for range chunks {
			seed++
			b := randomBytes(seed, 700+int(seed*977%4000))
			all = append(all, b...)
			require.NoError(t, tx.Append(now, b))
			if pause > 0 {
				tx.Cut()
				run(pause)
			}
		}
		require.NoError(t, tx.End(now))
		sent[out.Name] = append(sent[out.Name], string(all))
	}
	var mpds []string
	manifest := func(kind, name string, n int) {
		body := fmt.Sprintf("%s %d\n", name, n)
		require.NoError(t, s.SetManifest(now, sls.Part{
			ContentType: kind, Location: name, Generation: uint64(n), Body: []byte(body),
		}))
		if kind == sls.MediaTypeDASH {
			mpds = append(mpds, body)
		}
	}

	n := 0
	for encoder := range uint64(2) {
		send(Outgoing{Name: "init-stream0.m4s", Generation: encoder, ContentType: "video/mp4", Carousel: true}, 1, time.Millisecond)
		for i := range 6 {
			n++
			send(media(i+1, 1000+encoder), 50, 40*time.Millisecond) // in chunks as they are made
			whole := media(i+1, 1000+encoder)
			whole.Name = fmt.Sprintf("chunk-stream1-%05d.m4s", i+1)
			whole.Track.Stem, whole.Track.Kind = "chunk-stream1-$TOI%05d$.m4s", Audio
			send(whole, 3, 0)
			send(Outgoing{Name: fmt.Sprintf("poster%d.jpg", n), Generation: 1, ContentType: "image/jpeg"}, 2, 0)
			// Playlists of HLS come first here, and must not in the package.
			manifest(sls.MediaTypeHLS, "a.m3u8", n)
			if n > 1 {
				manifest(sls.MediaTypeDASH, "b.mpd", n)
			}
			run(20 * time.Millisecond)
		}
	}
	run(time.Second)
	require.Equal(t, sent, r.files)
	require.Equal(t, append([]string{"a.m3u8 1\n"}, mpds...), slices.Compact(r.manifests), "HLS while there is no other")
	require.Equal(t, []string{
		"application/mbms-envelope+xml", sls.MediaTypeSTSID, sls.MediaTypeDASH, sls.MediaTypeHLS,
	}, r.partTypes)
	require.Equal(t, 14, r.closing, "objects whose octets had left before their length was known")
	require.NotZero(t, r.repair)
	require.NotZero(t, r.growing)
	require.NotZero(t, r.repeats)

	// Versions of the package wrap, and none is passed over.
	for range 300 {
		n++
		manifest(sls.MediaTypeDASH, "b.mpd", n)
		run(20 * time.Millisecond)
	}
	require.Equal(t, mpds[len(mpds)-300:], r.manifests[len(r.manifests)-300:])
}
