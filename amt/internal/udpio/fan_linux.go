package udpio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/treedn/treedn/amt/internal/mmsg"
)

// maxMessages is what sendmmsg takes in one call (UIO_MAXIOV).
const maxMessages = 1024

// Fan sends the same datagrams to many destinations: to each in as few messages
// as the kernel can cut up by itself (UDP_SEGMENT). What does not change from
// one Write to the next is laid out once: a destination costs 92 octets, and a
// Write nothing but the system calls. It is for one goroutine at a time.
type Fan struct {
	conn    *Conn
	copies  []Copy
	headers []mmsg.Header
	names   []mmsg.Name
	blocks  []*controlBlock // one for all copies with the same control messages
	iovec   unix.Iovec      // all headers point to it

	single      mmsg.Header // of a datagram that goes alone
	singleIovec unix.Iovec

	out           *mmsg.Writer
	refused       []refusal
	failed        []Failure
	segment       uint16
	ecn           uint8
	joinsSegments bool
}

type refusal struct {
	copy  int
	errno syscall.Errno
}

type controlBlock struct {
	from    netip.Addr
	ecn, v6 bool
	buf     [controlWords]uint64
	length  int
	tos     []byte // in buf; nil: none
	segment []byte // in buf; nil: none
}

// NewFan returns a fan, which keeps the copies.
func (c *Conn) NewFan(copies []Copy) *Fan {
	f := &Fan{
		conn: c, out: c.socket.Socket.NewWriter(), copies: copies, headers: make([]mmsg.Header, len(copies)), names: make([]mmsg.Name, len(copies)),
		joinsSegments: c.segment.Load() > 0,
	}
	for i := range copies {
		h := &f.headers[i].Msghdr
		h.Name = (*byte)(unsafe.Pointer(&f.names[i]))
		h.Namelen = putName(&f.names[i], copies[i].To)
		h.Iov = &f.iovec
		h.SetIovlen(1)
		if b := f.block(&copies[i]); b.length > 0 {
			h.Control = (*byte)(unsafe.Pointer(&b.buf[0]))
			h.SetControllen(b.length)
		}
	}
	return f
}

// block returns the control messages for a copy.
func (f *Fan) block(c *Copy) *controlBlock {
	v6 := c.To.Addr().Is6()
	for _, b := range f.blocks {
		if b.from == c.From && b.ecn == c.ECN && b.v6 == v6 {
			return b
		}
	}
	b := &controlBlock{from: c.From, ecn: c.ECN, v6: v6}
	buf := unsafe.Slice((*byte)(unsafe.Pointer(&b.buf)), controlWords*8)
	putFrom(buf, &b.length, c.From, v6)
	if c.ECN {
		b.tos = putTOS(buf, &b.length, v6, 0)
	}
	if f.joinsSegments {
		b.segment = mmsg.PutControl(buf, &b.length, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
	}
	f.blocks = append(f.blocks, b)
	return b
}

// set changes what all copies have in their control messages.
func (f *Fan) set(segment uint16, ecn uint8) {
	if f.segment == segment && f.ecn == ecn {
		return
	}
	f.segment, f.ecn = segment, ecn
	for _, b := range f.blocks {
		if b.tos != nil {
			binary.NativeEndian.PutUint32(b.tos, uint32(ecn))
		}
		if b.segment != nil {
			binary.NativeEndian.PutUint16(b.segment, segment) // 0: do not cut
		}
	}
}

// Write sends the datagrams in b, all of size octets except that the last may be
// shorter, to each destination; ecn is for the copies that want it. An error
// means that nothing more can be sent; what was refused is in Failed.
func (f *Fan) Write(b []byte, size int, ecn uint8) error {
	f.failed = f.failed[:0]
	per := 1
	if f.joinsSegments && size < int(f.conn.segment.Load()) {
		per = max(1, min(mmsg.MaxSegments, mmsg.MaxRun/size))
	}
	for ; len(b) > 0; b = b[min(per*size, len(b)):] {
		run := b[:min(per*size, len(b))]
		segment := uint16(0)
		if len(run) > size {
			segment = uint16(size)
		}
		f.set(segment, ecn)
		f.iovec.Base = unsafe.SliceData(run)
		f.iovec.SetLen(len(run))
		f.refused = f.refused[:0]
		for first := 0; first < len(f.headers); {
			sent, errno, err := f.out.Write(f.headers[first:min(first+maxMessages, len(f.headers))])
			if err != nil {
				return err
			}
			if errno != 0 { // it is about the first message
				f.refused = append(f.refused, refusal{first, errno})
				sent = 1
			}
			first += sent
		}
		if len(f.refused) > 0 {
			if err := f.retry(run, size); err != nil {
				return err
			}
		}
	}
	f.iovec.Base = nil // what was sent need not be kept
	f.merge()
	return nil
}

// merge makes one failure of those of a destination in several runs.
func (f *Fan) merge() {
	if slices.IsSortedFunc(f.failed, func(a, b Failure) int { return a.Copy - b.Copy }) {
		return
	}
	slices.SortFunc(f.failed, func(a, b Failure) int { return a.Copy - b.Copy })
	n := 0
	for _, x := range f.failed[1:] {
		if x.Copy == f.failed[n].Copy {
			f.failed[n].Datagrams += x.Datagrams
			continue
		}
		n++
		f.failed[n] = x
	}
	f.failed = f.failed[:n+1]
}

// retry sends one by one what was refused as a run.
func (f *Fan) retry(run []byte, size int) error {
	alone := 0
	for _, r := range f.refused {
		switch {
		case len(run) <= size:
			f.fail(r.copy, 1)
			continue
		case r.errno == unix.EIO: // no checksum offload
			f.conn.segment.Store(0)
		case r.errno != unix.EINVAL && r.errno != unix.EMSGSIZE: // the interface's MTU
			f.fail(r.copy, (len(run)+size-1)/size)
			continue
		}
		alone++
		if err := f.one(r.copy, run, size); err != nil {
			return err
		}
	}
	if alone == len(f.copies) && alone > 1 {
		f.conn.segment.Store(min(f.conn.segment.Load(), int32(size)))
	}
	return nil
}

func (f *Fan) fail(copy, datagrams int) {
	if n := len(f.failed); n > 0 && f.failed[n-1].Copy == copy {
		f.failed[n-1].Datagrams += datagrams
		return
	}
	f.failed = append(f.failed, Failure{copy, datagrams})
}

// one sends a run to one destination as single datagrams.
func (f *Fan) one(copy int, run []byte, size int) error {
	segment := f.segment
	f.set(0, f.ecn)
	defer func() { f.set(segment, f.ecn) }()
	f.single.Msghdr = f.headers[copy].Msghdr
	f.single.Iov = &f.singleIovec
	for b := run; len(b) > 0; b = b[min(size, len(b)):] {
		f.singleIovec.Base = unsafe.SliceData(b)
		f.singleIovec.SetLen(min(size, len(b)))
		_, errno, err := f.out.Write(unsafe.Slice(&f.single, 1))
		if err != nil {
			return err
		}
		if errno != 0 {
			f.fail(copy, 1)
		}
	}
	return nil
}

// Offload reports whether runs of datagrams go out as one message.
func (c *Conn) Offload() bool { return c.segment.Load() > 0 }

// errSelfTest: what was sent as one message did not arrive as it should.
var errSelfTest = errors.New("udpio: datagrams that were joined did not arrive one by one")

// SelfTest sends a run of datagrams to a socket of its own. If they do not arrive
// as they should, though a single one does, it turns joining off and returns the
// reason.
func (c *Conn) SelfTest() error {
	if !c.Offload() {
		return nil
	}
	local := c.local.Addr()
	if local.IsUnspecified() {
		local = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		if c.local.Addr().Is6() {
			local = netip.IPv6Loopback()
		}
	}
	rx, err := Listen(netip.AddrPortFrom(local, 0), Config{NoOffload: true})
	if err != nil {
		return nil
	}
	defer rx.Close()
	const size = 500
	run := make([]byte, 3*size+size/2)
	for i := range run {
		run[i] = byte(i/size + i)
	}
	fan := c.NewFan([]Copy{{To: rx.LocalAddr()}})
	if send(fan, rx, run[:size], size) != nil {
		return nil // this says nothing about joining
	}
	err = send(fan, rx, run, size)
	if err != nil {
		c.segment.Store(0)
	}
	return err
}

// send sends a run by a fan, and reads what arrives of it.
func send(fan *Fan, rx *Conn, run []byte, size int) error {
	if err := fan.Write(run, size, 0); err != nil {
		return err
	}
	if len(fan.Failed()) > 0 {
		return fmt.Errorf("%w: they were refused", errSelfTest)
	}
	if err := rx.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	ms := NewMessages(1)
	for want := run; len(want) > 0; want = want[min(size, len(want)):] {
		n, err := rx.ReadBatch(ms)
		if err != nil {
			return fmt.Errorf("%w: %w", errSelfTest, err)
		}
		if n != 1 || !bytes.Equal(ms[0].Buffer[:ms[0].N], want[:min(size, len(want))]) {
			return errSelfTest
		}
	}
	return nil
}
