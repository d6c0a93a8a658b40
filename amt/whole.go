package amt

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/treedn/treedn/amt/internal/rawip"
	"github.com/treedn/treedn/amt/ssm"
)

// wholePackets takes whole packets of channels off interfaces.
type wholePackets struct {
	iface  string
	buffer int
	log    *slog.Logger
	member rawip.Memberships

	mu       sync.Mutex // guards below; held while a channel is joined or left
	closed   bool
	channels map[[2]netip.Addr]*wholeChannel
	taps     map[int]*tap // by the index of the interface
	done     sync.WaitGroup
}

// tap is an interface that packets are taken off.
type tap struct {
	ifi     *net.Interface
	capture *rawip.Capture
	groups  map[netip.Addr]int // channels of each; guarded by the mutex of wholePackets

	mu    sync.RWMutex // guards below; the reader has it for a batch
	table map[[2]netip.Addr]*wholeChannel
}

// wholeChannel hands the packets of a channel from the goroutine that reads the
// interface to the one that delivers them.
type wholeChannel struct {
	source, group netip.Addr
	ours          bool // the source is this machine
	tap           *tap
	mailbox       *mailbox
}

const wholeBuffer = 32 << 20 // octets of the receive buffer of an interface

func newWholePackets(iface string, buffer int, log *slog.Logger) *wholePackets {
	orDefault(&buffer, wholeBuffer)
	return &wholePackets{
		iface: iface, buffer: buffer, log: log,
		channels: make(map[[2]netip.Addr]*wholeChannel), taps: make(map[int]*tap),
	}
}

func (w *wholePackets) join(source, group netip.Addr, deliver func(packets [][]byte)) error {
	ifi, err := ssm.InterfaceFor(w.iface, source)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return net.ErrClosed
	}
	t := w.taps[ifi.Index]
	if t == nil {
		if t, err = w.open(ifi); err != nil {
			return err
		}
	}
	c := &wholeChannel{source: source, group: group, ours: isOurs(source), tap: t, mailbox: newMailbox()}
	key := [2]netip.Addr{source, group}
	err = t.add(key, c)
	if err == nil {
		err = w.member.Join(ifi, source, group)
	}
	if err != nil {
		_ = t.remove(key)
		return err
	}
	w.channels[key] = c
	w.done.Go(func() { c.mailbox.run(deliver) })
	return nil
}

// isOurs reports whether an address is one of this machine.
func isOurs(a netip.Addr) bool {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, x := range list {
		if p, ok := x.(*net.IPNet); ok && p.IP.Equal(a.AsSlice()) {
			return true
		}
	}
	return false
}

func (w *wholePackets) open(ifi *net.Interface) (*tap, error) {
	capture, err := rawip.Open(ifi, w.buffer)
	if err != nil {
		return nil, err
	}
	t := &tap{ifi: ifi, capture: capture, groups: make(map[netip.Addr]int), table: make(map[[2]netip.Addr]*wholeChannel)}
	w.taps[ifi.Index] = t
	w.done.Go(func() {
		err := t.read()
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.closed { // what a file says that was closed matches no error that has a name
			w.log.Error("taking packets off an interface", "interface", ifi.Name, "err", err)
		}
	})
	return t, nil
}

// add makes a tap take a channel, at a cost that does not grow with the number of
// others. The mutex of wholePackets is held, as in remove.
func (t *tap) add(key [2]netip.Addr, c *wholeChannel) error {
	t.mu.Lock()
	_, had := t.table[key]
	t.table[key] = c
	t.mu.Unlock()
	if !had {
		t.groups[key[1]]++
	}
	return t.capture.SetGroup(key[1], true)
}

// remove ends add.
func (t *tap) remove(key [2]netip.Addr) error {
	t.mu.Lock()
	delete(t.table, key)
	t.mu.Unlock()
	if t.groups[key[1]]--; t.groups[key[1]] > 0 {
		return nil
	}
	delete(t.groups, key[1])
	return t.capture.SetGroup(key[1], false)
}

func (w *wholePackets) leave(source, group netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := [2]netip.Addr{source, group}
	c := w.channels[key]
	if c == nil {
		return
	}
	delete(w.channels, key)
	w.member.Leave(c.tap.ifi, source, group)
	if err := c.tap.remove(key); err != nil {
		w.log.Error("narrowing what is taken off an interface", "interface", c.tap.ifi.Name, "err", err)
	}
	c.mailbox.close()
}

func (w *wholePackets) close() error {
	w.mu.Lock()
	w.closed = true
	for _, c := range w.channels {
		c.mailbox.close()
	}
	clear(w.channels)
	for _, t := range w.taps {
		_ = t.capture.Close()
	}
	err := w.member.Close()
	w.mu.Unlock()
	w.done.Wait()
	return err
}

// dropped counts packets that came faster than they could be sent.
func (w *wholePackets) dropped() (n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.taps {
		n += t.capture.Drops()
	}
	for _, c := range w.channels {
		n += c.mailbox.drops()
	}
	return n
}

// read sorts the packets by channel.
func (t *tap) read() error {
	var frames []rawip.Frame
	var err error
	var p Packet
	for {
		if frames, err = t.capture.Read(frames[:0]); err != nil {
			return err
		}
		t.mu.RLock()
		var last *wholeChannel // packets of one channel often come together
		for i := range frames {
			if p.Parse(frames[i].Packet) != nil {
				continue
			}
			c := t.table[[2]netip.Addr{p.Source.Addr(), p.Destination.Addr()}]
			if c == nil {
				if c = t.table[[2]netip.Addr{{}, p.Destination.Addr()}]; c == nil {
					continue
				}
			}
			if frames[i].Outgoing && !c.ours {
				// Somebody on this machine sends what came by another way: a bridge.
				continue
			}
			if last != nil && last != c {
				last.mailbox.flush()
			}
			c.mailbox.add(p.Raw)
			last = c
		}
		if last != nil {
			last.mailbox.flush()
		}
		t.mu.RUnlock()
	}
}
