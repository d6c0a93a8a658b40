package cast

import (
	"context"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/ingest"
)

// pull is a channel that is being fetched from an origin.
type pull struct {
	url    string
	cancel context.CancelFunc
	done   chan struct{}
}

// pull makes the running pulls those of the channels. It is called while a configuration is applied,
// before the node is anybody's, and when it ends.
func (n *Node) pull(channels []config.Channel) {
	want := make(map[string]string)
	for _, c := range channels {
		if !c.Pull.IsZero() {
			want[c.Name] = c.Pull.URL().String()
		}
	}
	for name, p := range n.pulls {
		if want[name] != p.url {
			p.cancel()
			<-p.done
			delete(n.pulls, name)
		}
	}
	for name, url := range want {
		if n.pulls[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		p := &pull{url: url, cancel: cancel, done: make(chan struct{})}
		if n.pulls == nil {
			n.pulls = make(map[string]*pull)
		}
		n.pulls[name] = p
		go func() {
			defer close(p.done)
			if err := n.ingest.Pull(ctx, name, ingest.PullConfig{URL: url}); err != nil && ctx.Err() == nil {
				n.log.Error("pull has ended", "channel", name, "error", err)
			}
		}()
	}
}
