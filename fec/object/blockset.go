package object

// blockSet is a set of source block numbers.
type blockSet struct {
	words map[uint32]uint64
	n     uint64
}

// doneEntry is about what a word of the set takes in a map, in octets.
const doneEntry = 48

func (s *blockSet) has(sbn uint32) bool { return s.words[sbn/64]>>(sbn%64)&1 != 0 }

func (s *blockSet) add(sbn uint32) {
	if s.words == nil {
		s.words = make(map[uint32]uint64)
	}
	if !s.has(sbn) {
		s.words[sbn/64] |= 1 << (sbn % 64)
		s.n++
	}
}

func (s *blockSet) memory() int { return doneEntry * len(s.words) }
