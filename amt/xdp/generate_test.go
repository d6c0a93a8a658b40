package xdp

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The objects are those of the source: go generate writes its hash beside them.
func TestObjectsAreOfTheSource(t *testing.T) {
	source, err := os.ReadFile("fanout.c")
	require.NoError(t, err)
	sum := sha256.Sum256(source)
	written, err := os.ReadFile("fanout.sum")
	require.NoError(t, err)
	require.Equal(t, hex.EncodeToString(sum[:]), strings.Fields(string(written))[0], "run go generate")
}
