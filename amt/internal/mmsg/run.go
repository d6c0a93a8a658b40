package mmsg

// Segments calls yield for each datagram of a run, all of size octets except that
// the last may be shorter, until it returns false.
func Segments(run []byte, size int, yield func(datagram []byte) bool) {
	if size <= 0 {
		return
	}
	for len(run) > 0 {
		n := min(size, len(run))
		if !yield(run[:n:n]) {
			return
		}
		run = run[n:]
	}
}
