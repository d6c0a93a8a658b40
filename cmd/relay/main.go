// Command relay is an inner node of a multicast tree: it receives services, repairs and caches them, serves players and
// children, and sends services on by multicast with repair packets of its own.
//
//	relay -config relay.yaml
//	relay -service live -source 127.0.0.1 -group 232.1.1.1:6000 -parent http://127.0.0.1:8081
//
// docs/configuration.md describes the file and the flags.
package main

import (
	"log/slog"
	"os"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
	"github.com/treedn/treedn/internal/relay"
)

func main() {
	var loss lossy.Config
	os.Exit(node.Command[config.Relay]{
		Name:  "relay",
		Does:  "receives services by multicast, serves players and children, and sends services on",
		Flags: loss.Flags,
		Open: func(cfg *config.Relay, log *slog.Logger) (node.Role[config.Relay], error) {
			return relay.New(cfg, relay.Options{Loss: loss, Logger: log})
		},
	}.Main())
}
