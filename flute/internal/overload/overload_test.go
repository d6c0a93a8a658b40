package overload

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimiter(t *testing.T) {
	var l Limiter
	a, b := Peer("192.0.2.1:5000"), Peer("192.0.2.2:5000")
	for range 2 {
		require.True(t, l.Enter(a, 3, 2))
	}
	require.False(t, l.Enter(a, 3, 2), "the peer has its share")
	require.True(t, l.Enter(b, 3, 2))
	require.False(t, l.Enter(b, 3, 2), "all places are taken")
	l.Leave(a)
	require.True(t, l.Enter(Peer("@"), 3, 2), "no address, no share")
	l.Leave(Peer("@"))
	l.Leave(a)
	l.Leave(b)
	require.Empty(t, l.peers, "who has gone is forgotten")
	require.Zero(t, l.total)
	for range 100 {
		require.True(t, l.Enter(a, 0, 0))
	}
}

func TestLimiterUnderLoad(t *testing.T) {
	const places, share = 7, 3
	var l Limiter
	var now, most, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			peer := Peer(fmt.Sprintf("192.0.2.%d:1", i%4))
			for range 500 {
				if !l.Enter(peer, places, share) {
					refused.Add(1)
					continue
				}
				n := now.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				now.Add(-1)
				l.Leave(peer)
			}
		})
	}
	wg.Wait()
	require.LessOrEqual(t, most.Load(), int32(places))
	require.Zero(t, l.total)
	require.Empty(t, l.peers)
}

func TestPeer(t *testing.T) {
	require.Equal(t, Peer("192.0.2.1:1"), Peer("[::ffff:192.0.2.1]:2"))
	require.Equal(t, Peer("[2001:db8::1]:1"), Peer("[2001:db8::ffff]:2"), "one site")
	require.NotEqual(t, Peer("[2001:db8::1]:1"), Peer("[2001:db8:0:1::1]:1"))
	require.Equal(t, Peer("[fe80::1%eth0]:1"), Peer("[fe80::1%eth1]:1"))
	require.False(t, Peer("parent:80").IsValid())
	require.False(t, Peer("").IsValid())
}

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		wait        time.Duration
		part        float64
		seconds, ms string
	}{
		{250 * time.Millisecond, 0, "1", "250"}, {1500 * time.Millisecond, 0, "2", "1500"},
		{0, 0, "1", "1"}, {time.Microsecond, 0, "1", "1"}, {time.Minute, 0, "60", "60000"}, {time.Second, 0.5, "2", "1500"},
	} {
		header := http.Header{}
		Ask(header, c.wait, c.part)
		require.Equal(t, http.Header{"Retry-After": {c.seconds}, "Retry-After-Ms": {c.ms}}, header)
		ms, err := time.ParseDuration(c.ms + "ms")
		require.NoError(t, err)
		require.Equal(t, ms, Asked(header))
	}
	require.Equal(t, 3*time.Second, Asked(http.Header{"Retry-After": {"3"}}))
	require.Equal(t, 3*time.Second, Asked(http.Header{"Retry-After": {" 3"}, "Retry-After-Ms": {"soon"}}))
	for _, bad := range []string{"", "-1", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999"} {
		require.Zero(t, Asked(http.Header{"Retry-After": {bad}, "Retry-After-Ms": {bad + "x"}}), bad)
	}
}

func TestFail(t *testing.T) {
	for _, c := range []struct {
		status int
		err    string
		text   string
	}{
		{400, "malformed request", "malformed request\n"},
		{500, "the disk broke", "Internal Server Error\n"},
		{404, strings.Repeat("x", 600), strings.Repeat("x", 512) + "...\n"},
	} {
		w := httptest.NewRecorder()
		Fail(w, c.status, errors.New(c.err))
		require.Equal(t, c.status, w.Code)
		require.Equal(t, c.text, w.Body.String())
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
}

func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	require.NoError(t, Sleep(ctx, time.Nanosecond))
	cancel(errors.New("enough"))
	require.EqualError(t, Sleep(ctx, time.Hour), "enough")
}
