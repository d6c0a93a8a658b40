package ingress

import (
	"time"

	"github.com/treedn/treedn/internal/sealing"
	"github.com/treedn/treedn/route"
)

// announced is what is known of the session's S-TSID, in a service with a gate.
type announced struct {
	accepted uint64    // generation that is acted upon; 0: none
	missing  time.Time // since when there is a newer one, or may be; zero: there is none
	askAt    time.Time
	pause    time.Duration
	asking   bool
}

const (
	// announceTime is how long multicast may take to bring an S-TSID before the parents are asked for it.
	announceTime = 700 * time.Millisecond
	// announceAgain is the pause between two such requests, at first and at most.
	announceAgain     = 250 * time.Millisecond
	announceAgainMost = 4 * time.Second
)

func (in *Ingress) stsidName() string {
	s := in.cfg.Receiver.Session
	return sealing.STSIDName(s.Source, s.Group, s.Port)
}

// signalling acts on an S-TSID once it is known to be genuine. Without a gate the receiver has done so.
func (in *Ingress) signalling(now time.Time, s *route.Signal) {
	if in.cfg.Gate == nil {
		in.joinOthers()
		return
	}
	if s.TSI != 0 {
		return // an EFDT of its own is sealed by nobody: it stays without effect
	}
	in.hold(now, bodyKey{in.stsidName(), s.Generation}, s.Body, func(now time.Time, _ []byte) { in.accept(now, s) })
}

func (in *Ingress) accept(now time.Time, s *route.Signal) {
	in.announced = announced{accepted: s.Generation, asking: in.announced.asking}
	in.rx.Accept(now, s)
	in.joinOthers()
}

// discover asks the parents for the S-TSID if multicast does not bring it: whoever sends to the group, too, can keep its
// packets from becoming whole. It is called now and then.
func (in *Ingress) discover(now time.Time) {
	a := &in.announced
	if in.cfg.Fetch == nil || in.ctx == nil || a.asking {
		return
	}
	if newest, ok := in.cfg.Gate.Known(in.stsidName()); a.accepted != 0 && (!ok || newest <= a.accepted) {
		a.missing = time.Time{}
		return
	}
	if a.missing.IsZero() {
		a.missing, a.askAt, a.pause = now, now.Add(announceTime), announceAgain
	}
	if now.Before(a.askAt) {
		return
	}
	a.asking = true
	ctx := in.ctx
	in.group.Go(func() {
		err := in.cfg.Fetch.Client.Signalling(ctx, in.cfg.Service.Name(), in.stsidName(), func(s sealing.Signalling) error {
			return in.announce(s)
		})
		in.mu.Lock()
		defer in.mu.Unlock()
		a.asking = false
		a.askAt = in.cfg.Now().Add(a.pause)
		a.pause = min(2*a.pause, announceAgainMost)
		if err == nil {
			in.counts.Announced++
		} else if ctx.Err() == nil {
			in.log.Debug("signalling from parents", "service", in.cfg.Service.Name(), "error", err)
		}
	})
}

// announce takes in what a parent says the session announces. An error tells that it is not genuine.
func (in *Ingress) announce(s sealing.Signalling) error {
	_ = in.cfg.Gate.PushParent(s.Seal) // what it is worth shows by what it verifies
	in.mu.Lock()
	defer in.mu.Unlock()
	now := in.cfg.Now()
	signal, err := in.rx.STSID(s.Body, s.Generation)
	if err != nil {
		return err
	}
	in.hold(now, bodyKey{in.stsidName(), s.Generation}, s.Body, func(now time.Time, _ []byte) { in.accept(now, signal) })
	in.settle(now)
	if in.announced.accepted < s.Generation {
		return sealing.ErrForged
	}
	return nil
}
