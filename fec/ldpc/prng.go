package ldpc

// prng is the generator of Park and Miller (RFC 5170 section 5.7).
type prng uint32

const prngModulus = 1<<31 - 1

// next returns a number from 1 to 2^31-2.
func (p *prng) next() uint32 {
	*p = prng(uint64(*p) * 16807 % prngModulus)
	return uint32(*p)
}

// below is pmms_rand: a number from 0 to n-1. The RFC scales by floating point
// numbers in this order, which other arithmetic does not reproduce exactly.
func (p *prng) below(n int) int {
	return int(float64(n) * float64(p.next()) / float64(prngModulus))
}
