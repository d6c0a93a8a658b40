package cache

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// FuzzServeRange asks for ranges of an object that is complete, or that grows
// up to a prefix. Whatever the field says, the answer holds octets of the
// object where it says it does, and as many as it says.
func FuzzServeRange(f *testing.F) {
	for _, rng := range rangeCases {
		f.Add(rng, uint16(1000), uint16(500), byte(0))
		f.Add(rng, uint16(1000), uint16(500), byte(1))
	}
	all := noise(1, 1<<16)
	f.Fuzz(func(t *testing.T, rng string, size, prefix uint16, mode byte) {
		if prefix = min(prefix, size); mode&1 == 0 {
			prefix = size
		}
		s, err := Open(Config{})
		require.NoError(t, err)
		defer s.Close()
		content := all[:size]
		meta := Meta{Generation: 1, ContentType: "video/mp4"}
		if mode&2 != 0 {
			meta.Length = int64(size)
		}
		w := create(t, s, key, meta)
		write(t, w, content[:prefix])
		if prefix == size {
			require.NoError(t, w.Finish())
		}
		req := httptest.NewRequest("GET", "/", nil)
		req.Header["Range"] = []string{rng}
		rec := httptest.NewRecorder()
		broken := false
		func() {
			defer func() { broken = recover() != nil }()
			if prefix < size {
				// Whoever waits for more sees the object die.
				defer time.AfterFunc(5*time.Millisecond, func() { w.Abort(nil) }).Stop()
			}
			ServeObject(rec, req, w.Object(), ServeOptions{})
		}()
		resp := rec.Result()
		body, _ := io.ReadAll(resp.Body)
		declared := resp.Header.Get("Content-Length")
		if !broken && declared != "" {
			require.Equal(t, declared, strconv.Itoa(len(body)))
		}
		if broken {
			require.Less(t, prefix, size)
			require.True(t, declared == "" || declared != strconv.Itoa(len(body)))
		}
		switch resp.StatusCode {
		case 200:
			require.True(t, bytes.HasPrefix(content, body))
			require.True(t, broken || len(body) == int(size))
		case 206:
			mt, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			require.NoError(t, err)
			if mt == "multipart/byteranges" && !broken {
				for field, part := range parts(t, body, params["boundary"]) {
					requireRange(t, strings.TrimPrefix(field, "video/mp4 "), content, []byte(part), false)
				}
			} else if mt != "multipart/byteranges" {
				requireRange(t, resp.Header.Get("Content-Range"), content, body, broken)
			}
		case 416:
			require.Empty(t, body)
		case 503:
			require.Less(t, prefix, size)
		default:
			t.Fatal(resp.Status)
		}
	})
}

// requireRange checks a part against its Content-Range.
func requireRange(t *testing.T, field string, content, part []byte, broken bool) {
	t.Helper()
	span, total, ok := strings.Cut(strings.TrimPrefix(field, "bytes "), "/")
	require.True(t, ok)
	require.True(t, total == "*" || total == strconv.Itoa(len(content)))
	first, last, ok := strings.Cut(span, "-")
	require.True(t, ok)
	a, err := strconv.Atoi(first)
	require.NoError(t, err)
	b, err := strconv.Atoi(last)
	require.NoError(t, err)
	if broken {
		require.True(t, bytes.HasPrefix(content[a:b+1], part))
		return
	}
	require.True(t, bytes.Equal(content[a:b+1], part))
}

// FuzzETag compares the search in lists with the standard library's.
func FuzzETag(f *testing.F) {
	f.Add(`"a", W/"0000000000000001"`, true)
	f.Add(`*`, false)
	f.Fuzz(func(t *testing.T, field string, weak bool) {
		const tag = `"0000000000000001"`
		got := matchETag([]string{field}, tag, weak)
		require.True(t, !got || strings.Contains(field, tag) || strings.Contains(field, "*"))
		name, status := "If-Match", http.StatusPreconditionFailed
		if weak {
			name, status = "If-None-Match", http.StatusNotModified
		}
		req := httptest.NewRequest("GET", "/", nil)
		req.Header[name] = []string{field}
		rec := httptest.NewRecorder()
		rec.Header().Set("Etag", tag)
		http.ServeContent(rec, req, "", time.Time{}, bytes.NewReader([]byte("x")))
		want := (rec.Code == status) == weak
		// The oracle trims what Unicode calls space, which is none here.
		if field != "" && !strings.ContainsFunc(field, func(r rune) bool { return r < ' ' || r > '~' }) {
			require.Equal(t, want, got, "%q", field)
		}
	})
}

// FuzzStore drives a store on disk by a script and compares it with a map: the
// current object of a name is the newest one that was neither aborted nor
// removed, unless it was evicted, and its octets are what was written.
func FuzzStore(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add(bytes.Repeat([]byte{0, 33, 66, 99, 132, 165, 198, 231}, 8))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 60 {
			return
		}
		runScript(t, script)
	})
}

// TestStoreScripts runs what the fuzzer would, with fixed seeds.
func TestStoreScripts(t *testing.T) {
	for seed := range uint64(60) {
		runScript(t, noise(seed+1000, 120))
	}
}

func runScript(t *testing.T, script []byte) {
	cfg, files, c, _ := faultyConfig(t, -1)
	cfg.Memory = Limit{Octets: 200_000, Objects: 6}
	cfg.Disk = Limit{Octets: 400_000, Objects: 8}
	cfg.LiveWindow, cfg.Retention = 2*time.Second, time.Minute
	cfg.Services["sport"] = ServiceConfig{Memory: Limit{Objects: 3}}
	s, err := Open(cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	type version struct {
		gen  uint64
		body []byte
	}
	newest := make(map[Key]version)
	var open []*Writer
	written := make(map[*Writer][]byte)
	gen := uint64(1)
	for i, op := range script {
		k := Key{[]string{"news", "sport"}[op>>7], string('a' + rune(op>>4&3))}
		arg := int(op >> 4)
		switch op & 15 {
		case 0, 1:
			gen++
			p := noise(uint64(i), arg*3000)
			if _, err := s.Put(k, Meta{Generation: gen, Pinned: arg == 3}, p); err == nil {
				newest[k] = version{gen, p}
			} else {
				require.ErrorIs(t, err, ErrNoSpace)
			}
		case 2, 3:
			gen++
			if w, err := s.Create(k, Meta{Generation: gen}); err == nil {
				open = append(open, w)
				newest[k] = version{gen, nil}
			} else {
				require.ErrorIs(t, err, ErrNoSpace)
			}
		case 4, 5, 6:
			if len(open) > 0 {
				w := open[arg%len(open)]
				p := noise(uint64(i), 1+arg*1700)
				if _, err := w.Write(p); err == nil {
					written[w] = append(written[w], p...)
				}
			}
		case 7, 8:
			if len(open) > 0 {
				j := arg % len(open)
				w := open[j]
				open = append(open[:j:j], open[j+1:]...)
				if op&15 == 8 && arg < 4 {
					w.Abort(nil)
					break
				}
				if w.Finish() == nil && newest[w.Object().Key()].gen == w.Object().Meta().Generation {
					newest[w.Object().Key()] = version{w.Object().Meta().Generation, written[w]}
				}
			}
		case 9:
			s.Remove(k)
		case 10:
			s.mu.RLock()
			svc := s.services[k.Service]
			there := svc != nil && svc.objects[k.Name] != nil
			s.mu.RUnlock()
			_, err := s.Put(k, Meta{Generation: 1}, nil)
			if there {
				require.ErrorIs(t, err, ErrStale)
			} else if err == nil {
				s.Remove(k)
			}
		case 11:
			c.Advance(time.Duration(arg) * 3 * time.Second)
			s.Sweep()
		case 12:
			if arg%2 == 0 {
				files.setRoom(int64(arg) * 20_000)
			} else {
				files.setRoom(-1)
			}
		case 13:
			flush(t, s)
		case 14:
			require.NoError(t, s.SetService("news", ServiceConfig{Keys: []EpochKey{testKey(uint32(arg/6), byte(arg/6)), testKey(9, 9)}}))
		case 15:
			if arg > 12 {
				for _, w := range open {
					w.Abort(nil)
				}
				open = nil
				require.NoError(t, s.Close())
				s, err = Open(cfg)
				require.NoError(t, err)
			}
		}
		check(t, s)
		for k, v := range newest {
			o, ok := s.Lookup(k)
			if !ok {
				continue
			}
			// A disk that failed may have kept an older one over a restart.
			require.LessOrEqual(t, o.Meta().Generation, v.gen)
			if _, final, _ := o.Size(); final && o.Meta().Generation == v.gen {
				r, err := o.NewReader(t.Context(), 0)
				if err != nil {
					require.ErrorIs(t, err, ErrEvicted)
					continue
				}
				p, err := io.ReadAll(r)
				require.NoError(t, err)
				require.NoError(t, r.Close())
				require.True(t, bytes.Equal(v.body, p))
			}
		}
	}
	for _, w := range open {
		w.Abort(nil)
	}
	require.Zero(t, s.Stats().AuthenticationFail)
}
