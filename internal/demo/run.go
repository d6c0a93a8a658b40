package demo

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/treedn/treedn/internal/clip"
)

// Options of a demonstration.
type Options struct {
	// Tree says how the tree is built; its StreamKey and Logger are set by Run.
	Tree TreeOptions
	// Port is that of the page; 0 is a free one.
	Port uint16
	// FFmpeg makes the picture instead of the built-in clip.
	FFmpeg bool
	// Check, if not zero, is how long all objects are read and compared, without a page. Dump is a directory for them.
	Check  time.Duration
	Dump   string
	Logger *slog.Logger      // required
	Print  func(line string) // for people; required
}

// objectsPerSecond is what the source makes: a segment every two seconds of each track, of which the clip has three and
// FFmpeg makes two.
func (o *Options) objectsPerSecond() float64 {
	if o.FFmpeg {
		return 1
	}
	return 1.5
}

// Run runs a demonstration until ctx ends, or a check until its time is over. The report is nil without a check.
func Run(ctx context.Context, o Options) (*Report, error) {
	if !o.Tree.Listen.IsValid() {
		o.Tree.Listen = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	key := ""
	if !o.Tree.Listen.IsLoopback() {
		key = newKey()
	}
	o.Tree.StreamKey, o.Tree.Logger = key, o.Logger
	t, err := NewTree(ctx, o.Tree)
	if err != nil {
		return nil, err
	}
	defer t.Close(context.Background())
	if o.Check == 0 {
		return nil, show(ctx, t, o, key)
	}
	c := StartCheck(ctx, t, CheckOptions{
		Duration: o.Check, Dump: o.Dump, Loss: o.Tree.Loss.Random, NoUnicast: o.Tree.NoUnicast, SegmentsPerSecond: o.objectsPerSecond(),
	})
	source, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- push(source, t, o, key) }()
	rep := c.Wait()
	stop()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		rep.problem("source: %v", err)
		rep.OK = false
	}
	return rep, nil
}

// push is the source: the clip or FFmpeg.
func push(ctx context.Context, t *Tree, o Options, key string) error {
	if o.FFmpeg {
		return runFFmpeg(ctx, t.Cast.IngestURL(), key, o.Logger)
	}
	cfg := clip.PushConfig{Logger: o.Logger, Header: http.Header{"User-Agent": {clipAgent}}}
	if key != "" {
		cfg.Header.Set("Authorization", "Bearer "+key)
	}
	return clip.Push(ctx, t.Cast.IngestURL()+"/publish/"+channel+"/manifest.mpd", cfg)
}
