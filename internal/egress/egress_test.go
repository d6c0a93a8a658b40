package egress_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/egress"
	"github.com/treedn/treedn/internal/service"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rate that is raised under way raises what may wait, as it would from the start.
func TestHigherRateLetsMoreWait(t *testing.T) {
	ch := ssmtest.Channel(t)
	at := func(rate config.Rate) egress.Config {
		return egress.FromConfig(config.Downstream{
			Session: config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}, Rate: rate, FEC: config.FEC{Off: true},
		}, time.Now, slog.New(slog.DiscardHandler))
	}
	e, err := egress.New(at(8_000_000))
	require.NoError(t, err)
	send := func(name string) (most int64, refused uint64) {
		o := e.Begin(service.Meta{Name: name, Generation: 1, Kind: service.Other, Length: -1})
		for range 40 {
			o.Write(make([]byte, 1<<20), false)
		}
		o.Commit()
		_, most, refused = e.Waiting()
		return most, refused
	}
	most, refused := send("first.bin")
	require.EqualValues(t, 32<<20, most)
	require.EqualValues(t, 1, refused)
	require.NoError(t, e.Reconfigure(at(80_000_000)))
	most, refused = send("second.bin")
	require.EqualValues(t, 100_000_000, most)
	require.EqualValues(t, 1, refused)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, e.Run(ctx))
}
