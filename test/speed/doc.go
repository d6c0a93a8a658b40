// Package speed measures what it costs to send and receive objects, beside what the kernel alone takes for the same
// packets in the same run. It has no code but its benchmarks, which need root and iproute2:
//
//	go test -run xxx -bench . ./test/speed
//
// They make a pair of virtual Ethernet interfaces in two network namespaces of their own, with all offloads on. CPU
// seconds are those of the thread that sends or receives, with what it does in the kernel; Linux delivers packets of such
// a pair on the time of the sender.
package speed
