package ingress

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/route"
)

// maxOthers bounds the sessions that are joined beside the configured one: whoever writes an S-TSID must not make this node
// take in any number of groups.
const maxOthers = 8

// joinOthers makes the sessions that are received beside the configured one those that the S-TSID names (A/331, section
// 7.1.4: the LCT channels of a service may go to several groups and ports). It is called with mu held.
func (in *Ingress) joinOthers() {
	if in.cfg.Join == nil || in.ctx == nil {
		return
	}
	named := in.rx.OtherSessions()
	for s, leave := range in.others {
		if !slices.Contains(named, s) {
			delete(in.others, s)
			leave()
		}
	}
	for _, s := range named {
		if in.others[s] != nil {
			continue
		}
		if !in.mayJoin(s) || len(in.others) >= maxOthers {
			in.log.Warn("a session that the service names is not joined", "service", in.cfg.Service.Name(), "session", s)
			continue
		}
		ctx, leave := context.WithCancel(in.ctx)
		in.others[s] = leave
		in.group.Go(func() { in.receiveOther(ctx, s) })
	}
}

// mayJoin tells whether a session is one that the configuration allows: from the source of the configured one and to a
// group that is specific to sources; or, where any source will do, to any group.
func (in *Ingress) mayJoin(s route.Session) bool {
	ch := ssm.Channel{Source: s.Source, Group: s.Group, Port: s.Port}
	if ch.Validate() != nil {
		return false
	}
	if in.cfg.Receiver.AnySource {
		return true
	}
	ch.Source = netip.Addr{}
	return s.Source == in.cfg.Receiver.Session.Source && ch.Validate() != nil // without a source it is no channel
}

// receiveOther receives a session until ctx ends, which is when the S-TSID names it no more, or reception ends.
func (in *Ingress) receiveOther(ctx context.Context, s route.Session) {
	src, err := in.cfg.Join(ctx, s)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { src.Close() })
		err = in.receive(src)
		stop()
		_ = src.Close()
	}
	if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
		in.log.Warn("a session that the service names is not received", "service", in.cfg.Service.Name(), "session", s, "error", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if ctx.Err() == nil {
		in.others[s]()
		delete(in.others, s) // another S-TSID may bring it again
	}
}
