package repair

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeObject is an object with symbols of 100 octets in blocks of 10; symbols
// are recognisable, not RaptorQ.
type fakeObject struct {
	data      []byte
	prefix    int64 // of a growing object
	growing   bool
	etag      string
	name      string
	failAt    int64 // ReadAt from here on fails, unless 0
	failESI   uint32
	nextFresh atomic.Uint32
	closed    atomic.Int32
}

const (
	fakeSymbol = 100
	fakeBlock  = 10
)

func newFakeObject(size int) *fakeObject {
	o := &fakeObject{data: make([]byte, size), etag: `"0000000000000001"`, name: "live/seg-1.m4s"}
	for i := range o.data {
		o.data[i] = byte(i * 7 >> 3)
	}
	o.nextFresh.Store(1000)
	return o
}

func (o *fakeObject) Info() Info {
	info := Info{Name: o.name, ContentType: "video/mp4", ETag: o.etag, Prefix: int64(len(o.data)), Length: int64(len(o.data))}
	if o.growing {
		info.Prefix, info.Length = o.prefix, -1
	}
	return info
}

var errFake = errors.New("the disk broke")

func (o *fakeObject) ReadAt(b []byte, offset int64) (int, error) {
	if o.failAt > 0 && offset+int64(len(b)) > o.failAt {
		return 0, errFake
	}
	if offset >= int64(len(o.data)) {
		return 0, io.EOF
	}
	n := copy(b, o.data[offset:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (o *fakeObject) Close() error {
	o.closed.Add(1)
	return nil
}

// symbolObject adds symbols to a fakeObject.
type symbolObject struct{ *fakeObject }

func (o symbolObject) OTI() OTI {
	var oti OTI
	binary.BigEndian.PutUint16(oti[6:], fakeSymbol)
	oti[11] = 4
	return oti
}

func (o symbolObject) Scheme() Scheme { return Scheme{EncodingID: RaptorQ, SymbolSize: fakeSymbol} }

func (o symbolObject) SourceSymbols(sbn uint16) (int, error) {
	start := int64(sbn) * fakeBlock * fakeSymbol
	switch info := o.Info(); {
	case start >= int64(len(o.data)):
		return 0, ErrUnknown
	case start+fakeBlock*fakeSymbol > info.Prefix && info.Length < 0:
		return 0, ErrNotReady
	default:
		return int(min(fakeBlock, (info.Prefix-start+fakeSymbol-1)/fakeSymbol)), nil
	}
}

func (o symbolObject) FreshESI(_ uint16, n int) (uint32, error) {
	return o.nextFresh.Add(uint32(n)) - uint32(n), nil
}

func (o symbolObject) AppendSymbol(dst []byte, sbn uint16, esi uint32) ([]byte, error) {
	if o.failESI > 0 && esi >= o.failESI {
		return dst, errFake
	}
	return append(dst, fakeSymbolData(sbn, esi)...), nil
}

func fakeSymbolData(sbn uint16, esi uint32) []byte {
	b := make([]byte, fakeSymbol)
	copy(b, fmt.Sprintf("block %d symbol %d", sbn, esi))
	return b
}

// fakeBackend serves objects by id and name, or an error.
type fakeBackend struct {
	mu     sync.Mutex
	byID   map[ObjectID]Object
	byName map[string]Object
	err    error
	hook   func(ctx context.Context) error
}

func (b *fakeBackend) Lookup(ctx context.Context, id ObjectID) (Object, error) {
	return b.find(ctx, b.byID[id])
}

func (b *fakeBackend) LookupName(ctx context.Context, name string) (Object, error) {
	return b.find(ctx, b.byName[name])
}

func (b *fakeBackend) find(ctx context.Context, object Object) (Object, error) {
	if b.hook != nil {
		if err := b.hook(ctx); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.err != nil:
		return nil, b.err
	case object == nil:
		return nil, ErrUnknown
	}
	return object, nil
}

func (b *fakeBackend) fail(err error) {
	b.mu.Lock()
	b.err = err
	b.mu.Unlock()
}

// serving returns a backend with one object, under testID and its name.
func serving(o *fakeObject) *fakeBackend {
	object := symbolObject{o}
	return &fakeBackend{byID: map[ObjectID]Object{testID: object}, byName: map[string]Object{o.name: object}}
}
