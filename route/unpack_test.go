package route

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// readBody reads what has come of a body.
func readBody(b *Body) (out []byte, err error) {
	for {
		p, err := b.Next()
		if err != nil {
			return out, err
		}
		out = append(out, p...)
	}
}

// A media segment in Entity Mode, in HTTP chunks with digests as in DVB, is read while it is sent, at 10 % loss.
func TestEntityOfATrack(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{Unpack: true})
	s.drop = lossy(3, 0.1)
	s.keep = true
	var object *Object
	var body *Body
	var got, want []byte
	var digests []string
	s.onEvent = func(ev Event) {
		if ev.Kind != Progress && ev.Kind != Complete || ev.Object.Header() == nil {
			return
		}
		if body == nil {
			var err error
			object = ev.Object
			body, err = object.Body()
			require.NoError(t, err)
			body.Decoder().Chunk = func(size int64, extensions string) { digests = append(digests, extensions) }
		}
		p, err := readBody(body)
		got = append(got, p...)
		if err != io.EOF {
			require.ErrorIs(t, err, ErrNotHeld)
		}
		require.Equal(t, ev.Kind == Complete, err == io.EOF)
	}
	out := media(1, 7)
	out.Format = sls.FormatEntity
	out.Header = []entity.Field{{Name: "ETag", Value: `"x"`}}
	tx, err := s.snd.Begin(s.now, out)
	require.NoError(t, err)
	for i := range 25 {
		b := randomBytes(uint64(i), 12_000)
		want = append(want, b...)
		require.NoError(t, tx.AppendChunk(s.now, b, `chunk-content-digest="sha-256=:AA==:"`))
		tx.Cut()
		s.run(40 * time.Millisecond)
		if i == 12 {
			require.Greater(t, len(got), 100_000, "it is read while it grows")
		}
	}
	require.NoError(t, tx.SetTrailer(entity.Field{Name: "Repr-Digest", Value: "sha-256=:BB==:"}))
	require.NoError(t, tx.End(s.now))
	s.run(time.Second)
	require.True(t, bytes.Equal(want, got))
	require.Equal(t, out.Name, object.Name())
	require.Equal(t, out.Name, object.Header().Get("Content-Location"))
	require.Equal(t, "video/mp4", object.Header().Get("Content-Type"))
	require.Equal(t, `"x"`, object.Header().Get("ETag"))
	require.True(t, object.Header().Chunked)
	require.Equal(t, "sha-256=:BB==:", body.Decoder().Trailer()[0].Value)
	require.Len(t, digests, 26)
	require.Equal(t, sls.CPMediaEntity, int(object.cp))
}

func TestEntityAsFile(t *testing.T) {
	s := newSim(t, SenderConfig{}, ReceiverConfig{Unpack: true})
	s.keep = true
	complete := map[string]*Object{}
	s.onEvent = func(ev Event) {
		if ev.Kind == Complete {
			complete[ev.Object.Name()] = ev.Object
		}
	}
	want := randomBytes(1, 5000)
	tx := s.sendWhole(Outgoing{Name: "a.bin", Format: sls.FormatEntity, ContentType: "application/x"}, want)
	require.ErrorIs(t, tx.SetTrailer(), errChunks)
	empty, err := s.snd.Begin(s.now, Outgoing{Name: "empty", Format: sls.FormatEntity})
	require.NoError(t, err)
	require.NoError(t, empty.End(s.now))
	s.sendWhole(Outgoing{Name: "file"}, want)
	s.run(time.Second)
	require.Len(t, complete, 3)
	body, err := complete["a.bin"].Body()
	require.NoError(t, err)
	got, err := readBody(body)
	require.Equal(t, io.EOF, err)
	require.True(t, bytes.Equal(want, got))
	require.Equal(t, int64(5000), complete["a.bin"].Header().Length)
	body, err = complete["empty"].Body()
	require.NoError(t, err)
	_, err = body.Next()
	require.Equal(t, io.EOF, err)
	_, err = complete["file"].Body()
	require.Equal(t, ErrNoEntity, err)

	for _, out := range []Outgoing{
		{Name: "x", Format: 9},
		{Name: "x", Format: sls.FormatPackage, Track: Track{Stem: "x"}},
		{Name: "x", Format: sls.FormatEntity, Header: []entity.Field{{Name: "a b", Value: "c"}}},
	} {
		_, err := s.snd.Begin(s.now, out)
		require.Error(t, err)
	}
}

// Packages come out as their parts; those that are signed, if the signature is good.
func TestPackagesOfFiles(t *testing.T) {
	parts := []sls.Part{
		{ContentType: "text/html", Location: "app/index.html", Body: []byte("<p>")},
		{ContentType: "image/png", Location: "app/a.png", Body: randomBytes(1, 30_000)},
	}
	refused := errors.New("refused")
	for _, c := range []struct {
		name   string
		sign   SignFunc
		verify func(entity.Signed) error
		format uint8
		parts  int
	}{
		{name: "unsigned", format: sls.FormatPackage, parts: 2},
		{name: "signed", format: sls.FormatSignedPackage, parts: 2,
			sign: func(b []byte) ([]byte, string, error) { return b[:10], "sha-256", nil },
			verify: func(s entity.Signed) error {
				require.Equal(t, s.Content[:10], s.Signature)
				require.Equal(t, "sha-256", s.Algorithm)
				return nil
			}},
		{name: "signed by somebody else", format: sls.FormatSignedPackage,
			sign:   func(b []byte) ([]byte, string, error) { return []byte{1}, "sha-256", nil },
			verify: func(entity.Signed) error { return refused }},
		{name: "signature is not looked at", format: sls.FormatSignedPackage, parts: 2,
			sign: func(b []byte) ([]byte, string, error) { return []byte{1}, "sha-256", nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSim(t, SenderConfig{}, ReceiverConfig{Unpack: true, VerifyPackage: c.verify})
			var got []sls.Part
			var fault error
			complete := false
			s.onEvent = func(ev Event) {
				switch ev.Kind {
				case Unpacked:
					require.False(t, complete)
					require.Equal(t, c.format, ev.Object.Format())
					got = append(got, ev.Part)
				case Complete:
					complete = true
				case Faulty:
					fault = ev.Fault.Err
				}
			}
			require.NoError(t, s.snd.SendPackage(s.now, Outgoing{Name: "app.pkg"}, parts, c.sign))
			s.run(time.Second)
			require.True(t, complete)
			require.Len(t, got, c.parts)
			if c.parts > 0 {
				require.NoError(t, fault)
				require.Equal(t, parts, got)
			} else {
				require.ErrorIs(t, fault, refused)
			}
		})
	}
	s := newSim(t, SenderConfig{}, ReceiverConfig{})
	require.ErrorIs(t, s.snd.SendPackage(s.now, Outgoing{Name: "x"}, parts, func([]byte) ([]byte, string, error) {
		return nil, "", refused
	}), refused)
}

// Without an EFDT, which Entity Mode and packages need not have, objects are known by what they hold.
func TestObjectsThatNameThemselves(t *testing.T) {
	h := newHand(t, ReceiverConfig{Unpack: true})
	bare := sls.LS{TSI: 10, SrcFlow: &sls.SrcFlow{Payloads: []sls.Payload{
		{Codepoint: 2, FormatID: 2, Order: true}, {Codepoint: 3, FormatID: 3, Order: true},
	}}}
	h.signal(bare)
	b := []byte("HTTP/1.1 200 OK\r\nContent-Location: a/b\r\nContent-Length: 3\r\n\r\nabc")
	h.ok(pk{tsi: 10, toi: 1, cp: 2, data: b[:30], tol: int64(len(b))})
	require.Empty(t, h.events(), "its header has not come")
	h.ok(pk{tsi: 10, toi: 1, cp: 2, off: 30, data: b[30:], tol: int64(len(b))})
	evs := h.events()
	require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
	require.Equal(t, "a/b", evs[0].Object.Name())
	require.Equal(t, 200, evs[0].Object.Header().Status)

	b = []byte("no header at all")
	h.ok(pk{tsi: 10, toi: 2, cp: 2, data: b, tol: int64(len(b))})
	evs = h.events()
	require.Equal(t, Faulty, evs[0].Kind)
	require.ErrorIs(t, evs[0].Fault.Err, io.ErrUnexpectedEOF)
	require.Equal(t, []EventKind{Started, Complete}, kinds(evs))
	_, err := evs[1].Object.Body()
	require.Equal(t, ErrNoEntity, err)

	pkg, err := (&sls.Package{NoEnvelope: true, Parts: []sls.Part{{ContentType: "a/b", Location: "l", Body: []byte("x")}}}).Append(nil)
	require.NoError(t, err)
	h.ok(pk{tsi: 10, toi: 3, cp: 3, data: pkg, tol: int64(len(pkg))})
	evs = h.events()
	require.Equal(t, []EventKind{Started, Unpacked, Complete}, kinds(evs))
	require.Equal(t, "l", evs[1].Part.Location)

	// A hole is asked for although the object has no name yet.
	h.ok(pk{tsi: 10, toi: 4, cp: 2, off: 50, data: []byte("end"), tol: 53})
	h.wait(time.Second)
	require.Equal(t, []EventKind{Started, NeedRepair, NeedRepair}, kinds(h.events())[:3])

	// As it was without Unpack.
	h = newHand(t, ReceiverConfig{})
	h.signal(bare)
	h.ok(pk{tsi: 10, toi: 3, cp: 3, data: pkg, tol: int64(len(pkg))})
	require.Empty(t, h.events())
}
