package demo

import (
	"bytes"
	"context"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
	"github.com/treedn/treedn/internal/lossy"
)

func check(t *testing.T, o Options) *Report {
	t.Helper()
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	o.Print = func(line string) { t.Log(line) }
	rep, err := Run(t.Context(), o)
	require.NoError(t, err)
	return rep
}

func TestCheckOfALossyTree(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	rep := check(t, Options{Check: 14 * time.Second, Dump: dir, Tree: TreeOptions{Loss: lossy.Config{Random: 0.2, Seed: 3}}})
	require.True(t, rep.OK, "%+v", rep)
	require.Len(t, rep.Nodes, 4)
	lossy := rep.Nodes[3]
	require.Equal(t, "beacon-2", lossy.Name)
	require.Zero(t, lossy.Missing+lossy.Different)
	require.Positive(t, lossy.PacketsLost)
	require.Positive(t, lossy.FECOctets)
	requireExplained(t, rep)

	// What the BEACONs served is what CAST took in, octet by octet.
	compared := 0
	for _, node := range []string{"beacon-1", "beacon-2"} {
		err := filepath.WalkDir(filepath.Join(dir, node), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(filepath.Join(dir, node), path)
			require.NoError(t, err)
			served, err := os.ReadFile(path)
			require.NoError(t, err)
			taken, err := os.ReadFile(filepath.Join(dir, "cast", name))
			require.NoError(t, err)
			require.True(t, bytes.Equal(taken, served), "%s of %s", name, node)
			compared++
			return nil
		})
		require.NoError(t, err)
	}
	require.Equal(t, rep.Nodes[2].Objects+rep.Nodes[3].Objects, compared)
}

// requireExplained demands that where nothing is dropped on purpose nothing is lost but what the system dropped and
// counted, however busy the machine is: late is not lost.
func requireExplained(t *testing.T, rep *Report) {
	t.Helper()
	for _, n := range rep.Nodes[1:3] { // RELAY and the first BEACON
		if n.PacketsDropped == 0 {
			require.Zero(t, n.PacketsLost, "%s: %+v", n.Name, rep)
		}
		// The system may count a run of up to 64 packets that came as one.
		require.LessOrEqual(t, n.PacketsLost, 64*n.PacketsDropped, n.Name)
	}
}

func TestCheckWithoutUnicast(t *testing.T) {
	t.Parallel()
	rep := check(t, Options{Check: 14 * time.Second, Tree: TreeOptions{NoUnicast: true, Loss: lossy.Config{Random: 0.1, Seed: 1}}})
	require.True(t, rep.OK, "%+v", rep)
	for _, n := range rep.Nodes {
		require.Zero(t, n.RepairOctets+n.FallbackOctets, n.Name)
	}
	requireExplained(t, rep)
	require.Positive(t, rep.Nodes[3].FECOctets)
}

// TestCheckOfFFmpeg needs FFmpeg: without it the test is skipped, or fails if TREEDN_REQUIRE lists it.
func TestCheckOfFFmpeg(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "ffmpeg") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir := t.TempDir()
	rep := check(t, Options{Check: 16 * time.Second, FFmpeg: true, Dump: dir, Tree: TreeOptions{Loss: lossy.Config{Random: 0.1, Seed: 1}}})
	require.True(t, rep.OK, "%+v", rep)
	tracks, err := filepath.Glob(filepath.Join(dir, "cast", "init-stream*.m4s"))
	require.NoError(t, err)
	require.Len(t, tracks, 2, "the clip has three")
}

// TestCheckFails makes sure that a check can say no.
func TestCheckFails(t *testing.T) {
	t.Parallel()
	rep := check(t, Options{Check: 12 * time.Second, Tree: TreeOptions{NoUnicast: true, Loss: lossy.Config{Random: 0.8, Seed: 1}}})
	require.False(t, rep.OK)
	require.Positive(t, rep.Nodes[3].Missing)
	require.NotEmpty(t, rep.Problems)
	require.Zero(t, rep.Nodes[2].Missing, "only the lossy one misses something")
}

func TestCheckTellsOfObjectsThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	rep := check(t, Options{Check: 5 * time.Second, Dump: file})
	require.False(t, rep.OK)
	require.Len(t, rep.Problems, 1, "the tree itself is in order")
	require.Contains(t, rep.Problems[0], "could not be written")
}

func TestEndsWhenToldTo(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Run(ctx, Options{
		Logger: slog.New(slog.DiscardHandler),
		Print:  func(string) { time.AfterFunc(time.Second, cancel) }, // once it runs
	})
	require.NoError(t, err)
	require.Error(t, ctx.Err(), "it has said something")
}

func TestDumpStaysInItsDirectory(t *testing.T) {
	dir := t.TempDir()
	require.Error(t, writeObject(dir, "cast", "../escaped", []byte("x")))
	require.NoError(t, writeObject(dir, "cast", "v/1.m4s", []byte("x")))
	_, err := os.Stat(filepath.Join(dir, "cast", "v", "1.m4s"))
	require.NoError(t, err)
	_, err = os.Stat(filepath.Join(dir, "escaped"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestPortsAndGroupsAsGiven(t *testing.T) {
	ch := ssmtest.Channel(t)
	groups := [2]netip.AddrPort{
		netip.AddrPortFrom(ch.Group, ch.Port),
		netip.AddrPortFrom(ch.Group.Next(), ch.Port),
	}
	tree, err := NewTree(t.Context(), TreeOptions{Groups: groups, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer tree.Close(context.Background())
	for i, g := range groups {
		require.Equal(t, g, tree.Channels[i].Destination())
		require.True(t, tree.Channels[i].Source.IsLoopback())
	}
	_, err = NewTree(t.Context(), TreeOptions{
		Groups: [2]netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:6000")}, Logger: slog.New(slog.DiscardHandler),
	})
	require.ErrorIs(t, err, ssm.ErrChannel)
}

func TestOutward(t *testing.T) {
	require.Equal(t, "http://127.0.0.1:80", outward("http://127.0.0.1:80"))
	for _, all := range []string{"http://[::]:8080", "https://0.0.0.0:8080"} {
		u, err := url.Parse(outward(all))
		require.NoError(t, err)
		require.Equal(t, "8080", u.Port())
		a, err := netip.ParseAddr(u.Hostname())
		require.NoError(t, err)
		require.False(t, a.IsUnspecified())
	}
}
