package driad_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/driad/dns"
	"github.com/treedn/treedn/driad/internal/dnstest"
	"github.com/treedn/treedn/driad/resolver"
)

// TestAvahi finds the relays that two hosts on a link announce by Avahi. It runs again
// in a network and with a file system of its own.
func TestAvahi(t *testing.T) {
	const inside = "DRIAD_INSIDE"
	if os.Getenv(inside) != "" {
		testAvahi(t)
		return
	}
	if os.Geteuid() != 0 {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), "root") {
			t.Fatal("needs root")
		}
		t.Skip("needs root")
	}
	dnstest.Tool(t, "avahi-daemon")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestAvahi$", "-test.v")
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestAvahi")
}

func testAvahi(t *testing.T) {
	shell := func(script string) {
		out, err := exec.Command("sh", "-ec", script).CombinedOutput()
		require.NoError(t, err, "%s: %s", script, out)
	}
	shell(`
mount -t tmpfs tmpfs /run
mkdir -p /etc/netns
mount -t tmpfs tmpfs /etc/netns
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
ip link set lo up
ip link add link0 type bridge mcast_snooping 0
ip link set link0 up
ip address add 192.0.2.1/24 dev link0
ip address add 2001:db8::1/64 dev link0 nodad
`)
	add := func(n int, host string, relays map[string]int) (stop func()) {
		ns := fmt.Sprint("host", n)
		shell(strings.NewReplacer("NS", ns, "N", fmt.Sprint(n)).Replace(`
ip netns add NS
ip link add NS type veth peer name eth0 netns NS
ip link set NS master link0 up
ip netns exec NS sh -ec 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set eth0 up
ip address add 192.0.2.N/24 dev eth0
ip address add 2001:db8::N/64 dev eth0 nodad'
`))
		return dnstest.StartAvahi(t, dnstest.Namespace(ns), host, relays)
	}
	stop := add(2, "one", map[string]int{"Relay No. 7": 2269})
	add(3, "two", map[string]int{`Second "relay"`: 2268, "Relay\tü": 2270})

	// They look for a second whether somebody else has their names.
	browse := dns.Question{Name: dns.MustParseName("_amt._udp.local"), Type: dns.TypePTR}
	m := &resolver.Multicast{}
	instances := func() (list []string) {
		r, err := m.Resolve(t.Context(), browse)
		require.NoError(t, err)
		require.False(t, r.Trusted)
		a, err := dns.ParseAnswer(r.Message, browse)
		require.NoError(t, err)
		for _, r := range a.Records {
			list = append(list, r.Target.String())
		}
		slices.Sort(list)
		return list
	}
	want := []string{`Relay\009\195\188._amt._udp.local.`, `Relay\032No\.\0327._amt._udp.local.`, `Second\032\"relay\"._amt._udp.local.`}
	until := func(want []string) {
		got := instances()
		for end := time.Now().Add(60 * time.Second); !slices.Equal(want, got); got = instances() {
			require.True(t, time.Now().Before(end), "%q", got)
		}
	}
	until(want)

	m.Window = 4 * time.Second // the hosts may be slow
	config := driad.ClientConfig{Resolver: nobody{}, Multicast: m}
	config.Domains = []dns.Name{dns.MustParseName("local")}
	config.NoDRIAD, config.NoPlain = true, true
	require.ElementsMatch(t, []string{
		"DNS-SD 0 false 192.0.2.2:2269", "DNS-SD 0 false [2001:db8::2]:2269",
		"DNS-SD 0 false 192.0.2.3:2268", "DNS-SD 0 false [2001:db8::3]:2268",
		"DNS-SD 0 false 192.0.2.3:2270", "DNS-SD 0 false [2001:db8::3]:2270",
	}, found(t, "198.51.100.12", config))

	stop()
	m.Window = 0
	until(slices.Delete(want, 1, 2))
	none := dns.Question{Name: dns.MustParseName("one.local"), Type: dns.TypeA}
	r, err := m.Resolve(t.Context(), none)
	require.NoError(t, err)
	a, err := dns.ParseAnswer(r.Message, none)
	require.NoError(t, err)
	require.False(t, a.Exists())
	require.Equal(t, time.Minute, a.TTL)
	_, err = (&resolver.Multicast{Interfaces: []string{"link0"}}).Resolve(t.Context(), none)
	require.NoError(t, err)
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(enough)
	_, err = m.Resolve(ctx, none)
	require.ErrorIs(t, err, enough)
	_, err = (&resolver.Multicast{Interfaces: []string{}}).Resolve(t.Context(), none)
	require.ErrorIs(t, err, resolver.ErrLinks)
}

// nobody is a resolver that must not be asked.
type nobody struct{ driad.Resolver }
