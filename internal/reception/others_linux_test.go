package reception

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/flutetest"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/lossy"
	"github.com/treedn/treedn/internal/service"
	"github.com/treedn/treedn/internal/telemetry"
)

// sums is a service.Sink that notes the digests of what is whole.
type sums struct {
	mu   sync.Mutex // guards below
	seen map[string]bool
}

func (s *sums) Begin(service.Meta) service.ObjectSink { return &summed{to: s} }
func (s *sums) Manifest(service.Meta, []byte)         {}

func (s *sums) has(list []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.ContainsFunc(list, func(sum string) bool { return !s.seen[sum] })
}

type summed struct {
	to   *sums
	body bytes.Buffer
}

func (o *summed) Write(p []byte, _ bool) { o.body.Write(p) }
func (o *summed) Abort(error)            {}

func (o *summed) Commit() {
	sum := sha256.Sum256(o.body.Bytes())
	o.to.mu.Lock()
	defer o.to.mu.Unlock()
	o.to.seen[hex.EncodeToString(sum[:])] = true
}

const namespaceEnv = "RECEPTION_TEST_IN_NAMESPACE"

// TestOtherSessionsOverSockets runs TestOtherSessionsInNamespace in a network namespace of its own, where the addresses are
// those of the capture. It needs user namespaces, but no privilege; a system without them is a failure only where
// TREEDN_REQUIRE lists root.
func TestOtherSessionsOverSockets(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestOtherSessionsInNamespace$", "-test.v")
	cmd.Env = append(os.Environ(), namespaceEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
			t.Fatal(err)
		}
		t.Skipf("this system gives no namespace: %v", err)
	}
	require.NoError(t, cmd.Wait(), "%s", &out)
}

// A service of GPAC (splitlct=mcast), whose S-TSID names two groups for its media beside the one that is configured, is
// sent again as it was captured. All three groups are joined, seen in the status, and left.
func TestOtherSessionsInNamespace(t *testing.T) {
	if os.Getenv(namespaceEnv) == "" {
		t.Skip("run by TestOtherSessionsOverSockets")
	}
	const testdata = "../../route/testdata/gpac-route-split"
	packets := flutetest.Capture(t, testdata+".pcap")
	var want []string
	for _, x := range flutetest.List(t, testdata+".tsv") {
		if x.TSI != 0 {
			want = append(want, x.SHA256)
		}
	}
	source := packets[0].Src.Addr()
	for _, args := range []string{"link set lo up", "addr add " + source.String() + "/32 dev lo"} {
		out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
		require.NoError(t, err, "ip %s: %s", args, out)
	}
	sender, err := ssm.NewSender(source, nil)
	require.NoError(t, err)
	defer sender.Close()
	send := func(to func(netip.AddrPort) bool) {
		for _, p := range packets {
			if to(p.Dst) {
				_, err := sender.WriteBatch([][]byte{p.Payload}, p.Dst)
				require.NoError(t, err)
			}
		}
	}

	session := config.Session{Source: source, Group: netip.MustParseAddr("232.1.1.1"), Port: 6000}
	isConfigured := func(a netip.AddrPort) bool { return a == netip.AddrPortFrom(session.Group, session.Port) }
	b, got := newBase(t, config.Cache{}, lossy.Config{}), &sums{seen: map[string]bool{}}
	x, err := b.Services.Add(live(session))
	require.NoError(t, err)
	x.AddSink(got)
	sockets := func() (list []config.Session) {
		for _, s := range b.Status(time.Now()).Sockets {
			require.Equal(t, "live", s.Service)
			require.NotZero(t, s.Buffer)
			list = append(list, config.Session{Source: s.Source, Group: s.Group, Port: s.Port})
		}
		slices.SortFunc(list, func(a, b config.Session) int { return a.Group.Compare(b.Group) })
		return list
	}
	require.Len(t, sockets(), 1)
	send(isConfigured)
	require.Eventually(t, func() bool { return len(sockets()) == 3 }, 20*time.Second, 10*time.Millisecond, "they are not joined")
	require.Equal(t, []config.Session{
		session,
		{Source: source, Group: netip.MustParseAddr("232.1.1.2"), Port: 6001},
		{Source: source, Group: netip.MustParseAddr("232.1.1.3"), Port: 6001},
	}, sockets())
	send(func(a netip.AddrPort) bool { return !isConfigured(a) })
	require.Eventually(t, func() bool { return got.has(want) }, 20*time.Second, 10*time.Millisecond, "not all objects are whole")
	require.Equal(t, telemetry.WayNative, status(t, b).Way.Kind)

	// Another session takes the place of all three.
	next := newSession(t)
	require.NoError(t, b.Services.Change(live(next)))
	s := newSender(t)
	s.to(next)
	pass(t, s, b)
	require.Eventually(t, func() bool { return slices.Equal(sockets(), []config.Session{next}) }, 20*time.Second, 10*time.Millisecond, "they are never left")
}
