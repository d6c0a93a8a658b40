package via

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name  string
		lines []string
		loop  bool
	}{
		{"none", nil, false},
		{"others", []string{"1.1 a, HTTP/1.1 b (x, 1.1 relay-1)"}, false},
		{"this node", []string{"1.1 a", "1.0 b, 1.1 Relay-1"}, true},
		{"this node after a comment", []string{`1.1 a (\), (nested)), 1.1 relay-1`}, true},
		{"too many", []string{"1.1 a, 1.1 b, 1.1 c, 1.1 d"}, true},
		// RFC 9110 section 7.6.3
		{"example of the RFC", []string{"1.0 fred, 1.1 p.example.net"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Check(c.lines, "relay-1", 3)
			require.Equal(t, strings.Join(c.lines, ", "), got)
			if c.loop {
				require.ErrorIs(t, err, ErrLoop)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

func TestAppend(t *testing.T) {
	require.Equal(t, "1.1 relay_1", Append("", "relay 1"))
	require.Equal(t, "1.0 fred, 1.1 a", Append("1.0 fred", "a"))
	require.Equal(t, "1.0 fred", Append("1.0 fred", ""))
	_, err := Check([]string{Append("1.0 fred", "relay 1,()")}, "relay 1,()", 8)
	require.ErrorIs(t, err, ErrLoop, "a node finds itself")
}

func TestContext(t *testing.T) {
	ctx := With(context.Background(), "1.1 a")
	require.Equal(t, "1.1 a", Of(ctx))
	require.Empty(t, Of(With(context.Background(), "")))
}
