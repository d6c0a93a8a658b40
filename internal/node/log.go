package node

import (
	"context"
	"io"
	"log/slog"
	"math"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

// newLogger returns a logger whose level may change while it is in use.
func newLogger(w io.Writer, c config.Log) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	level.Set(c.Level)
	all := telemetry.NewLogger(w, config.Log{Level: math.MinInt, Format: c.Format})
	return slog.New(leveled{all.Handler(), level}), level
}

// leveled lets through what is not below a level.
type leveled struct {
	slog.Handler
	level *slog.LevelVar
}

func (h leveled) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h leveled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return leveled{h.Handler.WithAttrs(attrs), h.level}
}

func (h leveled) WithGroup(name string) slog.Handler {
	return leveled{h.Handler.WithGroup(name), h.level}
}
