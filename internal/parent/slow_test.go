package parent_test

import (
	"bytes"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/repair"
	"github.com/treedn/treedn/internal/ingress"
	"github.com/treedn/treedn/internal/memnet"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/route"
)

// repairing is a parent that repairs, and can be made to hang.
type repairing struct {
	*memnet.Host
	http  *http.Server
	hangs atomic.Int32 // requests that hang; below zero: all do
	asked atomic.Int32
}

func newRepairing(t *testing.T, network *memnet.Network, address string, body []byte) *repairing {
	p := &repairing{Host: network.Host(address)}
	h := &repair.Handler{Backend: &shelf{body: body}}
	p.http = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.asked.Add(1)
		if n := p.hangs.Load(); n < 0 || n > 0 && p.hangs.CompareAndSwap(n, n-1) {
			<-r.Context().Done()
			return
		}
		h.ServeHTTP(w, r)
	})}
	go p.http.Serve(p.Listen())
	t.Cleanup(func() { p.http.Close(); p.Kill() })
	return p
}

// mend repairs an object. Requests for the same one at the same time would be one.
func mend(t *testing.T, c *parent.Client, body []byte, toi uint32) {
	t.Helper()
	want := ingress.Wanted{
		Session: route.Session{Source: netip.MustParseAddr("10.0.0.1"), Group: netip.MustParseAddr("232.0.0.1"), Port: 6000},
		TSI:     1, TOI: toi, Service: "live", Name: name, Generation: 5, Missing: []route.Range{{Start: 100, End: 200}},
	}
	var got []byte
	err := c.Repair(t.Context(), want, func(off int64, p []byte, _ int64) error {
		got = append(got, p...)
		return nil
	})
	if err != nil || !bytes.Equal(body[100:200], got) {
		t.Errorf("%d octets: %v", len(got), err)
	}
}

// A parent that was slow for some repairs, however many were under way at the time, is not left for that: the repairs go to
// the next one. If it stays so it is left.
func TestRepairsThatAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		body := bytes.Repeat([]byte("0123456789"), 100)
		a, b := newRepairing(t, &network, "a:80", body), newRepairing(t, &network, "b:80", body)
		c := newClient(t, &network, "a:80", "b:80")
		first := func() string {
			u, _ := c.Current()
			return u.Host
		}
		mend(t, c, body, 1)
		require.EqualValues(t, 1, a.asked.Load())
		require.Zero(t, b.asked.Load())

		a.hangs.Store(5)
		var all sync.WaitGroup
		for i := range uint32(5) {
			all.Go(func() { mend(t, c, body, i) })
		}
		all.Wait()
		require.NotZero(t, b.asked.Load(), "the next one has helped")
		require.Equal(t, "a:80", first(), "it was busy once")
		asked := a.asked.Load()
		mend(t, c, body, 1)
		require.Equal(t, asked+1, a.asked.Load(), "it is asked again")

		for range 2 { // an answer in between makes good for what was before
			a.hangs.Store(1)
			mend(t, c, body, 1)
			time.Sleep(time.Second)
			a.hangs.Store(1)
			mend(t, c, body, 1)
			mend(t, c, body, 1)
			require.Equal(t, "a:80", first())
		}

		a.hangs.Store(-1)
		begun := time.Now()
		for first() == "a:80" {
			require.Less(t, time.Since(begun), 10*time.Second)
			mend(t, c, body, 1)
		}
		require.Greater(t, time.Since(begun), 2*time.Second, "three in a row")
		asked = a.asked.Load()
		mend(t, c, body, 1)
		require.Equal(t, asked, a.asked.Load(), "it is left")
	})
}

// One that takes no connections is left at once.
func TestRepairsFromADeadParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		body := bytes.Repeat([]byte("0123456789"), 100)
		a := newRepairing(t, &network, "a:80", body)
		newRepairing(t, &network, "b:80", body)
		c := newClient(t, &network, "a:80", "b:80")
		a.http.Close()
		a.Kill()
		mend(t, c, body, 1)
		u, why := c.Current()
		require.Equal(t, "b:80", u.Host)
		require.Contains(t, why, "a:80")
	})
}
