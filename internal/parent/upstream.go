package parent

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// upstream is one parent with the connections to it.
type upstream struct {
	base   *url.URL
	http   *http.Client
	health health
	ctx    context.Context // ends with the parent's place in the list
	cancel context.CancelFunc
}

// A dialer opens a connection, as net.Dialer does.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

func newUpstream(ctx context.Context, base *url.URL, dial dialer) *upstream {
	u := &upstream{base: base}
	u.ctx, u.cancel = context.WithCancel(ctx)
	u.http = newHTTP(dial)
	return u
}

func newHTTP(dial dialer) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext:         dial,
			TLSHandshakeTimeout: 3 * time.Second,
			// A child that has gone over to its parent has a request under way for each track and each manifest.
			MaxConnsPerHost:        256,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true, // octets must come as they are
		},
		// A parent is configured; it must not send us elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (u *upstream) close() {
	u.cancel()
	u.http.CloseIdleConnections()
}

// address is where the parent takes connections.
func (u *upstream) address() string {
	port := u.base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.base.Scheme]
	}
	return net.JoinHostPort(u.base.Hostname(), port)
}

const (
	// probeEvery is how often a parent that is down is tried at first. A connection whose first packet was lost is tried
	// again by the system only after a second, too late for a player near the live edge.
	probeEvery = 150 * time.Millisecond
	// probeSoon is for how long that goes on; then the distance grows up to probeMost.
	probeSoon = 15 * time.Second
	probeMost = 5 * time.Second
	// probeTime bounds one attempt.
	probeTime = time.Second
)

// probe tries to connect until the parent is up again, and then calls up.
func (u *upstream) probe(dial dialer, up func()) {
	var attempts sync.WaitGroup
	defer attempts.Wait()
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	found := make(chan struct{}, 1)
	every, begun := probeEvery, time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-found:
			up()
			return
		case <-timer.C:
		}
		attempts.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, probeTime)
			defer cancel()
			conn, err := dial(ctx, "tcp", u.address())
			if err != nil {
				return
			}
			conn.Close()
			select {
			case found <- struct{}{}:
			default:
			}
		})
		if time.Since(begun) > probeSoon {
			every = min(probeMost, every+every/4)
		}
		timer.Reset(jittered(every))
	}
}

// jittered is d, a fifth shorter to a fifth longer: many children of one parent must not ask in step.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(max(1, 2*d/5))
}
