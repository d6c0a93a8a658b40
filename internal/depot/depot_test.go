package depot

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/route"
)

var session = route.Session{
	Source: netip.MustParseAddr("192.0.2.1"), Group: netip.MustParseAddr("232.1.2.3"), Port: 6000,
}

// onAir is a route.Sender without a socket.
type onAir struct{ *route.Sender }

func (onAir) Session() route.Session { return session }

// newServer sends one object and serves repair for it.
func newServer(t *testing.T) (url string, body []byte, id repair.ObjectID, s *route.Sender) {
	t.Helper()
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	body = make([]byte, 50_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(body)
	key := cache.Key{Service: "live", Name: "seg-00007.m4s"}
	_, err = store.Put(key, cache.Meta{Generation: 40}, body)
	require.NoError(t, err)

	now := time.Unix(1_800_000_000, 0)
	s = route.NewSender(route.SenderConfig{Session: session})
	tx, err := s.Begin(now, route.Outgoing{
		Name: key.Name, Generation: 40, Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: 7, Run: 40},
	})
	require.NoError(t, err)
	require.NoError(t, tx.Append(now, body))
	require.NoError(t, tx.End(now))
	s.RunWork(now)
	id = repair.ObjectID{
		Session: repair.Session{Source: session.Source, Group: session.Group, Port: session.Port},
		TSI:     uint64(tx.TSI()), TOI: uint64(tx.TOI()),
	}
	d := New(store)
	d.Add(Outlet{Service: "live", Sender: onAir{s}})
	srv := httptest.NewServer(&repair.Handler{Backend: d})
	t.Cleanup(srv.Close)
	return srv.URL, body, id, s
}

func newClient(t *testing.T, url string) *repair.Client {
	t.Helper()
	c, err := repair.NewClient(repair.Config{Parents: []repair.Parent{{URL: url}}})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestOctets(t *testing.T) {
	url, body, id, _ := newServer(t)
	a, err := newClient(t, url).Fetch(t.Context(), repair.Request{
		ID: id, Ranges: []repair.Range{{Start: 100, End: 200}, {Start: 49_000, End: repair.ToEnd}}, ETag: `"0000000000000028"`,
	})
	require.NoError(t, err)
	require.EqualValues(t, len(body), a.Length)
	for _, p := range a.Parts {
		require.Equal(t, body[p.Offset:p.Offset+int64(len(p.Data))], p.Data)
	}
}

func TestAnotherGenerationIsRefused(t *testing.T) {
	url, _, id, _ := newServer(t)
	_, err := newClient(t, url).Fetch(t.Context(), repair.Request{
		ID: id, Ranges: []repair.Range{{Start: 0, End: 10}}, ETag: `"0000000000000027"`,
	})
	require.ErrorIs(t, err, repair.ErrChanged)
}

func TestUnknown(t *testing.T) {
	url, _, id, _ := newServer(t)
	c := newClient(t, url)
	for name, change := range map[string]func(*repair.ObjectID){
		"object":  func(i *repair.ObjectID) { i.TOI = 8 },
		"channel": func(i *repair.ObjectID) { i.TSI++ },
		"session": func(i *repair.ObjectID) { i.Session.Port++ },
		"wide":    func(i *repair.ObjectID) { i.TOI |= 1 << 32 },
	} {
		other := id
		change(&other)
		_, err := c.Fetch(t.Context(), repair.Request{ID: other, Ranges: []repair.Range{{Start: 0, End: 10}}})
		require.ErrorIs(t, err, repair.ErrUnknown, name)
	}
}

// TestFreshSymbolsDecode asks for symbols that nobody got, and decodes the object from them alone.
func TestFreshSymbolsDecode(t *testing.T) {
	url, body, id, s := newServer(t)
	c := newClient(t, url)
	info, ok := s.Lookup(uint32(id.TSI), uint32(id.TOI))
	require.True(t, ok)
	require.EqualValues(t, 1, info.OTI.SourceBlocks)
	k, _, _ := info.OTI.Block(0)
	d, err := raptorq.NewDecoder(k, int(info.OTI.SymbolSize))
	require.NoError(t, err)
	seen := make(map[uint32]bool)
	for !d.Decode() {
		a, err := c.FetchSymbols(t.Context(), repair.SymbolRequest{ID: id, Blocks: []repair.BlockSymbols{{SBN: 0, Count: max(1, d.Need()/2)}}})
		require.NoError(t, err)
		oti, err := fec.ParseOTI(a.OTI[:])
		require.NoError(t, err)
		require.Equal(t, info.OTI, oti)
		for _, x := range a.Symbols {
			require.GreaterOrEqual(t, x.ESI, info.NextESI, "was sent by multicast")
			require.False(t, seen[x.ESI], "was given out before")
			seen[x.ESI] = true
			_, err := d.Add(x.ESI, x.Data)
			require.NoError(t, err)
		}
	}
	var got []byte
	for i := range k {
		got = append(got, d.Symbol(i)...)
	}
	require.Equal(t, body, got[:len(body)])
}

// TestBlocks compares the source symbols of an object of several blocks with its super-object.
func TestBlocks(t *testing.T) {
	for _, size := range []int{50_000, 49_996, 1, 1400 * 16, 1400*16 - 4, 1400*16 - 2} {
		store, err := cache.Open(cache.Config{})
		require.NoError(t, err)
		defer store.Close()
		body := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{2}).Read(body)
		key := cache.Key{Service: "live", Name: "a/b.bin"}
		_, err = store.Put(key, cache.Meta{Generation: 4, ContentType: "video/mp4"}, body)
		require.NoError(t, err)
		oti, err := route.RepairOTI(int64(size), 1400, 8)
		require.NoError(t, err)
		d := New(store)
		o, ok := store.Lookup(key)
		require.True(t, ok)
		x, err := open(d, o, route.Lookup{Name: key.Name, Generation: 4, Length: int64(size), Repair: true, OTI: oti, NextESI: 20})
		require.NoError(t, err)
		source := x.(repair.RatelessSource)
		var got []byte
		for sbn := range uint16(oti.SourceBlocks) {
			k, err := source.SourceSymbols(sbn)
			require.NoError(t, err)
			for esi := range k {
				got, err = source.AppendSymbol(got, sbn, uint32(esi))
				require.NoError(t, err)
			}
		}
		require.Equal(t, route.AppendSuperObject(nil, body, 1400), got, size)
		for i, want := range []uint32{20, 20 + 1<<23, 20} { // the third time there are none left
			first, err := source.FreshESI(0, 1<<23-20)
			require.NoError(t, err)
			if i == 1 {
				want -= 20
			}
			require.Equal(t, want, first)
		}
		_, err = source.FreshESI(0, 1<<24)
		require.ErrorIs(t, err, repair.ErrNoSymbols)
		_, err = source.SourceSymbols(uint16(oti.SourceBlocks))
		require.ErrorIs(t, err, repair.ErrUnknown)
		_, err = source.AppendSymbol(nil, 256, 0)
		require.ErrorIs(t, err, repair.ErrUnknown)

		named, err := d.LookupName(t.Context(), "live/a/b.bin")
		require.NoError(t, err)
		require.Equal(t, repair.Info{Name: "live/a/b.bin", ContentType: "video/mp4", ETag: x.Info().ETag, Prefix: int64(size), Length: int64(size)}, named.Info())
		require.NoError(t, named.(io.Closer).Close())
		for _, name := range []string{"live", "live/b.bin", "other/a/b.bin"} {
			_, err = d.LookupName(t.Context(), name)
			require.ErrorIs(t, err, repair.ErrUnknown)
		}
		require.NoError(t, x.(io.Closer).Close())
	}
}

// TestCountersOutliveEncoders: what was given out is known also when the encoder had to go for others.
func TestCountersOutliveEncoders(t *testing.T) {
	var s encoders
	first := blockKey{generation: 1}
	s.counter(first, 100).Add(5)
	e := s.get(first, maxOctets/4)
	require.Same(t, e, s.get(first, maxOctets/4))
	for g := range uint64(4) {
		s.get(blockKey{generation: g + 2}, maxOctets/4)
	}
	require.NotSame(t, e, s.get(first, maxOctets/4))
	require.LessOrEqual(t, s.octets, int64(maxOctets))
	require.EqualValues(t, 105, s.counter(first, 100).Load())
	huge := s.get(blockKey{generation: 9}, 2*maxOctets)
	require.Same(t, huge, s.get(blockKey{generation: 9}, 2*maxOctets), "the one in use stays")
	require.Len(t, s.blocks, 1)
	for g := range uint64(maxCounters + 10) {
		s.counter(blockKey{generation: g + 10}, 0)
	}
	require.Len(t, s.counters, maxCounters)
	require.Equal(t, maxCounters, s.counted.Len())
}

func TestGrowingObject(t *testing.T) {
	store, err := cache.Open(cache.Config{})
	require.NoError(t, err)
	defer store.Close()
	w, err := store.Create(cache.Key{Service: "live", Name: "seg-00001.m4s"}, cache.Meta{Generation: 3})
	require.NoError(t, err)
	_, err = w.Write([]byte("0123456789"))
	require.NoError(t, err)
	now := time.Unix(1_800_000_000, 0)
	s := route.NewSender(route.SenderConfig{Session: session})
	tx, err := s.Begin(now, route.Outgoing{Name: "seg-00001.m4s", Track: route.Track{Stem: "seg-$TOI%05d$.m4s", Number: 1, Run: 3}})
	require.NoError(t, err)
	d := New(store)
	air := onAir{s}
	d.Add(Outlet{Service: "live", Sender: air})
	id := repair.ObjectID{Session: repair.Session(session), TSI: uint64(tx.TSI()), TOI: 1}
	o, err := d.Lookup(context.Background(), id)
	require.NoError(t, err)
	require.Equal(t, repair.Info{Name: "seg-00001.m4s", ETag: `"0000000000000003"`, Prefix: 10, Length: -1}, o.Info())
	b := make([]byte, 4)
	_, err = o.ReadAt(b, 6)
	require.NoError(t, err)
	require.Equal(t, "6789", string(b))
	_, err = o.(repair.SymbolSource).AppendSymbol(nil, 0, 0)
	require.ErrorIs(t, err, repair.ErrNotReady)
	require.NoError(t, o.(io.Closer).Close())
	d.Remove(air)
	_, err = d.Lookup(context.Background(), id)
	require.ErrorIs(t, err, repair.ErrUnknown)
}
