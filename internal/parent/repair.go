package parent

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/ingress"
)

// backOff spreads the requests of the many nodes that lose the same packets. A parent has the octets itself only once
// its own repair is done, so that asking at once gains nothing.
const (
	backOff       = 5 * time.Millisecond
	backOffWindow = 30 * time.Millisecond
)

// mergeGap joins ranges that lie closer than what the header of another part costs.
const mergeGap = 512

// mender holds the client of the present parents.
type mender struct {
	mu     sync.Mutex // guards below
	client *repair.Client
	past   repair.Stats // of clients that are closed
}

func (m *mender) set(node string, parents []*url.URL) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.client
	m.client = nil
	if old != nil {
		st := old.Stats()
		m.past.Octets += st.Octets
		m.past.Requests += st.Requests
		go old.Close() // waits for what is under way
	}
	if len(parents) > 0 {
		cfg := repair.Config{
			NodeID: node, BackOff: backOff, BackOffWindow: backOffWindow, MergeGap: mergeGap,
			Timeout: 5 * time.Second,
		}
		for _, p := range parents {
			cfg.Parents = append(cfg.Parents, repair.Parent{URL: p.String()})
		}
		client, err := repair.NewClient(cfg)
		if err != nil {
			return err
		}
		m.client = client
	}
	return nil
}

// Repair implements ingress.Repairer. The sender of the packets is asked by the object's address on the wire, all others
// by its name.
func (c *Client) Repair(ctx context.Context, want ingress.Wanted, supply func(off int64, p []byte, total int64) error) error {
	c.mender.mu.Lock()
	client := c.mender.client
	c.mender.mu.Unlock()
	if client == nil {
		return repair.ErrNoParent
	}
	r := repair.Request{
		ID: repair.ObjectID{
			Session: repair.Session{Source: want.Session.Source, Group: want.Session.Group, Port: want.Session.Port},
			TSI:     uint64(want.TSI), TOI: uint64(want.TOI),
		},
	}
	if want.Generation != 0 {
		r.ETag = ETag(want.Generation)
	}
	for _, m := range want.Missing {
		if m.End < 0 {
			m.End = repair.ToEnd
		}
		r.Ranges = append(r.Ranges, repair.Range{Start: m.Start, End: m.End})
	}
	a, err := client.Fetch(ctx, r)
	if errors.Is(err, repair.ErrUnknown) || errors.Is(err, repair.ErrExpired) {
		// A parent that is not the sender of this session, or has restarted, knows the name alone.
		r.ID, r.Name = repair.ObjectID{}, want.Service+"/"+want.Name
		a, err = client.Fetch(ctx, r)
	}
	if a == nil {
		return err
	}
	if len(a.Parts) == 0 && a.Length >= 0 {
		// Nothing was missing but where the object ends.
		return errors.Join(err, supply(a.Length, nil, a.Length))
	}
	for _, p := range a.Parts {
		if err := supply(p.Offset, p.Data, a.Length); err != nil {
			return err
		}
	}
	return err
}

// ETag returns the entity tag of a generation.
func ETag(generation uint64) string { return fmt.Sprintf(`"%016x"`, generation) }
