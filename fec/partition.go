package fec

// Partition divides i items into j parts that are as equal as possible: the
// first jl parts have il items, the remaining js parts have is.
//
// It is Partition[I, J] of RFC 6330 section 4.4.1.2 and, with i the number of
// symbols and j the number of blocks, the block partitioning algorithm of
// RFC 5052 section 9.1. All results are zero when j is.
func Partition(i, j uint64) (il, is, jl, js uint64) {
	if j == 0 {
		return 0, 0, 0, 0
	}
	is = i / j
	jl = i % j
	il = is
	if jl > 0 {
		il++
	}
	return il, is, jl, j - jl
}

// part returns where part n of Partition[i, j] begins and how many items it has.
func part(i, j, n uint64) (first, count uint64) {
	il, is, jl, _ := Partition(i, j)
	if n < jl {
		return n * il, il
	}
	return jl*il + (n-jl)*is, is
}

// ceilDiv returns a/b rounded up.
func ceilDiv(a, b uint64) uint64 {
	q := a / b
	if a%b != 0 {
		q++
	}
	return q
}

// block locates a block of count symbols of size octets, the first of which is
// symbol number first, in an object of total octets.
func block(total, size, first, count uint64) (k int, offset, length uint64) {
	offset = first * size
	return int(count), offset, min(count*size, total-offset)
}
