// Command cast is the root of a multicast tree: it takes live channels from encoders over HTTP, sends them by multicast,
// and gives its children what multicast did not bring them.
//
//	cast -config cast.yaml
//	cast -channel live -source 127.0.0.1 -group 232.1.1.1:6000
//
// docs/configuration.md describes the file and the flags.
package main

import (
	"log/slog"
	"os"

	"github.com/treedn/treedn/internal/cast"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
)

func main() {
	os.Exit(node.Command[config.Cast]{
		Name: "cast",
		Does: "takes live channels over HTTP and sends them by multicast",
		Open: func(cfg *config.Cast, log *slog.Logger) (node.Role[config.Cast], error) {
			return cast.New(cfg, cast.Options{Logger: log})
		},
	}.Main())
}
