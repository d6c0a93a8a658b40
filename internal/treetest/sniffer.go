package treetest

import (
	"bytes"
	"sync"
	"testing"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/lct"
	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/config"
)

// Sniffer keeps the packets of a session.
type Sniffer struct {
	session config.Session

	mu      sync.Mutex // guards below
	packets [][]byte
}

// Sniff receives a session until the test ends.
func Sniff(tb testing.TB, session config.Session) *Sniffer {
	tb.Helper()
	host := ssm.NewHost(ssm.Config{})
	rx, err := host.Join(tb.Context(), ssm.Channel{Source: session.Source, Group: session.Group, Port: session.Port}, "")
	if err != nil {
		tb.Fatal(err)
	}
	s := &Sniffer{session: session}
	done := make(chan struct{})
	tb.Cleanup(func() { _ = host.Close(); <-done })
	go func() {
		defer close(done)
		messages := ssm.NewMessages(8)
		for {
			n, err := rx.ReadBatch(messages)
			if err != nil {
				return
			}
			s.mu.Lock()
			for i := range messages[:n] {
				for p := range messages[i].Segments {
					s.packets = append(s.packets, bytes.Clone(p))
				}
			}
			s.mu.Unlock()
		}
	}()
	return s
}

// Find waits for a source packet that carries a text and returns the address of its object on the wire.
func (s *Sniffer) Find(tb testing.TB, text string) repair.ObjectID {
	tb.Helper()
	var id repair.ObjectID
	Eventually(tb, patience, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, p := range s.packets {
			var h lct.Header
			if n, err := h.Unmarshal(p); err == nil && h.TSI != 0 && bytes.Contains(p[n:], []byte(text)) {
				id = repair.ObjectID{
					Session: repair.Session{Source: s.session.Source, Group: s.session.Group, Port: s.session.Port},
					TSI:     h.TSI, TOI: h.TOI,
				}
				return true
			}
		}
		return false
	}, "no packet carries "+text)
	return id
}
