package main

import (
	"context"
	"log/slog"

	"github.com/treedn/treedn/internal/amtrelay"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/node"
)

func runAMTRelay(ctx context.Context, args []string) int {
	return node.Command[config.AMTRelay]{
		Name: "treedn amt-relay",
		Does: "is a relay of Automatic Multicast Tunneling (RFC 7450)",
		Open: func(cfg *config.AMTRelay, log *slog.Logger) (node.Role[config.AMTRelay], error) {
			return amtrelay.New(cfg, log)
		},
	}.Run(ctx, args)
}
