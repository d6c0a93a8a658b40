package players

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/beacon"
	"github.com/treedn/treedn/internal/clip"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/demo"
	"github.com/treedn/treedn/internal/lossy"
)

// loss is what the second BEACON of a tree loses.
const loss = 0.1

// sharedTree carries the built-in clip, for all tests that need nothing else. TestMain ends it.
var sharedTree struct {
	once sync.Once
	tree *demo.Tree
	err  error
	stop func()
}

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedTree.stop != nil {
		sharedTree.stop()
	}
	os.Exit(code)
}

// clipTree returns the shared tree once players find enough in it to begin.
func clipTree(t *testing.T) *demo.Tree {
	t.Helper()
	s := &sharedTree
	s.once.Do(func() {
		if s.tree, s.err = newTree(); s.err != nil {
			return
		}
		ctx, cancel := context.WithCancel(context.Background())
		pushed := make(chan error, 1)
		go func() {
			pushed <- clip.Push(ctx, s.tree.Cast.IngestURL()+"/publish/live/manifest.mpd", clip.PushConfig{Logger: quiet()})
		}()
		s.stop = func() {
			cancel()
			<-pushed
			_ = s.tree.Close(context.Background())
		}
	})
	require.NoError(t, s.err)
	for _, b := range s.tree.Beacons {
		awaitSegments(t, http.DefaultClient, b.URL())
	}
	return s.tree
}

func newTree() (*demo.Tree, error) {
	return demo.NewTree(context.Background(), demo.TreeOptions{Loss: lossy.Config{Random: loss, Seed: 1}, Logger: quiet()})
}

func quiet() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// ffmpegTree returns a tree with FFmpeg as its source.
func ffmpegTree(t *testing.T) *demo.Tree {
	t.Helper()
	ffmpeg := tool(t, "ffmpeg")
	tree, err := newTree()
	require.NoError(t, err)
	t.Cleanup(func() { _ = tree.Close(context.Background()) })
	// The command line is the one that the demonstration's page gives its readers to copy.
	args := strings.Fields(demo.FFmpegCommand(tree.Cast.IngestURL(), ""))[1:]
	cmd := exec.Command(ffmpeg, append([]string{"-nostdin"}, args...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // with a status of its own after a signal
		if t.Failed() {
			t.Logf("FFmpeg: %s", &stderr)
		}
	})
	for _, b := range tree.Beacons {
		awaitSegments(t, http.DefaultClient, b.URL())
	}
	return tree
}

// awaitSegments waits until the node at base has a stream that a live player begins to play: three segments.
func awaitSegments(t *testing.T, client *http.Client, base string) {
	t.Helper()
	require.Eventually(t, func() bool {
		resp, err := client.Get(base + "/live/media_0.m3u8")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && bytes.Count(b, []byte("#EXTINF")) >= 3
	}, 20*time.Second, 50*time.Millisecond)
}

// secureLeaf adds a BEACON with a certificate to the tree.
func secureLeaf(t *testing.T, tree *demo.Tree) *beacon.Node {
	t.Helper()
	cert, key := certificate(t)
	listen := config.ListenOn(netip.MustParseAddrPort("127.0.0.1:0"))
	parent, err := config.ParseURL(tree.Relay.RepairURL())
	require.NoError(t, err)
	ch := tree.Channels[1]
	cfg, err := config.Complete(config.Beacon{
		Node:  config.Node{Name: "secure"},
		HTTP:  config.HTTP{Listen: listen, TLS: config.TLS{Cert: config.Path(cert), Key: config.Path(key)}},
		Admin: config.Admin{Listen: listen},
		Services: []config.Service{{Name: "live", Upstream: config.Upstream{
			Session: config.Session{Source: ch.Source, Group: ch.Group, Port: ch.Port}, Parents: []config.URL{parent},
			Anchors: []config.Anchor{config.AnchorOf(tree.Keys[0])}, HopAnchors: []config.Anchor{config.AnchorOf(tree.Keys[1])},
		}}},
	})
	require.NoError(t, err)
	leaf, err := beacon.New(cfg, beacon.Options{Logger: quiet()})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = leaf.Close(ctx)
	})
	return leaf
}

// certificate makes one that nobody trusts, for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	write := func(kind string, der []byte) string {
		file := filepath.Join(t.TempDir(), "tls.pem")
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return file
	}
	return write("CERTIFICATE", der), write("PRIVATE KEY", pkcs8)
}

// hls and dash are the manifests of the node at base.
func hls(base string) string  { return fmt.Sprintf("%s/live/master.m3u8", base) }
func dash(base string) string { return fmt.Sprintf("%s/live/manifest.mpd", base) }
