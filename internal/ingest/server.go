package ingest

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// A Server takes the objects of channels from their publishers and hands them to
// a [Sink]. It is an http.Handler for the paths below /publish/. It is safe for
// concurrent use.
type Server struct {
	config     Config
	background background

	configuring sync.Mutex // held during SetChannels and Close

	mu       sync.Mutex // guards below; taken before no other lock
	channels map[string]*channel
	anyKey   bool // some channel has a key
	closed   bool
	refusals time.Time // when one was logged
}

// background is the set of goroutines that Close waits for.
type background struct {
	mu     sync.Mutex // guards closed, and Add against Wait
	closed bool
	wg     sync.WaitGroup
}

// run runs f beside the caller, unless the server is closed.
func (b *background) run(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(f)
	}
}

// wait lets no more begin and waits for those that have.
func (b *background) wait() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wg.Wait()
}

// New returns a server and hands the init segments that its channels had before
// a restart to the sink.
func New(cfg Config) (*Server, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Server{config: cfg, channels: make(map[string]*channel)}
	if err := s.SetChannels(cfg.Channels); err != nil {
		return nil, err
	}
	return s, nil
}

// SetChannels replaces the set of channels, without touching what stays: a
// publisher whose channel and key are still there notices nothing; one whose key
// or channel is gone is cut off at once. A set with a mistake is refused whole.
func (s *Server) SetChannels(channels map[string]Channel) error {
	if err := validate(channels); err != nil {
		return err
	}
	s.configuring.Lock()
	defer s.configuring.Unlock()
	s.mu.Lock()
	closed, old := s.closed, s.channels
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	// The fallible part first: a failure leaves the old set in force.
	current := make(map[string]*channel, len(channels))
	anyKey := false
	for name, cfg := range channels {
		anyKey = anyKey || len(cfg.Keys) > 0
		if current[name] = old[name]; current[name] == nil {
			c, err := newChannel(name, s, cfg)
			if err != nil {
				return err
			}
			current[name] = c
		}
	}
	s.mu.Lock()
	s.channels, s.anyKey = current, anyKey
	s.mu.Unlock()
	for name, c := range old {
		if cfg, stays := channels[name]; stays {
			c.configure(cfg)
		} else {
			c.close(ErrRevoked)
		}
	}
	return nil
}

// State returns the state of a channel's source.
func (s *Server) State(channel string) (State, bool) {
	c := s.channel(channel)
	if c == nil {
		return State{}, false
	}
	return c.state(), true
}

// States returns the states of all channels in the order of their names.
func (s *Server) States() []State {
	s.mu.Lock()
	all := make([]*channel, 0, len(s.channels))
	for _, c := range s.channels {
		all = append(all, c)
	}
	s.mu.Unlock()
	slices.SortFunc(all, func(a, b *channel) int { return strings.Compare(a.name, b.name) })
	states := make([]State, 0, len(all))
	for _, c := range all {
		states = append(states, c.state())
	}
	return states
}

func (s *Server) channel(name string) *channel {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channels[name]
}

// Close breaks off all requests and pulls. It does not wait for their goroutines,
// which are the caller's. It is idempotent.
func (s *Server) Close() error {
	s.configuring.Lock()
	defer s.configuring.Unlock()
	s.mu.Lock()
	s.closed = true
	all := s.channels
	s.channels = make(map[string]*channel)
	s.mu.Unlock()
	for _, c := range all {
		c.close(ErrClosed)
	}
	s.background.wait()
	return nil
}
