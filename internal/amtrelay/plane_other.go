//go:build !linux

package amtrelay

import (
	"errors"
	"log/slog"

	"github.com/treedn/treedn/internal/config"
)

func openPlane(config.AMTXDP, int, *slog.Logger) (plane, error) {
	return nil, errors.New("that takes Linux")
}
