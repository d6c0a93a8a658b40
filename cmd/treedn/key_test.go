package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/config"
)

func TestKeyPrintsBothHalves(t *testing.T) {
	var out, errs strings.Builder
	require.Zero(t, key(nil, &out, &errs))
	require.Empty(t, errs.String())
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 2)
	half := func(line, label string) []byte {
		require.True(t, strings.HasPrefix(line, label), line)
		return []byte(strings.TrimSpace(strings.TrimPrefix(line, label)))
	}
	var k config.SealKey
	require.NoError(t, k.UnmarshalText(half(lines[0], "private, for seal_key:")))
	var a config.Anchor
	require.NoError(t, a.UnmarshalText(half(lines[1], "public, for anchors:")))
	require.Equal(t, config.AnchorOf(k), a)
}

func TestKeyWritesAPair(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "live.key")
	var out, errs strings.Builder
	require.Zero(t, key([]string{"-o", path}, &out, &errs))
	private, err := os.ReadFile(path)
	require.NoError(t, err)
	public, err := os.ReadFile(filepath.Join(dir, "live.pub"))
	require.NoError(t, err)
	require.Equal(t, string(public), out.String(), "the public key alone")
	require.NotContains(t, errs.String(), strings.TrimSpace(string(private)))

	// The pair fits together, and into the files of the roles.
	cast, err := config.Parse[config.Cast](filepath.Join(dir, "cast.yaml"), []byte(
		"channels:\n  - {name: live, seal_key: \"file:live.key\", multicast: {source: 127.0.0.1, group: 232.1.1.1, port: 6000}}\n"))
	require.NoError(t, err)
	beacon, err := config.Parse[config.Beacon](filepath.Join(dir, "beacon.yaml"), []byte(
		"services:\n  - {name: live, upstream: {source: 127.0.0.1, group: 232.1.1.1, port: 6000, anchors: [\"file:live.pub\"]}}\n"))
	require.NoError(t, err)
	require.Equal(t, config.AnchorOf(cast.Channels[0].SealKey).Key(), beacon.Services[0].Upstream.Anchors[0].Key())

	out.Reset()
	errs.Reset()
	require.Equal(t, 1, key([]string{"-o", path}, &out, &errs), "nothing is overwritten")
	require.Empty(t, out.String())
	require.Contains(t, errs.String(), "live.key")
	again, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, private, again)
}

func TestKeyRefuses(t *testing.T) {
	for _, args := range [][]string{{"x"}, {"-x"}, {"-o"}} {
		var out, errs strings.Builder
		require.Equal(t, 2, key(args, &out, &errs), args)
		require.Empty(t, out.String())
		require.NotEmpty(t, errs.String())
	}
}
