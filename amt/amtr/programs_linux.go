package amtr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// programSource has programs in the kernel that look.
type programSource struct {
	objects watchObjects
	links   []link.Link
	ring    *ringbuf.Reader
	record  ringbuf.Record
	boot    time.Time // time 0 of the monotonic clock
	counts  map[watchEndpoint]watchData
}

func openPrograms(ifi *net.Interface) (s *programSource, err error) {
	s = &programSource{counts: make(map[watchEndpoint]watchData)}
	if err := loadWatchObjects(&s.objects, nil); err != nil {
		return nil, fmt.Errorf("amtr: load programs: %w", err)
	}
	incoming, err := link.AttachXDP(link.XDPOptions{Program: s.objects.AmtIncoming, Interface: ifi.Index})
	if err == nil {
		s.links = append(s.links, incoming)
		var outgoing link.Link
		if outgoing, err = link.AttachTCX(link.TCXOptions{Program: s.objects.AmtOutgoing, Interface: ifi.Index, Attach: ebpf.AttachTCXEgress}); err == nil {
			s.links = append(s.links, outgoing)
			s.ring, err = ringbuf.NewReader(s.objects.Events)
		}
	}
	if err != nil {
		_ = s.close()
		return nil, fmt.Errorf("amtr: attach programs to %s: %w", ifi.Name, err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		_ = s.close()
		return nil, os.NewSyscallError("clock_gettime", err)
	}
	s.boot = time.Now().Add(-time.Duration(now.Nano()))
	return s, nil
}

const sizeEvent = 8 + 20 + 2 + 2 + 30 + 2

func (s *programSource) read(until time.Time, take func(m *Message)) error {
	s.ring.SetDeadline(until)
	for {
		err := s.ring.ReadInto(&s.record)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, ringbuf.ErrClosed):
			return net.ErrClosed
		case err != nil:
			return err
		}
		b := s.record.RawSample
		if len(b) < sizeEvent {
			continue
		}
		m := Message{
			Time:     s.boot.Add(time.Duration(binary.NativeEndian.Uint64(b))),
			Gateway:  netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])).Unmap(), binary.NativeEndian.Uint16(b[24:])),
			Length:   int(binary.NativeEndian.Uint16(b[28:])),
			Outgoing: b[30] != 0,
			Payload:  b[32 : 32+min(int(b[31]), 30)],
		}
		take(&m)
		if s.record.Remaining == 0 || !time.Now().Before(until) {
			return nil
		}
	}
}

func (s *programSource) data(take func(gateway netip.AddrPort, packets, octets uint64)) {
	var key watchEndpoint
	var value watchData
	seen := make(map[watchEndpoint]watchData, len(s.counts))
	for each := s.objects.Counted.Iterate(); each.Next(&key, &value); {
		seen[key] = value
		old := s.counts[key]
		if value.Packets < old.Packets {
			old = watchData{} // it was forgotten meanwhile, and began anew
		}
		if n := value.Packets - old.Packets; n > 0 {
			take(netip.AddrPortFrom(netip.AddrFrom16(key.Address).Unmap(), key.Port), n, value.Octets-old.Octets)
		}
	}
	s.counts = seen
}

func (s *programSource) lost() (n uint64) {
	var values []uint64
	if s.objects.Lost.Lookup(uint32(0), &values) == nil {
		for _, v := range values {
			n += v
		}
	}
	return n
}

func (s *programSource) interrupt() { _ = s.ring.Close() }

func (s *programSource) close() error {
	for _, l := range s.links {
		_ = l.Close()
	}
	if s.ring != nil {
		_ = s.ring.Close()
	}
	return s.objects.Close()
}
