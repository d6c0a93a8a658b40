package gmp_test

import (
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// frr is FRRouting's router of IGMP at the far end of a link.
type frr struct {
	*link
	dir string
}

const frrBin = "/usr/lib/frr/"

// newFRR starts zebra and pimd, which want to be started by root and go on as a
// user of their own.
func newFRR(t *testing.T, l *link, version string) *frr {
	owner, err := user.Lookup("frr")
	if err == nil {
		_, err = exec.LookPath(frrBin + "pimd")
	}
	if err == nil && os.Getuid() != 0 {
		err = syscall.EPERM
	}
	if err != nil {
		if required("root") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "gmp-frr")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	uid, _ := strconv.Atoi(owner.Uid)
	gid, _ := strconv.Atoi(owner.Gid)
	require.NoError(t, os.Chown(dir, uid, gid))
	config := filepath.Join(dir, "pimd.conf")
	require.NoError(t, os.WriteFile(config, []byte("interface "+l.there+`
 ip pim
 ip igmp
 ip igmp version `+version+`
 ip igmp query-max-response-time 10
 ip igmp query-interval 3
 ip igmp last-member-query-interval 3
`), 0o644))
	f := &frr{l, dir}
	f.start("zebra")
	l.waitFor("zebra", func() bool { return exists(filepath.Join(dir, "zserv.api")) })
	f.start("pimd", "-f", config)
	l.waitFor("pimd", func() bool { return strings.Contains(f.show("interface", l.there), "Querier") })
	return f
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (f *frr) start(name string, args ...string) {
	args = append(args, "--vty_socket", f.dir, "-z", filepath.Join(f.dir, "zserv.api"),
		"-i", filepath.Join(f.dir, name+".pid"), "--log", "file:"+filepath.Join(f.dir, name+".log"))
	cmd := exec.Command(frrBin+name, args...)
	require.NoError(f.t, cmd.Start())
	f.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if f.t.Failed() {
			b, _ := os.ReadFile(filepath.Join(f.dir, name+".log"))
			f.t.Logf("%s: %s", name, b)
		}
	})
}

func (f *frr) show(what ...string) string {
	out, _ := exec.Command("vtysh", "--vty_socket", f.dir, "-c", "show ip igmp "+strings.Join(what, " ")).CombinedOutput()
	return string(out)
}

// has reports whether FRR has a source of a group on the link.
func (f *frr) has(group, source string) bool {
	for line := range strings.Lines(f.show("sources")) {
		if w := strings.Fields(line); len(w) > 3 && w[0] == f.there && slices.Contains(w, group) && slices.Contains(w, source) {
			return true
		}
	}
	return false
}

// Ours is the host, FRRouting the querier.
func TestFRR(t *testing.T) {
	inNamespace(t, "vtysh")
	for _, version := range []string{"3", "2"} {
		t.Run("IGMPv"+version, func(t *testing.T) {
			l := newLink(t)
			l.up("10.77.0.5")
			f := newFRR(t, l, version)
			h := newHostOn(l, gmp.HostConfig{Source: ours.IGMP})
			queries := func() (n int) {
				for _, m := range h.heard {
					if m.General() && !m.IPv6() {
						require.Equal(t, version, strconv.Itoa(m.Version))
						n++
					}
				}
				return n
			}
			h.until("a query", func() bool { return queries() > 0 })
			if version == "3" {
				h.set("232.1.1.1", gmp.Include, "10.9.0.1", "10.9.0.2")
				h.until("both sources", func() bool { return f.has("232.1.1.1", "10.9.0.1") && f.has("232.1.1.1", "10.9.0.2") })
				h.set("232.1.1.1", gmp.Include, "10.9.0.2")
				h.until("one source", func() bool { return !f.has("232.1.1.1", "10.9.0.1") && f.has("232.1.1.1", "10.9.0.2") })
				h.set("239.1.1.1", gmp.Include, "10.9.0.3")
				h.until("a source", func() bool { return f.has("239.1.1.1", "10.9.0.3") })
			}
			h.set("239.1.1.1", gmp.Exclude)
			h.until("the group", func() bool { return f.has("239.1.1.1", "*") })
			n := queries()
			h.until("more queries than a membership lasts", func() bool { return queries() >= n+4 })
			if version == "3" {
				require.True(t, f.has("232.1.1.1", "10.9.0.2"))
				h.set("232.1.1.1", gmp.Include)
				h.until("the source to go", func() bool { return !f.has("232.1.1.1", "10.9.0.2") })
			}
			require.True(t, f.has("239.1.1.1", "*"))
			left := time.Now()
			h.set("239.1.1.1", gmp.Include)
			h.until("the group to go", func() bool { return !f.has("239.1.1.1", "*") })
			require.Less(t, time.Since(left), 6*time.Second, "sooner than it would go by itself")
		})
	}
}

// FRRouting and our router agree who is the querier.
func TestFRRElection(t *testing.T) {
	inNamespace(t, "vtysh")
	for own, wins := range map[string]bool{"10.77.0.4": true, "10.77.0.6": false} {
		t.Run(own, func(t *testing.T) {
			l := newLink(t)
			l.up("10.77.0.5")
			f := newFRR(t, l, "3")
			r := newRouterOn(l, quick, gmp.LinkConfig{IGMP: netip.MustParseAddr(own)})
			querier := "10.77.0.5"
			if wins {
				querier = own
			}
			agreed := regexp.MustCompile(`QuerierIp *: ` + strings.ReplaceAll(querier, ".", `\.`) + `\b`)
			for end := time.Now().Add(30 * time.Second); !agreed.MatchString(f.show("interface", l.there)); {
				require.True(t, time.Now().Before(end), "FRRouting has another querier")
				r.run(500 * time.Millisecond)
			}
			r.run(2 * time.Second)
			sent := r.sent
			r.run(5 * time.Second)
			require.Equal(t, wins, r.sent > sent)
		})
	}
}
