package sealing

import (
	"context"
	"sync"
	"time"
)

// Whoever sends so many forged seals that true ones go unchecked would make this node ask its parents for the seals of each
// object. Instead it follows all seals of the service at one of them while that goes on.
const (
	// asksAtOnce and asksPerSecond bound the requests for seals of single objects.
	asksAtOnce    = 16
	asksPerSecond = 2
	// floodTime is how long after the last seal that went unchecked the service's seals are followed.
	floodTime = 5 * time.Second
	// followPause is the time between two requests for them.
	followPause = time.Second
)

// budget is a token bucket of requests.
type budget struct {
	tokens float64
	at     time.Time
}

func (b *budget) take(now time.Time) bool {
	if d := now.Sub(b.at); d > 0 {
		if !b.at.IsZero() {
			b.tokens = min(asksAtOnce, b.tokens+asksPerSecond*d.Seconds())
		}
		b.at = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// follow begins to follow the service's seals at the parents, or ends that.
func (g *Gate) follow(ctx context.Context, group *sync.WaitGroup) {
	if g.cfg.Client == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.cfg.Now()
	wanted := !g.flooded.IsZero() && now.Sub(g.flooded) <= floodTime
	switch {
	case !wanted && g.following != nil:
		g.following()
		return
	case !wanted, g.following != nil, now.Before(g.followAt):
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	g.following = cancel
	group.Go(func() {
		defer cancel()
		err := g.cfg.Client.Follow(ctx, g.cfg.Service.Name(), g.PushParent)
		if err != nil && ctx.Err() == nil {
			g.cfg.Logger.Debug("seals are not followed", "service", g.cfg.Service.Name(), "error", err)
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.following, g.followAt = nil, g.cfg.Now().Add(followPause)
	})
}
