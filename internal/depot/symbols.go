package depot

import (
	"container/list"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/treedn/treedn/cache"
	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
	"github.com/treedn/treedn/flute/repair"
)

// The methods below make object a repair.RatelessSource.

func (x *object) OTI() (oti repair.OTI) {
	fec.AppendOTI(oti[:0], x.info.OTI)
	return oti
}

func (x *object) Scheme() repair.Scheme {
	return repair.Scheme{EncodingID: repair.RaptorQ, SymbolSize: int(x.info.OTI.SymbolSize)}
}

// block returns the source symbols of a block and its octets in the super-object.
func (x *object) block(sbn uint16) (k int, off, n uint64, err error) {
	if !x.info.Repair {
		return 0, 0, 0, repair.ErrNotReady
	}
	if sbn > 255 || uint8(sbn) >= x.info.OTI.SourceBlocks {
		return 0, 0, 0, repair.ErrUnknown
	}
	k, off, n = x.info.OTI.Block(uint8(sbn))
	return k, off, n, nil
}

func (x *object) SourceSymbols(sbn uint16) (int, error) {
	k, _, _, err := x.block(sbn)
	return k, err
}

func (x *object) key(sbn uint16) blockKey {
	return blockKey{x.o.Key(), x.info.Generation, x.info.OTI, uint8(sbn)}
}

func (x *object) FreshESI(sbn uint16, n int) (uint32, error) {
	if _, _, _, err := x.block(sbn); err != nil {
		return 0, err
	}
	next := x.depot.encoders.counter(x.key(sbn), x.info.NextESI)
	for {
		was := next.Load()
		first := was
		if n < 0 || uint64(x.info.NextESI)+uint64(n) > 1<<24 {
			return 0, repair.ErrNoSymbols // there are not so many
		}
		if uint64(first)+uint64(n) > 1<<24 {
			first = x.info.NextESI // all are used up: who got the first ones is long served
		}
		if next.CompareAndSwap(was, first+uint32(n)) {
			return first, nil
		}
	}
}

func (x *object) AppendSymbol(dst []byte, sbn uint16, esi uint32) ([]byte, error) {
	_, off, n, err := x.block(sbn)
	if err != nil {
		return dst, err
	}
	e := x.depot.encoders.get(x.key(sbn), int64(n))
	enc, err := e.encoder(func() ([]byte, error) { return x.readBlock(off, n) }, int(x.info.OTI.SymbolSize))
	if err != nil {
		return dst, err
	}
	return enc.AppendSymbol(dst, esi), nil
}

// lengthField is the size of the last field of a super-object: the length of the object (RFC 9223 section 5.6).
const lengthField = 4

// readBlock reads octets of the super-object: the object, zeros, and its length. Only the block is read, so that the memory
// for an object of many blocks is that of one.
func (x *object) readBlock(off, n uint64) ([]byte, error) {
	block := make([]byte, n)
	length := uint64(x.info.Length)
	if off < length {
		part := block[:min(n, length-off)]
		if read, err := x.ReadAt(part, int64(off)); read < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = repair.ErrExpired
			}
			return nil, err
		}
	}
	if end := x.info.OTI.TransferLength; off+n >= end { // what lies beyond is padding of the last symbol
		var field [lengthField]byte
		binary.BigEndian.PutUint32(field[:], uint32(length))
		for i, b := range field {
			if at := end - lengthField + uint64(i); at >= off && at < off+n {
				block[at-off] = b
			}
		}
	}
	return block, nil
}

// blockKey names a source block of one generation of an object.
type blockKey struct {
	key        cache.Key
	generation uint64
	oti        fec.OTI
	sbn        uint8
}

// encoders keeps blocks ready for further symbols, and which symbols of a block were given out. The zero value is empty.
type encoders struct {
	codec raptorq.Codec

	mu       sync.Mutex // guards below
	blocks   map[blockKey]*list.Element
	recent   list.List // of *encoder, the one last used in front
	octets   int64
	counters map[blockKey]*list.Element
	counted  list.List // of *counted, the newest in front
}

const (
	// maxOctets bounds the source octets of the blocks that stay ready; an encoder holds about twice as much.
	maxOctets = 64 << 20
	// maxCounters bounds the blocks of which it is known what was given out. They outlive their encoders by far: a symbol
	// that is given out twice is worth nothing to whom it helped before.
	maxCounters = 1 << 14
)

type encoder struct {
	key    blockKey
	octets int64
	codec  *raptorq.Codec

	mu  sync.Mutex // guards below
	enc *raptorq.Encoder
}

// encoder sets the encoder up if that is still to be done; a failure is not kept.
func (e *encoder) encoder(read func() ([]byte, error), symbolSize int) (*raptorq.Encoder, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.enc != nil {
		return e.enc, nil
	}
	block, err := read()
	if err != nil {
		return nil, err
	}
	e.enc, err = e.codec.NewEncoder(block, symbolSize)
	return e.enc, err
}

// get returns the encoder of a block of n octets.
func (s *encoders) get(key blockKey, n int64) *encoder {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.blocks[key]; at != nil {
		s.recent.MoveToFront(at)
		return at.Value.(*encoder)
	}
	if s.blocks == nil {
		s.blocks = make(map[blockKey]*list.Element)
	}
	e := &encoder{key: key, octets: n, codec: &s.codec}
	s.blocks[key] = s.recent.PushFront(e)
	for s.octets += n; s.octets > maxOctets && s.recent.Len() > 1; {
		old := s.recent.Remove(s.recent.Back()).(*encoder)
		delete(s.blocks, old.key)
		s.octets -= old.octets
	}
	return e
}

type counted struct {
	key  blockKey
	next atomic.Uint32 // ESI that nobody got
}

// counter returns the first ESI that nobody got, which starts with first.
func (s *encoders) counter(key blockKey, first uint32) *atomic.Uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.counters[key]; at != nil {
		s.counted.MoveToFront(at)
		return &at.Value.(*counted).next
	}
	if s.counters == nil {
		s.counters = make(map[blockKey]*list.Element)
	}
	c := &counted{key: key}
	c.next.Store(first)
	s.counters[key] = s.counted.PushFront(c)
	if s.counted.Len() > maxCounters {
		delete(s.counters, s.counted.Remove(s.counted.Back()).(*counted).key)
	}
	return &c.next
}

var _ repair.RatelessSource = (*object)(nil)

var _ interface {
	repair.Object
	io.Closer
} = octets{}
