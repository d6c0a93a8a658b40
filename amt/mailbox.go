package amt

import "sync"

// mailbox holds packets between who reads them and who delivers them, so that a
// channel with very many copies to send does not hold up the others. What comes
// meanwhile is delivered together, which also makes sending it cheaper.
type mailbox struct {
	mu      sync.Mutex // guards below
	wake    *sync.Cond
	filling packets
	closed  bool
	dropped uint64
}

// packets are packets in one piece of memory.
type packets struct {
	octets []byte
	ends   []int
}

// mailboxOctets bounds what waits: 60 ms of a channel of 500 Mbit/s.
const mailboxOctets = 4 << 20

func newMailbox() *mailbox {
	m := new(mailbox)
	m.wake = sync.NewCond(&m.mu)
	return m
}

// add puts in a packet, of which it makes a copy; flush tells the reader.
func (m *mailbox) add(packet []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.filling.octets)+len(packet) > mailboxOctets {
		m.dropped++
		return
	}
	m.filling.octets = append(m.filling.octets, packet...)
	m.filling.ends = append(m.filling.ends, len(m.filling.octets))
}

func (m *mailbox) flush() { m.wake.Signal() }

// run delivers what comes until close.
func (m *mailbox) run(deliver func(packets [][]byte)) {
	var emptying packets
	var list [][]byte
	for {
		m.mu.Lock()
		for len(m.filling.ends) == 0 && !m.closed {
			m.wake.Wait()
		}
		if m.closed {
			m.mu.Unlock()
			return
		}
		emptying, m.filling = m.filling, packets{emptying.octets[:0], emptying.ends[:0]}
		m.mu.Unlock()
		list = list[:0]
		start := 0
		for _, end := range emptying.ends {
			list = append(list, emptying.octets[start:end:end])
			start = end
		}
		deliver(list)
	}
}

func (m *mailbox) drops() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dropped
}

// close ends run; what waits is not delivered.
func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	m.wake.Broadcast()
}
