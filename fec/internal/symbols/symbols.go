// Package symbols hands out memory for the symbols of a block.
package symbols

// pieceSize is the size of a piece of memory in octets, if that holds a symbol and no
// more than the block has.
const pieceSize = 32 << 10

// Store hands out symbols from larger pieces of memory.
type Store struct {
	// Size is the length of a symbol in octets.
	Size int

	// Most is how many symbols a piece of memory should hold at most.
	Most int

	free []byte
}

// Next returns zeroed memory for one symbol.
func (s *Store) Next() []byte {
	if len(s.free) < s.Size {
		s.free = make([]byte, max(1, min(pieceSize/s.Size, s.Most))*s.Size)
	}
	b := s.free[:s.Size:s.Size]
	s.free = s.free[s.Size:]
	return b
}

// Keep returns a copy of a symbol, which may lack padding.
func (s *Store) Keep(symbol []byte) []byte {
	b := s.Next()
	copy(b, symbol)
	return b
}
