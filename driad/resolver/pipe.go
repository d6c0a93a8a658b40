package resolver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"github.com/treedn/treedn/driad/dns"
)

// pipe is a connection to a server with questions on it, whose answers come in any
// order (RFC 7766 section 7). It closes itself when it has been idle.
type pipe struct {
	conn  net.Conn
	done  chan struct{} // closed when nothing is read any more
	write sync.Mutex    // held while a message is written

	mu      sync.Mutex // guards below
	rand    *rand.Rand
	waiting map[uint16]chan<- reply // by the ID of the query
	heard   int                     // answers
	err     error                   // why it is closed
}

type reply struct {
	msg []byte
	err error
}

func newPipe(conn net.Conn) *pipe {
	p := &pipe{conn: conn, done: make(chan struct{}), rand: dns.NewRand(), waiting: make(map[uint16]chan<- reply)}
	go p.read()
	return p
}

var errIdle = errors.New("connection was idle")

func (p *pipe) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err == nil
}

// ask sends a query and waits for its answer. If there is none since the connection
// has gone, although it had been of use, or just as it had been idle for long enough,
// it is worth asking again.
func (p *pipe) ask(ctx context.Context, q dns.Query) (msg []byte, again bool, err error) {
	answer := make(chan reply, 1)
	p.mu.Lock()
	if p.err != nil || len(p.waiting) > 1<<15 {
		p.mu.Unlock()
		return nil, true, errIdle
	}
	for p.waiting[q.ID] != nil {
		q.ID = uint16(p.rand.Uint32())
	}
	p.waiting[q.ID] = answer
	before := p.heard
	_ = p.conn.SetReadDeadline(time.Time{})
	p.mu.Unlock()
	defer p.forget(q.ID)

	b := q.AppendTo(make([]byte, 2, 512))
	binary.BigEndian.PutUint16(b, uint16(len(b)-2)) // in one segment (RFC 7766 section 8)
	p.write.Lock()
	deadline, _ := ctx.Deadline()
	_ = p.conn.SetWriteDeadline(deadline)
	_, err = p.conn.Write(b)
	p.write.Unlock()
	if err != nil {
		p.fail(err)
	}
	select {
	case r := <-answer:
		if r.err != nil {
			p.mu.Lock()
			again = (p.heard > 0 || errors.Is(r.err, os.ErrDeadlineExceeded)) && !errors.Is(r.err, net.ErrClosed) && !errors.Is(r.err, dns.ErrMessage)
			p.mu.Unlock()
			return nil, again, r.err
		}
		if err := q.Check(r.msg); err != nil {
			p.fail(err)
			return nil, false, err
		}
		if binary.BigEndian.Uint16(r.msg[2:])&dns.FlagTruncated != 0 {
			return nil, false, errTruncated
		}
		return r.msg, false, nil
	case <-ctx.Done():
		p.mu.Lock()
		silent := p.heard == before
		p.mu.Unlock()
		if silent && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.fail(os.ErrDeadlineExceeded) // the next question shall not wait for it, too
		}
		return nil, false, ctx.Err()
	}
}

func (p *pipe) forget(id uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, id)
	p.rest()
}

// rest sets the time for the connection to close if there is nothing to wait for.
func (p *pipe) rest() {
	if len(p.waiting) == 0 && p.err == nil {
		_ = p.conn.SetReadDeadline(time.Now().Add(idleTime))
	}
}

// read gives answers to who waits for them; those that nobody waits for any more are
// dropped.
func (p *pipe) read() {
	defer close(p.done)
	r := bufio.NewReader(p.conn)
	for {
		msg, err := readMessage(r)
		if err != nil {
			p.fail(err)
			return
		}
		p.mu.Lock()
		p.heard++
		id := binary.BigEndian.Uint16(msg)
		if to := p.waiting[id]; to != nil {
			to <- reply{msg: msg}
			delete(p.waiting, id)
			p.rest()
		}
		p.mu.Unlock()
	}
}

func readMessage(r io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(length[:])
	if n < dns.HeaderLen {
		return nil, fmt.Errorf("%w: of %d octets", dns.ErrMessage, n)
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// fail closes the connection, which ends read, and tells who waits.
func (p *pipe) fail(err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = err
	}
	for _, to := range p.waiting {
		to <- reply{err: p.err}
	}
	clear(p.waiting)
	p.mu.Unlock()
	_ = p.conn.Close()
}
