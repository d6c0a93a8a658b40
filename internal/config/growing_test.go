package config

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fecOf is an FEC whose part for growing objects is the default.
func fecOf(loss, target float64) FEC {
	return FEC{Loss: loss, Target: target, Growing: GrowingFEC{Delay: 30 * time.Millisecond, Target: min(0.01, 10*target)}}
}

func TestGrowing(t *testing.T) {
	parse := func(fec string) (Downstream, error) {
		c, err := Parse[Cast]("c", []byte(strings.Replace(minimalCast, "group:", "fec: "+fec+", group:", 1)))
		if err != nil {
			return Downstream{}, err
		}
		return c.Channels[0].Multicast, nil
	}
	d, err := parse("{growing: {delay: 10ms, target: 0.05}}")
	require.NoError(t, err)
	require.Equal(t, GrowingFEC{Delay: 10 * time.Millisecond, Target: 0.05}, d.FEC.Growing)
	d, err = parse("{target: 0.3}")
	require.NoError(t, err)
	require.Equal(t, 0.01, d.FEC.Growing.Target)
	d, err = parse("{growing: {off: true}}")
	require.NoError(t, err)
	require.Equal(t, GrowingFEC{Off: true}, d.FEC.Growing)
	d, err = parse("{off: true}")
	require.NoError(t, err)
	require.Equal(t, FEC{Off: true}, d.FEC)
	for fec, want := range map[string]string{
		"{growing: {delay: 1ms}}":              "fec.growing.delay: is not from 5ms",
		"{growing: {delay: 1s}}":               "fec.growing.delay: is not from 5ms",
		"{growing: {target: 2}}":               "fec.growing.target: is not from",
		"{growing: {off: true, target: 0.1}}":  "fec.growing: is off and has",
		"{off: true, growing: {delay: 10ms}}":  "fec: is off and has",
		"{off: true, growing: {off: true}}":    "fec: is off and has",
		"{target: 0, growing: {delay: soon}}":  "is not a duration",
		"{growing: {delay: 10ms, share: 0.1}}": "unknown key",
	} {
		_, err := parse(fec)
		require.ErrorContains(t, err, want, fec)
	}
	_, err = parse("{target: -1}")
	require.ErrorContains(t, err, "fec.target")
	require.NotContains(t, err.Error(), "growing", "one mistake, one problem")
}
