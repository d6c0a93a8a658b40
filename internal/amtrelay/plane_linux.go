package amtrelay

import (
	"log/slog"

	"github.com/treedn/treedn/amt/xdp"
	"github.com/treedn/treedn/internal/config"
)

func openPlane(c config.AMTXDP, maxTunnels int, log *slog.Logger) (plane, error) {
	return xdp.Open(xdp.Config{Upstream: c.Upstream, Egress: c.Egress, MaxCopies: c.MaxCopies, MaxTunnels: maxTunnels, Logger: log})
}
