package parent_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/memnet"
	"github.com/treedn/treedn/internal/parent"
	"github.com/treedn/treedn/internal/service"
)

// alone runs f in virtual time with one parent, which has the first octets of an object, and a child that has them from it
// for its readers.
func alone(t *testing.T, f func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network memnet.Network
		a := newNode(t, &network, "a:80")
		a.begin(t, 5)
		a.write(t, "one ")
		c := newClient(t, &network, "a:80")
		s, done := fetch(patient(t), c, service.Request{})
		synctest.Wait()
		require.Equal(t, "one ", s.String())
		f(t, a, c, s, done)
		require.Equal(t, 1, s.n, "it begins once")
	})
}

// reset breaks all connections of a parent, which goes on.
func (n *node) reset() {
	n.Kill()
	n.listen()
}

// A connection that breaks costs the readers of an object nothing but a round trip, be there one parent or more.
func TestConnectionBreaks(t *testing.T) {
	alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
		for i := range 3 { // while the object grows
			begun := time.Now()
			a.reset()
			a.write(t, "two ")
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			require.Len(t, s.String(), 4+4*(i+1))
			require.Less(t, s.when().Sub(begun), 50*time.Millisecond)
			require.Equal(t, i+2, a.asked())
		}
		a.reset() // and when it has ended
		a.write(t, "three")
		require.NoError(t, a.o.Commit())
		require.NoError(t, <-done)
		require.Equal(t, "one two two two three", s.String())
		require.EqualValues(t, len(s.String()), c.Octets(), "no octet comes a second time")
	})
}

// A parent that starts again is waited for, but not for ever.
func TestParentIsAwayForAMoment(t *testing.T) {
	alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
		a.Kill()
		time.Sleep(2 * time.Second)
		require.Empty(t, done)
		a.listen()
		a.write(t, "two")
		require.NoError(t, a.o.Commit())
		require.NoError(t, <-done)
		require.Equal(t, "one two", s.String())
	})
	alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
		begun := time.Now()
		a.Kill()
		require.Error(t, <-done)
		require.Equal(t, 5*time.Second, time.Since(begun))
		require.Equal(t, "one ", s.String())
	})
}

// What has broken off at the parent itself, which says so, has ended for the readers here, too.
func TestObjectBreaksOffAtTheParent(t *testing.T) {
	alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
		begun := time.Now()
		a.o.Abort(nil)
		require.ErrorIs(t, <-done, service.ErrNotFound)
		require.Less(t, time.Since(begun), 50*time.Millisecond)
		require.Equal(t, 2, a.asked())
	})
	alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
		a.o.Abort(nil)
		a.begin(t, 6)
		a.write(t, "another one")
		require.ErrorIs(t, <-done, service.ErrChanged)
		require.Equal(t, "one ", s.String())
	})
}

// A parent that breaks each connection, or has no time, is asked less and less often, and given up in the end.
func TestParentBreaksEachConnection(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"breaks": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"begins and breaks": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", parent.ETag(5))
			w.Header().Set("Content-Range", "bytes 4-9007199254740991/*")
			w.WriteHeader(http.StatusPartialContent)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
		"is busy": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"fails":   func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusBadGateway) },
	} {
		t.Run(name, func(t *testing.T) {
			alone(t, func(t *testing.T, a *node, c *parent.Client, s *sink, done chan error) {
				a.mu.Lock()
				a.instead = h
				a.mu.Unlock()
				begun := time.Now()
				a.reset()
				require.Error(t, <-done)
				require.InDelta(t, 5*time.Second, time.Since(begun), float64(time.Second))
				require.LessOrEqual(t, a.asked(), 20)
			})
		})
	}
}
