package lossy

import (
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFlags(t *testing.T) {
	parse := func(args string) (c Config, err error) {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		c.Flags(fs)
		return c, fs.Parse(strings.Fields(args))
	}
	c, err := parse("-inject-loss 0.1 -inject-burst 200ms/5s -inject-seed 7")
	require.NoError(t, err)
	require.Equal(t, Config{Random: 0.1, BurstFor: 200 * time.Millisecond, BurstEvery: 5 * time.Second, Seed: 7}, c)
	require.True(t, c.Active())
	for _, bad := range []string{
		"-inject-loss 10%", "-inject-loss -0.1", "-inject-loss 1.1", "-inject-loss NaN", "-inject-loss 0.1x", "-inject-burst 200ms",
		"-inject-burst 5s/200ms", "-inject-burst 0s/5s", "-inject-burst x/5s",
	} {
		_, err := parse(bad)
		require.Error(t, err, bad)
	}
}
