// Command beacon is the leaf of a multicast tree: it receives services, repairs and caches them, and serves players.
//
//	beacon -config beacon.yaml
//	beacon -service live -source 127.0.0.2 -group 232.1.2.1:6000 -parent http://127.0.0.2:8081
//
// docs/configuration.md describes the file and the flags.
package main

import (
	"log/slog"
	"os"

	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/node"
)

func main() {
	var loss lossy.Config
	os.Exit(node.Command[config.Beacon]{
		Name:  "beacon",
		Does:  "receives services by multicast and serves players",
		Flags: loss.Flags,
		Open: func(cfg *config.Beacon, log *slog.Logger) (node.Role[config.Beacon], error) {
			return beacon.New(cfg, beacon.Options{Loss: loss, Logger: log})
		},
	}.Main())
}
