package ingest

import (
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// Config configures a [Server]. The zero value of each field means its default.
type Config struct {
	// Sink takes the objects. Required.
	Sink Sink
	// Channels are the channels at the start; see [Server.SetChannels].
	Channels map[string]Channel
	// RequireKey demands a stream key on every connection. Set it when any
	// listener is reachable from beyond this host. Without it, connections to a
	// loopback address need no key on channels that have none; connections to
	// any other address always need one.
	RequireKey bool
	// StateDir keeps init segments and the reserved generations, which must
	// survive a restart: FFmpeg sends its init segments only once. "" keeps
	// nothing.
	StateDir string
	// Hold is how long a publisher keeps its channel after its last octet, so
	// that it can reconnect. At least two target durations of the channel's
	// manifests. Default 10 s.
	Hold time.Duration
	// IdleTimeout ends a request without new octets; it is never shorter than
	// two target durations. Default 60 s.
	IdleTimeout time.Duration
	// MaxObjectTime ends a request that is still being sent; it is never
	// shorter than ten target durations. Default 10 min.
	MaxObjectTime time.Duration
	// MaxObject bounds media segments and other objects. Default 256 MiB.
	MaxObject int64
	// MaxManifest and MaxInit bound manifests and init segments, which are
	// buffered whole. Default 1 MiB each.
	MaxManifest, MaxInit int64
	// MaxTracks bounds the numbered series of a channel. Default 64.
	MaxTracks int
	// MaxRequests bounds the concurrent requests of a channel. Default 64.
	MaxRequests int
	// Standby reports whether a request comes from a standby publisher, which
	// gives way at once to any that is none, and returns when that one has been
	// silent for Hold: a slate. nil: no publisher is a standby.
	Standby func(*http.Request) bool
	// Logger receives what an operator should know. nil is silent.
	Logger *slog.Logger
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Channel configures one channel.
type Channel struct {
	// Keys are the hashes of the stream keys that may publish, at most 8. See
	// [Config.RequireKey] for a channel without keys.
	Keys []KeyHash
	// MaxRate bounds the octets per second that the channel takes, with bursts
	// of one second. Default unlimited.
	MaxRate int64
}

func (c Config) withDefaults() (Config, error) {
	if c.Sink == nil {
		return c, fmt.Errorf("ingest: config: no sink")
	}
	c.Hold = positive(c.Hold, 10*time.Second)
	c.IdleTimeout = positive(c.IdleTimeout, time.Minute)
	c.MaxObjectTime = positive(c.MaxObjectTime, 10*time.Minute)
	c.MaxObject = positive(c.MaxObject, 256<<20)
	c.MaxManifest = positive(c.MaxManifest, 1<<20)
	c.MaxInit = positive(c.MaxInit, 1<<20)
	c.MaxTracks = positive(c.MaxTracks, 64)
	c.MaxRequests = positive(c.MaxRequests, 64)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, nil
}

func positive[T ~int | ~int64](v, standard T) T {
	if v <= 0 {
		return standard
	}
	return v
}

// validate refuses channels that could not work.
func validate(channels map[string]Channel) error {
	for name, c := range channels {
		if !ValidChannel(name) {
			return fmt.Errorf("ingest: config: channel %q: only letters, digits, dots, hyphens and underscores, at most 64", name)
		}
		if len(c.Keys) > maxKeys {
			return fmt.Errorf("ingest: config: channel %q: more than %d keys", name, maxKeys)
		}
	}
	return nil
}
