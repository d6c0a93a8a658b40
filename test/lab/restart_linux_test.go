package lab_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A nameWatch asks a node for the first segments of a track again and again,
// and notes the generation and the octets of each answer. An encoder that begins
// again uses their names again.
type nameWatch struct {
	s      *source
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu          sync.Mutex // guards below
	generations map[string]uint64
	runs        map[string]int  // which of the objects of a name was given out, of those that were pushed
	turned      map[string]bool // a name had one generation, and then a later one
	wrong       []string
}

const firstNames = 6

func (l *lab) watchNames(node string, s *source) *nameWatch {
	ctx, cancel := context.WithCancel(l.t.Context())
	w := &nameWatch{
		s: s, cancel: cancel, generations: make(map[string]uint64), runs: make(map[string]int), turned: make(map[string]bool),
	}
	client := l.client(node)
	for n := 1; n <= firstNames; n++ {
		name := fmt.Sprintf("chunk-stream0-%05d.m4s", n)
		w.group.Go(func() {
			for ctx.Err() == nil {
				w.ask(ctx, client, playerURL(node), name)
				select {
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		})
	}
	l.t.Cleanup(w.end)
	return w
}

func (w *nameWatch) end() { w.cancel(); w.group.Wait() }

// ask makes one request. What is not here yet is waited for at the node.
func (w *nameWatch) ask(ctx context.Context, client *http.Client, base, name string) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+name, nil)
	if err != nil {
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return
	}
	generation, err := strconv.ParseUint(strings.Trim(resp.Header.Get("Etag"), `"`), 16, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	before := w.generations[name]
	switch {
	case err != nil || generation < before:
		w.wrong = append(w.wrong, fmt.Sprintf("%s: %x after %x: %v", name, generation, before, err))
	case generation > before && before != 0:
		w.turned[name] = true
	}
	w.generations[name] = generation
	w.mu.Unlock()
	body, err := io.ReadAll(resp.Body)
	run := w.s.which(name, body)
	w.mu.Lock()
	switch {
	case err != nil: // it grows, or it broke off
	case run < 0:
		w.wrong = append(w.wrong, fmt.Sprintf("%s: %d octets that nobody pushed", name, len(body)))
	case run < w.runs[name]:
		w.wrong = append(w.wrong, fmt.Sprintf("%s: octets of run %d after those of %d", name, run, w.runs[name]))
	default:
		w.runs[name] = run
	}
}

// which tells the last of the objects of a name that has these octets; -1 if
// none has.
func (s *source) which(name string, body []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, n := -1, 0
	for _, o := range s.objects {
		if o.name == name {
			if bytes.Equal(o.body, body) {
				found = n
			}
			n++
		}
	}
	return found
}

// look has a player look on that is 10 s behind. It stalls no longer than the
// publisher does.
func (x *tree) look(t *testing.T, d func()) {
	x.machine.late()
	far := x.play("bf", x.s, 10*time.Second, false)
	time.Sleep(2 * time.Second)
	d()
	seen, late := far.end(), x.machine.late()
	t.Logf("10 s behind: %v; the machine was late by %v at most", seen, late.Round(time.Millisecond))
	assert.NotZero(t, seen.segments)
	assert.Empty(t, seen.different, "segments that differ")
	assert.Empty(t, seen.missing, "segments that are missing")
	assert.LessOrEqual(t, seen.total, forgiven(late, 0), "stall beyond that of the publisher")
}

// TestEncoderRestarts kills FFmpeg in the middle of what it sends, and starts it
// again with another picture, which it pushes to the same URL under the same
// names. Players go on, and no octet of the first run is given out under a name
// of the second one.
func TestEncoderRestarts(t *testing.T) {
	t.Parallel()
	x := newTreeFrom(t, func(l *lab) *source { return l.encode("cast", ingestURL) })
	names := x.watchNames("bf", x.s)
	x.look(t, func() {
		killed := time.Now()
		x.s.kill()
		time.Sleep(time.Second)
		x.s.start()
		require.NoError(t, x.s.wait(t.Context(), func() bool { o := x.s.segment(0, 1); return o != nil && o.begun.After(killed) }))
		t.Logf("the first segment of the second run began %v after the end of the first run", time.Since(killed).Round(time.Millisecond))
		require.NoError(t, x.s.wait(t.Context(), func() bool { o := x.s.segment(0, 7); return o != nil && o.begun.After(killed) }))
	})
	names.end()
	require.Empty(t, names.wrong, "octets of the run before behind those of the present one")
	require.NotEmpty(t, names.turned, "no name came again")
	t.Logf("%d names came again", len(names.turned))
	require.Less(t, x.service("bf").FallbackOctets, x.service("bf").SourceOctets, "what came by unicast")
}

// TestRestarts kills and restarts the publisher, CAST, and a RELAY on its way
// out, while players look on.
func TestRestarts(t *testing.T) {
	t.Parallel()
	x := newTree(t)
	names := x.watchNames("bf", x.s)

	t.Run("the publisher", func(t *testing.T) {
		x.look(t, func() {
			x.s.kill()
			time.Sleep(time.Second)
			x.s.start()
			require.NoError(t, x.s.wait(t.Context(), func() bool { return x.s.segment(0, 7) != nil }))
		})
		names.end()
		require.Empty(t, names.wrong, "octets of the run before behind those of the present one")
		require.NotEmpty(t, names.turned, "no name came again")
	})
	t.Run("CAST", func(t *testing.T) {
		x.look(t, func() {
			before := x.service("bf")
			x.cast.kill()
			time.Sleep(time.Second)
			x.cast.run()
			time.Sleep(14 * time.Second)
			st := difference(x.service("bf"), before)
			t.Log(figures("bf", st))
			require.Greater(t, st.SourceOctets, st.FallbackOctets, "what multicast brought")
		})
	})
	t.Run("a RELAY that is drained", func(t *testing.T) {
		x.disturb(t, "bf", x.s, disturbance{
			lasts: 0, after: 12 * time.Second,
			begin: func() {
				took, err := x.relay.terminate(8 * time.Second)
				assert.NoError(t, err)
				t.Logf("it ended %v after SIGTERM", took.Round(time.Millisecond))
			},
			end: func() {}, stall: failing,
		})
	})
}
