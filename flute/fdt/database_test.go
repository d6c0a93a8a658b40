package fdt_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/ntp"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// doc is an instance that is valid for so long; for ever if that is negative.
func doc(t *testing.T, valid time.Duration, change func(*fdt.Instance), files ...fdt.File) []byte {
	t.Helper()
	in := fdt.Instance{Version: 1, Expires: ntp.Seconds(noon.Add(valid)), Files: files}
	if valid < 0 {
		in.Expires = 0xffffffff
	}
	if change != nil {
		change(&in)
	}
	b, err := in.Append(nil)
	require.NoError(t, err)
	return b
}

func file(toi uint64, location string, length uint64) fdt.File {
	return fdt.File{TOI: toi, ContentLocation: location, ContentLength: length, HasContentLength: true}
}

// told is changes in short.
func told(changes []fdt.Change) (s []string) {
	for _, c := range changes {
		s = append(s, fmt.Sprintf("%v %d %s", c.Kind, c.Entry.File.TOI, c.Entry.File.ContentLocation))
	}
	return s
}

func TestDatabase(t *testing.T) {
	var db fdt.Database
	add := func(at time.Duration, id uint32, b []byte) []string {
		t.Helper()
		changes, err := db.Add(noon.Add(at), id, b)
		require.NoError(t, err)
		return told(changes)
	}
	first := doc(t, time.Minute, nil, file(1, "a", 10), file(2, "b", 20))
	require.Equal(t, []string{"added 1 a", "added 2 b"}, add(0, 0, first))
	require.Empty(t, add(time.Second, 0, first), "sent again")

	// What comes later may add, and make the file valid for longer.
	more := file(1, "a", 10)
	more.ContentMD5 = []byte("0123456789abcdef")
	require.Equal(t, []string{"augmented 1 a"}, add(2*time.Second, 1, doc(t, 2*time.Minute, nil, more)))
	require.Equal(t, []string{"augmented 1 a"}, add(3*time.Second, 2, doc(t, 90*time.Second, nil, file(1, "a", 10))))
	e, ok := db.File(noon.Add(3*time.Second), 1)
	require.True(t, ok)
	require.Equal(t, more.ContentMD5, e.File.ContentMD5)
	require.Equal(t, noon.Add(2*time.Minute), e.Expires)
	require.Equal(t, uint32(2), e.InstanceID)

	require.Equal(t, noon.Add(time.Minute), db.NextExpiry())
	require.Empty(t, db.Expire(noon.Add(59*time.Second)))
	require.Equal(t, []string{"expired 2 b"}, told(db.Expire(noon.Add(time.Minute))))
	_, ok = db.File(noon.Add(time.Minute), 2)
	require.False(t, ok)
	_, ok = db.File(noon.Add(2*time.Minute), 1)
	require.False(t, ok, "expired without Expire, too")
	require.Equal(t, []string{"expired 1 a"}, told(db.Expire(noon.Add(2*time.Minute))))
	require.Zero(t, db.NextExpiry())
	require.Zero(t, db.Len())

	_, err := db.Add(noon.Add(time.Minute), 3, first)
	require.ErrorIs(t, err, fdt.ErrExpired)
	_, err = db.Add(noon, 3, []byte("<x/>"))
	require.ErrorIs(t, err, fdt.ErrRoot)
}

func TestDatabaseReusedID(t *testing.T) {
	var db fdt.Database
	_, err := db.Add(noon, 7, doc(t, time.Minute, nil, file(1, "a", 10)))
	require.NoError(t, err)
	other := doc(t, time.Hour, nil, file(1, "new", 30))
	_, err = db.Add(noon.Add(time.Second), 7, other)
	require.ErrorIs(t, err, fdt.ErrReused)
	db.Seen(noon.Add(time.Second), 7)
	_, err = db.Add(noon.Add(5*time.Second), 7, other)
	require.ErrorIs(t, err, fdt.ErrReused)

	// A sender that begins anew does not send the old one.
	changes, err := db.Add(noon.Add(6*time.Second), 7, other)
	require.NoError(t, err)
	require.Equal(t, []string{"replaced 1 new"}, told(changes))
	_, ok := db.Location(noon.Add(6*time.Second), "a")
	require.False(t, ok)

	// An ID is free when its instance has expired.
	var short fdt.Database
	_, err = short.Add(noon, 7, doc(t, time.Second, nil, file(1, "a", 10)))
	require.NoError(t, err)
	changes, err = short.Add(noon.Add(time.Second), 7, other)
	require.NoError(t, err)
	require.Equal(t, []string{"added 1 new"}, told(changes))
}

func TestDatabaseContradiction(t *testing.T) {
	for name, change := range map[string]func(*fdt.File){
		"location": func(f *fdt.File) { f.ContentLocation = "evil" },
		"length":   func(f *fdt.File) { f.ContentLength++ },
		"transfer": func(f *fdt.File) { f.TransferLength, f.HasTransferLength = 5, true },
		"MD5":      func(f *fdt.File) { f.ContentMD5 = []byte("fedcba9876543210") },
		"encoding": func(f *fdt.File) { f.ContentEncoding = "deflate" },
		"ETag":     func(f *fdt.File) { f.ETag = "y" },
		"scheme":   func(f *fdt.File) { f.FEC.EncodingID = 1 },
		"symbol":   func(f *fdt.File) { f.FEC.EncodingSymbolLength = 9 },
		"block":    func(f *fdt.File) { f.FEC.MaxSourceBlockLength = 9 },
		"specific": func(f *fdt.File) { f.FEC.SchemeSpecific = []byte{9} },
		"digest":   func(f *fdt.File) { f.ContentDigest.SHA256 = make([]byte, 32) },
	} {
		t.Run(name, func(t *testing.T) {
			f := fdt.File{
				TOI: 1, ContentLocation: "a", ContentLength: 10, HasContentLength: true, TransferLength: 8, HasTransferLength: true,
				ContentMD5: []byte("0123456789abcdef"), ContentEncoding: "gzip", ETag: "x",
				FEC:           fdt.FEC{HasEncodingID: true, EncodingID: 6, EncodingSymbolLength: 8, MaxSourceBlockLength: 1, SchemeSpecific: []byte{1}},
				ContentDigest: fdt.ParseDigests("sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:"),
			}
			var db fdt.Database
			_, err := db.Add(noon, 1, doc(t, time.Minute, nil, f))
			require.NoError(t, err)
			forged := f
			change(&forged)
			changes, err := db.Add(noon, 2, doc(t, time.Hour, nil, forged, file(2, "b", 1)))
			require.ErrorIs(t, err, fdt.ErrContradiction)
			require.Equal(t, []string{"added 2 b"}, told(changes), "the rest is used")
			e, ok := db.File(noon, 1)
			require.True(t, ok)
			require.Equal(t, f, e.File)
		})
	}
}

// GPAC and ATEME write no true Expires. Then the newer instance wins, also across the wrap of its ID.
func TestDatabaseWithoutExpiry(t *testing.T) {
	var db fdt.Database
	for i, id := range []uint32{1<<20 - 2, 1<<20 - 1, 0, 1} {
		changes, err := db.Add(noon, id, doc(t, -1, nil, file(1, fmt.Sprint(i), 10)))
		require.NoError(t, err)
		require.Equal(t, "1 "+fmt.Sprint(i), told(changes)[0][len(told(changes)[0])-3:])
	}
	_, err := db.Add(noon, 1<<20-3, doc(t, -1, nil, file(1, "old", 10)))
	require.ErrorIs(t, err, fdt.ErrContradiction)
	require.Zero(t, db.NextExpiry())
}

// Of two objects of one name the one in the higher instance is the newer (RFC 6726 section 3.4.2).
func TestDatabaseLocation(t *testing.T) {
	var db fdt.Database
	for _, c := range []struct {
		id   uint32
		toi  uint64
		want uint64
	}{{1<<20 - 1, 9, 9}, {2, 3, 3}, {1, 5, 3}} {
		_, err := db.Add(noon, c.id, doc(t, time.Minute, nil, file(c.toi, "a", 1)))
		require.NoError(t, err)
		e, ok := db.Location(noon, "a")
		require.True(t, ok)
		require.Equal(t, c.want, e.File.TOI, "instance %d", c.id)
	}
	require.Equal(t, 3, db.Len())
	require.Equal(t, uint64(3), db.Files()[0].File.TOI)
}

func TestDatabaseFull(t *testing.T) {
	var db fdt.Database
	_, err := db.Add(noon, 1, doc(t, time.Minute, nil, file(1, "a", 1), file(2, "b", 1)))
	require.NoError(t, err)
	changes, err := db.Add(noon, 2, doc(t, time.Minute, func(in *fdt.Instance) { in.FullFDT = true }, file(2, "b", 1), file(3, "c", 1)))
	require.NoError(t, err)
	require.Equal(t, []string{"augmented 2 b", "added 3 c", "removed 1 a"}, told(changes))
	require.False(t, db.Complete())
	changes, err = db.Add(noon, 3, doc(t, time.Minute, func(in *fdt.Instance) { in.Complete = true }, file(3, "c", 1)))
	require.NoError(t, err)
	require.Equal(t, []string{"augmented 3 c"}, told(changes))
	require.True(t, db.Complete())

	// An older one that comes late takes nothing away.
	_, err = db.Add(noon, 0, doc(t, time.Minute, func(in *fdt.Instance) { in.FullFDT = true }, file(9, "z", 1)))
	require.NoError(t, err)
	require.Equal(t, 3, db.Len())
}

func TestDatabaseBounds(t *testing.T) {
	db := fdt.Database{MaxFiles: 32}
	for i := range uint64(1000) {
		_, err := db.Add(noon.Add(time.Duration(i)*time.Millisecond), uint32(i), doc(t, -1, nil, file(i+1, fmt.Sprint(i), 1)))
		require.NoError(t, err)
		require.LessOrEqual(t, db.Len(), 32)
	}
	_, ok := db.File(noon, 1000)
	require.True(t, ok, "the newest is there")
	var many []fdt.File
	for i := range uint64(100) {
		many = append(many, file(i+2000, fmt.Sprint(i), 1))
	}
	changes, err := db.Add(noon.Add(time.Minute), 5000, doc(t, -1, nil, many...))
	require.ErrorIs(t, err, fdt.ErrFull)
	require.Len(t, changes, 32)
	for i := range uint32(10000) {
		_, err := db.Add(noon, i+6000, doc(t, time.Hour, nil, file(uint64(i+1), "x", 1)))
		require.NoError(t, err)
	}
}

// The vectors of the NTP era: a session that starts on the day of its end, and one in the next.
func TestDatabaseEras(t *testing.T) {
	var db fdt.Database
	now := time.Date(2036, 2, 8, 12, 0, 0, 0, time.UTC)
	_, err := db.Add(now, 0, []byte(`<FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="149504"><File TOI="1" Content-Location="a"/></FDT-Instance>`))
	require.NoError(t, err)
	require.Equal(t, time.Date(2036, 2, 9, 0, 0, 0, 0, time.UTC), db.NextExpiry())
	_, err = db.Add(now, 1, []byte(`<FDT-Instance xmlns="urn:ietf:params:xml:ns:fdt" Expires="4294940000"><File TOI="1" Content-Location="a"/></FDT-Instance>`))
	require.ErrorIs(t, err, fdt.ErrExpired, "on the day before")
}
