package driad

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventTypeString(t *testing.T) {
	seen := map[string]bool{}
	for e := EventCandidates; e <= EventResolved; e++ {
		require.NotContains(t, e.String(), "event")
		seen[e.String()] = true
	}
	require.Len(t, seen, int(EventResolved))
	require.Equal(t, "event 0", EventType(0).String())
}
