package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// A player models what a player at a node sees: it fetches the segments of one
// video and one audio track in turn, and plays each a fixed time after the
// publisher made it. What has not come by then stalls it, and from then on it
// plays later by that much.
type player struct {
	// lag is how far behind the publisher it plays. A player near the live
	// edge fetches a segment while it grows and plays what it has of it;
	// another fetches complete segments as soon as they can be.
	lag  time.Duration
	near bool

	s      *source
	client *http.Client
	base   string
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex // guards below
	stalled time.Duration
	seen    seen
	margin  time.Duration // the least time to spare since it was asked for
}

// seen is what became of a player's segments.
type seen struct {
	segments  int           // complete and equal
	different []string      // complete, and not what CAST took in
	missing   []string      // given up
	late      []string      // what came too late
	longest   time.Duration // of the stalls
	total     time.Duration // of the stalls
	slack     time.Duration // the least time to spare
	repeated  int           // requests that failed
}

func (v seen) String() string {
	text := fmt.Sprintf("%2d segments, least time to spare %5.2f s", v.segments, v.slack.Seconds())
	if len(v.late) > 0 {
		text = fmt.Sprintf("%2d segments, STALLED %.2f s in all, %.2f s at most: %v", v.segments, v.total.Seconds(), v.longest.Seconds(), v.late)
	}
	if v.repeated > 0 {
		text += fmt.Sprintf(", %d requests failed", v.repeated)
	}
	if len(v.different) > 0 {
		text += fmt.Sprintf(", DIFFERENT %v", v.different)
	}
	if len(v.missing) > 0 {
		text += fmt.Sprintf(", MISSING %v", v.missing)
	}
	return text
}

// play starts a player that begins with the segment that is made next.
func (l *lab) play(node string, s *source, lag time.Duration, near bool) *player {
	ctx, cancel := context.WithCancel(l.t.Context())
	p := &player{lag: lag, near: near, s: s, client: l.client(node), base: playerURL(node), cancel: cancel, margin: lag}
	p.seen.slack = lag
	for _, stream := range s.tracks {
		s.mu.Lock()
		first := len(s.streams[stream])
		s.mu.Unlock()
		p.group.Go(func() {
			for i := first; ctx.Err() == nil; i++ {
				p.segment(ctx, stream, i)
			}
		})
	}
	l.t.Cleanup(func() { p.end() })
	return p
}

// end stops the player and returns what it saw.
func (p *player) end() seen {
	p.cancel()
	p.group.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// buffer is the least time to spare since it was called last.
func (p *player) buffer() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	margin := p.margin
	p.margin = p.lag
	return margin
}

// patience is how long after its time a segment may come before the player
// goes on without it.
const patience = 15 * time.Second

// segment plays one segment, by its place among those of its stream. What CAST
// did not take in whole is not played by those who wait for that.
func (p *player) segment(ctx context.Context, stream, place int) {
	var o *object
	if p.s.wait(ctx, func() bool {
		if all := p.s.streams[stream]; len(all) > place {
			o = all[place]
		}
		return o != nil && (p.near || o.taken || o.broken)
	}) != nil {
		return
	}
	limited, cancel := context.WithDeadline(ctx, o.begun.Add(p.lag+patience))
	defer cancel()
	have := 0 // octets that have been played or wait to be
	for !p.broken(o) {
		body, err := p.fetch(limited, o, &have)
		if err == nil {
			p.done(ctx, o, body)
			return
		}
		if limited.Err() != nil {
			p.late(o, have, ctx.Err() == nil)
			return
		}
		p.mu.Lock()
		p.seen.repeated++
		p.mu.Unlock()
		select {
		case <-limited.Done():
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func (p *player) broken(o *object) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return o.broken
}

// done notes a whole segment.
func (p *player) done(ctx context.Context, o *object, body []byte) {
	if p.s.wait(ctx, func() bool { return o.taken || o.broken }) != nil {
		return
	}
	p.s.mu.Lock()
	equal := bytes.Equal(body, o.body) || o.broken
	p.s.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if equal {
		p.seen.segments++
	} else {
		p.seen.different = append(p.seen.different, o.name)
	}
}

// late notes a segment of which no more comes: it was given up, or the player
// ended, which may be in the middle of a stall.
func (p *player) late(o *object, have int, up bool) {
	if !up {
		p.came(o, have)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen.missing = append(p.seen.missing, fmt.Sprintf("%s from %d on", o.name, have))
}

// made is when the octets from off on were made that are played at once.
func (p *player) made(o *object, off int) time.Time {
	if !p.near {
		return o.begun
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	for _, s := range o.stamps {
		if s.n > off {
			return s.at
		}
	}
	if o.ended.IsZero() {
		return time.Now()
	}
	return o.ended
}

// fetch makes one request. have rises with the octets that come.
func (p *player) fetch(ctx context.Context, o *object, have *int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+o.name, nil)
	if err != nil {
		return nil, err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", resp.Status)
	}
	var body bytes.Buffer
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		body.Write(buf[:n])
		if p.near && body.Len() > *have {
			p.came(o, *have)
			*have = body.Len()
		}
		if err != nil {
			if err.Error() != "EOF" {
				return nil, err
			}
			if !p.near {
				p.came(o, 0)
			}
			return body.Bytes(), nil
		}
	}
}

// came notes that octets from off on have come.
func (p *player) came(o *object, off int) {
	now := time.Now()
	made := p.made(o, off)
	p.mu.Lock()
	defer p.mu.Unlock()
	slack := made.Add(p.lag + p.stalled).Sub(now)
	p.seen.slack = min(p.seen.slack, slack)
	p.margin = min(p.margin, slack)
	if slack < 0 {
		p.stalled -= slack
		p.seen.late = append(p.seen.late, fmt.Sprintf("%s at %d by %.2f s", o.name, off, -slack.Seconds()))
		p.seen.total -= slack
		p.seen.longest = max(p.seen.longest, -slack)
	}
}

// A lister reads the playlist of a node as a player does, and notes how far it
// falls behind.
type lister struct {
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu      sync.Mutex // guards below
	behind  int        // segments
	refused int        // requests without an answer
}

var segmentNumber = regexp.MustCompile(`chunk-stream0-(\d+)\.m4s`)

func (l *lab) list(node string, s *source) *lister {
	ctx, cancel := context.WithCancel(l.t.Context())
	x := &lister{cancel: cancel}
	client := l.client(node)
	x.group.Go(func() {
		for ctx.Err() == nil {
			newest := s.number() - 1 // the one before it is complete
			body, err := get(ctx, client, playerURL(node)+"media_0.m3u8")
			x.mu.Lock()
			if err != nil && ctx.Err() == nil {
				x.refused++
			} else if all := segmentNumber.FindAllSubmatch(body, -1); len(all) > 0 {
				n, _ := strconv.Atoi(string(all[len(all)-1][1]))
				x.behind = max(x.behind, newest-n)
			}
			x.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	})
	l.t.Cleanup(func() { x.end() })
	return x
}

func (x *lister) end() string {
	x.cancel()
	x.group.Wait()
	x.mu.Lock()
	defer x.mu.Unlock()
	return fmt.Sprintf("playlist at most %d segments behind, %d requests without an answer", x.behind, x.refused)
}
