package cache

import (
	"bytes"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// diskConfig is a store on disk whose objects leave memory at once.
func diskConfig(dir string) Config {
	return Config{
		Dir:        dir,
		Memory:     Limit{Objects: 1},
		LiveWindow: -1,
		Services:   map[string]ServiceConfig{"news": {Keys: []EpochKey{testKey(1, 1)}}},
	}
}

func flush(t testing.TB, s *Store) {
	t.Helper()
	require.NoError(t, s.Flush(t.Context()))
}

// onDisk puts an object and has it leave memory.
func onDisk(t testing.TB, s *Store, key Key, gen uint64, p []byte) *Object {
	t.Helper()
	o := put(t, s, key, gen, p)
	flush(t, s)
	require.NotNil(t, o.file.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evictMemory(o)
	return o
}

func files(t testing.TB, dir string) []string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockName {
			names = append(names, path)
		}
		return err
	}))
	return names
}

func requireNoFiles(t testing.TB, s *Store, dir string) {
	t.Helper()
	flush(t, s)
	require.Empty(t, files(t, dir))
	require.Zero(t, s.Stats().Disk.Octets)
	require.Zero(t, s.Stats().Disk.Objects)
}

func TestDiskSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	cfg := diskConfig(dir)
	cfg.Now, cfg.Memory = c.Now, Limit{}
	s := openStore(t, cfg)
	want := make(map[string][]byte)
	for i, n := range []int{0, 1, 1000, 16383, 16384, 16385, 65536, 300_000} {
		name := "seg-" + strconv.Itoa(i)
		want[name] = noise(uint64(i), n)
		w := create(t, s, Key{"news", name}, Meta{Generation: uint64(i + 1), ContentType: "video/mp4", CacheControl: "max-age=3",
			Pinned: i%2 == 0, Header: map[string]string{"seal": name}})
		for rest := want[name]; len(rest) > 0; rest = rest[min(10_000, len(rest)):] {
			write(t, w, rest[:min(10_000, len(rest))])
		}
		require.NoError(t, w.Finish())
		c.Advance(time.Second)
	}
	half := create(t, s, Key{"news", "half"}, Meta{})
	write(t, half, noise(1, 100_000))
	require.NoError(t, s.Close()) // aborts what grows, writes what is complete
	_, _, err := half.Object().Size()
	require.ErrorIs(t, err, ErrAborted)

	s = openStore(t, cfg)
	require.Len(t, s.List("news"), len(want))
	for name, p := range want {
		o, ok := s.Lookup(Key{"news", name})
		require.True(t, ok)
		i, _ := strconv.Atoi(strings.TrimPrefix(name, "seg-"))
		require.Equal(t, Meta{
			ContentType: "video/mp4", CacheControl: "max-age=3", Generation: uint64(i + 1), Pinned: i%2 == 0,
			Created: newClock().Now().Add(time.Duration(i) * time.Second), Header: map[string]string{"seal": name},
		}, o.Meta())
		n, final, err := o.Size()
		require.NoError(t, err)
		require.True(t, final)
		require.EqualValues(t, len(p), n)
		require.True(t, bytes.Equal(p, readAll(t, o)))
		got := make([]byte, 100)
		m, _ := o.ReadAt(got, 950)
		require.True(t, bytes.Equal(p[min(950, len(p)):min(1050, len(p))], got[:m]))
		_, err = s.Put(o.Key(), Meta{Generation: uint64(i + 1)}, nil)
		require.ErrorIs(t, err, ErrExists)
	}
	_, ok := s.Lookup(Key{"news", "half"})
	require.False(t, ok)
	st := s.Stats()
	require.Equal(t, len(want), st.Disk.Objects)
	var octets int64
	for _, f := range files(t, dir) {
		info, err := os.Stat(f)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
		octets += info.Size()
	}
	require.Equal(t, octets, st.Disk.Octets)
	require.Zero(t, st.AuthenticationFail)
	require.Empty(t, filesIn(t, filepath.Join(dir, tempDir)))
}

func filesIn(t testing.TB, dir string) []os.DirEntry {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	return entries
}

// TestDiskTellsNothing looks for what could be recognised: names, types,
// header, body, and equal octets in the files of equal objects.
func TestDiskTellsNothing(t *testing.T) {
	dir := t.TempDir()
	cfg := diskConfig(dir)
	cfg.Memory = Limit{}
	cfg.Services["sport"] = ServiceConfig{Keys: []EpochKey{testKey(1, 99)}}
	s := openStore(t, cfg)
	body := []byte(strings.Repeat("THE-SECRET-BODY-", 4096))
	for _, service := range []string{"news", "sport"} {
		for _, name := range []string{"premium/match-final.m4s", "premium/match-final-2.m4s"} {
			_, err := s.Put(Key{service, name}, Meta{Generation: 0x5555555555555555, ContentType: "video/secret-type",
				Header: map[string]string{"secret-field": "secret-value"}}, body)
			require.NoError(t, err)
		}
	}
	require.NoError(t, s.Close())
	names := files(t, dir)
	require.Len(t, names, 4)
	seen := make(map[string]bool)
	for _, name := range names {
		raw, err := os.ReadFile(name)
		require.NoError(t, err)
		all := name[len(dir):] + string(raw)
		for _, word := range []string{"premium", "match", "final.m4s", "secret", "SECRET", "/news", "sport", "UUUUUUUU"} {
			require.NotContains(t, all, word)
		}
		// From the nonce on no 16 octets are shared by two files.
		for i := 8; i+16 <= len(raw); i += 16 {
			part := string(raw[i : i+16])
			if i == 24 { // tag and length: the length is no secret
				part = string(raw[i : i+8])
			}
			require.False(t, seen[part], i)
			seen[part] = true
		}
	}
	// A file's name depends on the key.
	a, _ := newEpoch("news", testKey(1, 1))
	b, _ := newEpoch("news", testKey(1, 2))
	require.NotEqual(t, a.fileName("x"), b.fileName("x"))
}

func TestDiskForgeriesAreMisses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		forge  func(t *testing.T, a, b string)
		opened bool // noticed when opened, not at the next start only
	}{
		{"bodies exchanged", func(t *testing.T, a, b string) {
			x, y := readFile(t, a), readFile(t, b)
			body := len(x) - (56 + 40_000 + 3*16)
			writeFile(t, a, append(x[:body:body], y[body:]...))
		}, true},
		{"files exchanged", func(t *testing.T, a, b string) { writeFile(t, a, readFile(t, b)) }, true},
		{"body changed", func(t *testing.T, a, _ string) { flip(t, a, -20_000) }, true},
		{"last chunk changed", func(t *testing.T, a, _ string) { flip(t, a, -1) }, true},
		{"cut", func(t *testing.T, a, _ string) { x := readFile(t, a); writeFile(t, a, x[:len(x)-5000]) }, true},
		{"cut at a chunk", func(t *testing.T, a, _ string) { x := readFile(t, a); writeFile(t, a, x[:len(x)-7232-16]) }, true},
		{"appended", func(t *testing.T, a, _ string) { writeFile(t, a, append(readFile(t, a), 0)) }, true},
		{"empty", func(t *testing.T, a, _ string) { writeFile(t, a, nil) }, true},
		{"removed", func(t *testing.T, a, _ string) { require.NoError(t, os.Remove(a)) }, true},
		{"record changed", func(t *testing.T, a, _ string) { flip(t, a, prefixSize+70) }, false},
		{"prefix changed", func(t *testing.T, a, _ string) { flip(t, a, 5) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := diskConfig(dir)
			s := openStore(t, cfg)
			one, two := Key{"news", "1"}, Key{"news", "2"}
			o := onDisk(t, s, one, 1, noise(1, 40_000))
			p := onDisk(t, s, two, 1, noise(2, 40_000))
			a := filepath.Join(dir, o.file.Load().name.path())
			tt.forge(t, a, filepath.Join(dir, p.file.Load().name.path()))

			if tt.opened {
				h := &Handler{Store: s}
				srv := serve(t, h)
				var resp *http.Response
				if tt.name == "body changed" {
					// The first octets were sent before the forged chunk was met.
					_, _, err := get(t, "GET", srv.URL+"/news/1")
					require.Error(t, err)
				} else {
					resp, _ = mustGet(t, "GET", srv.URL+"/news/1")
					require.Equal(t, 404, resp.StatusCode)
				}
				_, ok := s.Lookup(one)
				require.False(t, ok)
				require.NoFileExists(t, func() string { flush(t, s); return a }())
				if tt.name == "removed" {
					require.EqualValues(t, 1, s.Stats().DiskErrors)
				} else {
					require.EqualValues(t, 1, s.Stats().AuthenticationFail)
				}
				require.Equal(t, 1, s.Stats().Disk.Objects)
				require.Equal(t, 1, len(s.List("news")))
			}
			require.NoError(t, s.Close())

			s = openStore(t, cfg)
			_, ok := s.Lookup(one)
			require.False(t, ok)
			got, ok := s.Lookup(two)
			require.True(t, ok)
			require.True(t, bytes.Equal(noise(2, 40_000), readAll(t, got)))
			require.NoFileExists(t, a)
			if !tt.opened {
				require.EqualValues(t, 1, s.Stats().AuthenticationFail)
			}
		})
	}
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(name)
	require.NoError(t, err)
	return p
}

func writeFile(t testing.TB, name string, p []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(name, p, 0o600))
}

func flip(t testing.TB, name string, at int) {
	t.Helper()
	p := readFile(t, name)
	if at < 0 {
		at += len(p)
	}
	p[at] ^= 1
	writeFile(t, name, p)
}

func TestDiskReplacement(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, diskConfig(dir))
	one := onDisk(t, s, key, 1, []byte("one"))
	r, err := one.NewReader(t.Context(), 0)
	require.NoError(t, err)
	w := create(t, s, key, Meta{Generation: 2})
	requireNoFiles(t, s, dir) // the old run is gone at once

	// Its reader goes on, new ones do not come.
	p := make([]byte, 9)
	n, err := r.Read(p)
	require.NoError(t, err)
	require.Equal(t, "one", string(p[:n]))
	require.NoError(t, r.Close())
	_, err = one.NewReader(t.Context(), 0)
	require.ErrorIs(t, err, ErrEvicted)
	_, err = one.ReadAt(p, 0)
	require.ErrorIs(t, err, ErrEvicted)

	write(t, w, []byte("two"))
	require.NoError(t, w.Finish())
	flush(t, s)
	require.Len(t, files(t, dir), 1)
	put(t, s, key, 3, []byte("three"))
	flush(t, s)
	require.Len(t, files(t, dir), 1)
	require.True(t, s.Remove(key))
	requireNoFiles(t, s, dir)
	require.Zero(t, s.Stats().DiskErrors)
	require.Zero(t, s.Stats().AuthenticationFail)
}

func TestDiskServesLikeMemory(t *testing.T) {
	s := openStore(t, diskConfig(t.TempDir()))
	content := noise(8, 150_000)
	o := onDisk(t, s, key, 1, content)
	require.Nil(t, o.body.Load())
	disk := serve(t, &Handler{Store: s})
	m := openStore(t, Config{})
	put(t, m, key, 1, content)
	mem := serve(t, &Handler{Store: m})
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range 200 {
		a, b := rnd.IntN(len(content)), rnd.IntN(len(content)+1000)
		rng := "bytes=" + strconv.Itoa(min(a, b)) + "-" + strconv.Itoa(max(a, b))
		if i == 0 {
			rng = "bytes=0-"
		}
		got, gotBody := mustGet(t, "GET", disk.URL+"/"+key.String(), "Range", rng)
		want, wantBody := mustGet(t, "GET", mem.URL+"/"+key.String(), "Range", rng)
		require.Equal(t, want.StatusCode, got.StatusCode)
		require.Equal(t, want.Header.Get("Content-Range"), got.Header.Get("Content-Range"))
		require.True(t, bytes.Equal(wantBody, gotBody))
	}
}

func TestDiskLock(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, diskConfig(dir))
	_, err := Open(diskConfig(dir))
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, s.Close())
	openStore(t, diskConfig(dir))
}

func TestDiskNeedsKeys(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, diskConfig(dir))
	put(t, s, Key{"unknown", "x"}, 1, []byte("x"))
	requireNoFiles(t, s, dir)
	_, ok := s.Lookup(Key{"unknown", "x"})
	require.True(t, ok)
}

func TestForeignFiles(t *testing.T) {
	dir := t.TempDir()
	cfg := diskConfig(dir)
	s := openStore(t, cfg)
	for i := range 5 {
		onDisk(t, s, Key{"news", strconv.Itoa(i)}, 1, noise(1, 1000))
	}
	octets := s.Stats().Disk.Octets
	require.NoError(t, s.Close())

	// Without the key nothing is found, and nothing lost.
	other := diskConfig(dir)
	other.Services = map[string]ServiceConfig{"sport": {Keys: []EpochKey{testKey(1, 9)}}}
	s = openStore(t, other)
	st := s.Stats()
	require.Equal(t, 5, st.ForeignFiles)
	require.Equal(t, octets, st.ForeignOctets)
	require.Equal(t, octets, st.Disk.Octets)
	require.Empty(t, s.List("news"))
	require.Zero(t, st.AuthenticationFail)

	// The key comes later.
	require.NoError(t, s.SetService("news", cfg.Services["news"]))
	flush(t, s)
	require.Len(t, s.List("news"), 5)
	require.Zero(t, s.Stats().ForeignFiles)
	require.Equal(t, octets, s.Stats().Disk.Octets)
	o, ok := s.Lookup(Key{"news", "3"})
	require.True(t, ok)
	require.True(t, bytes.Equal(noise(1, 1000), readAll(t, o)))
	require.NoError(t, s.Close())

	// Foreign files go first when room is needed.
	other.Disk.Octets = octets + 100
	s = openStore(t, other)
	onDisk(t, s, Key{"sport", "x"}, 1, noise(1, 1000))
	require.Equal(t, 4, s.Stats().ForeignFiles)
	require.LessOrEqual(t, s.Stats().Disk.Octets, octets+100)
}

func TestEpochs(t *testing.T) {
	dir := t.TempDir()
	c := newClock()
	cfg := diskConfig(dir)
	cfg.Now = c.Now
	one, two := testKey(1, 1), testKey(2, 2)
	one.NotAfter = c.Now().Add(2 * time.Hour)
	two.NotBefore = c.Now().Add(time.Hour)
	cfg.Services["news"] = ServiceConfig{Keys: []EpochKey{one, two}}
	s := openStore(t, cfg)
	a, b := Key{"news", "a"}, Key{"news", "b"}
	require.EqualValues(t, 1, onDisk(t, s, a, 1, []byte("a")).file.Load().epoch.Epoch)
	c.Advance(time.Hour)
	ob := onDisk(t, s, b, 1, []byte("b"))
	require.EqualValues(t, 2, ob.file.Load().epoch.Epoch)
	oa, ok := s.Lookup(a)
	require.True(t, ok)
	require.Equal(t, "a", string(readAll(t, oa)))

	// Both epochs are read after a restart.
	require.NoError(t, s.Close())
	s = openStore(t, cfg)
	require.Len(t, s.List("news"), 2)

	c.Advance(time.Hour) // the first epoch ends
	_, ok = s.Lookup(a)
	require.False(t, ok)
	s.Sweep()
	flush(t, s)
	require.Len(t, files(t, dir), 1)

	// A key that is taken back takes its files with it, not what is in memory.
	o := put(t, s, Key{"news", "m"}, 1, []byte("m"))
	flush(t, s)
	require.NoError(t, s.SetService("news", ServiceConfig{Keys: []EpochKey{testKey(3, 3)}}))
	_, ok = s.Lookup(b)
	require.False(t, ok)
	got, ok := s.Lookup(o.Key())
	require.True(t, ok)
	require.Equal(t, "m", string(readAll(t, got)))
	flush(t, s)
	require.EqualValues(t, 3, got.file.Load().epoch.Epoch)
	require.Len(t, files(t, dir), 1)
	require.NoError(t, s.SetService("news", ServiceConfig{}))
	requireNoFiles(t, s, dir)
}

func TestRekeyKeepsFiles(t *testing.T) {
	c := newClock()
	cfg := diskConfig(t.TempDir())
	cfg.Now = c.Now
	s := openStore(t, cfg)
	onDisk(t, s, key, 1, []byte("x"))
	k := testKey(1, 1)
	k.NotAfter = c.Now().Add(time.Hour)
	require.NoError(t, s.SetService("news", ServiceConfig{Keys: []EpochKey{k, testKey(2, 2)}}))
	o, ok := s.Lookup(key)
	require.True(t, ok)
	require.Equal(t, "x", string(readAll(t, o)))
	c.Advance(time.Hour)
	_, ok = s.Lookup(key)
	require.False(t, ok)
}

func TestRemoveServiceRemovesFiles(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, diskConfig(dir))
	onDisk(t, s, key, 1, []byte("x"))
	s.RemoveService("news")
	requireNoFiles(t, s, dir)
}

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func faultyConfig(t testing.TB, room int64) (Config, *faultyFiles, *clock, *logBuffer) {
	dir := t.TempDir()
	cfg := diskConfig(dir)
	cfg.Memory = Limit{}
	f, c, l := newFaultyFiles(dir, room), newClock(), &logBuffer{}
	cfg.files, cfg.Now, cfg.Logger = f, c.Now, slog.New(slog.NewTextHandler(l, nil))
	return cfg, f, c, l
}

func TestFailingDiskMeansMemoryOnly(t *testing.T) {
	for _, fault := range []error{syscall.EIO, syscall.EROFS, syscall.ENOSPC} {
		cfg, f, c, log := faultyConfig(t, -1)
		s := openStore(t, cfg)
		before := put(t, s, Key{"news", "before"}, 1, []byte("before"))
		flush(t, s)
		f.fail(fault)
		for i := range 20 {
			put(t, s, Key{"news", strconv.Itoa(i)}, 1, []byte("x"))
			flush(t, s)
		}
		st := s.Stats()
		require.True(t, st.DiskFailed)
		require.Contains(t, st.DiskError, fault.Error())
		require.Equal(t, c.Now(), st.DiskFailedSince)
		require.Equal(t, 1, log.count("level=ERROR"))
		require.LessOrEqual(t, st.DiskErrors, uint64(2))
		for i := range 20 {
			_, ok := s.Lookup(Key{"news", strconv.Itoa(i)})
			require.True(t, ok)
		}
		if fault != syscall.ENOSPC {
			require.NotNil(t, before.file.Load())
		}

		// It is tried now and then, without a word.
		for range 3 {
			c.Advance(cfg.DiskRetry + DefaultDiskRetry)
			put(t, s, key, 0, []byte("probe"))
			flush(t, s)
		}
		require.True(t, s.Stats().DiskFailed)
		require.Equal(t, 1, log.count("level=ERROR"))

		// When it works again, what memory holds goes there.
		f.fail(nil)
		put(t, s, key, 0, []byte("too early"))
		flush(t, s)
		require.True(t, s.Stats().DiskFailed)
		c.Advance(DefaultDiskRetry)
		put(t, s, key, 0, []byte("probe"))
		flush(t, s)
		st = s.Stats()
		require.False(t, st.DiskFailed)
		require.Empty(t, st.DiskError)
		require.Equal(t, 22, st.Disk.Objects)
		require.Equal(t, 1, log.count("level=INFO"))
		require.Empty(t, filesIn(t, filepath.Join(cfg.Dir, tempDir)))
		require.NoError(t, s.Close())
	}
}

func TestDiskSmallerThanItsLimit(t *testing.T) {
	cfg, f, _, log := faultyConfig(t, 100_000)
	s := openStore(t, cfg)
	for i := range 100 {
		put(t, s, Key{"news", strconv.Itoa(i)}, 1, noise(1, 5000))
		flush(t, s)
	}
	st := s.Stats()
	require.False(t, st.DiskFailed)
	require.Greater(t, st.Disk.Octets, int64(50_000))
	require.LessOrEqual(t, st.Disk.Octets, int64(100_000))
	require.Equal(t, 1, log.count("level=WARN"))
	o, _ := s.Lookup(Key{"news", "99"})
	require.NotNil(t, o.file.Load())

	// Something else takes all the room.
	f.setRoom(0)
	f.mu.Lock()
	clear(f.sizes)
	f.mu.Unlock()
	put(t, s, key, 1, noise(1, 5000))
	flush(t, s)
	require.True(t, s.Stats().DiskFailed)
}

func TestDiskBrokenAtStart(t *testing.T) {
	cfg, f, c, log := faultyConfig(t, -1)
	blocked := filepath.Join(cfg.Dir, "objects")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600)) // where a directory should be
	s := openStore(t, cfg)
	require.True(t, s.Stats().DiskFailed)
	require.Equal(t, 1, log.count("level=ERROR"))
	put(t, s, key, 1, []byte("x"))
	_, ok := s.Lookup(key)
	require.True(t, ok)
	require.NoError(t, os.Remove(blocked))
	c.Advance(DefaultDiskRetry)
	put(t, s, key, 2, []byte("x"))
	flush(t, s)
	require.False(t, s.Stats().DiskFailed)
	_ = f
}

func TestUnreadableFileIsAMiss(t *testing.T) {
	cfg, f, _, _ := faultyConfig(t, -1)
	s := openStore(t, cfg)
	o := onDisk(t, s, key, 1, noise(1, 100_000))
	// Too many open files: the object stays.
	f.failReads(syscall.EMFILE)
	_, err := o.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrEvicted)
	require.ErrorIs(t, err, syscall.EMFILE)
	srv := serve(t, &Handler{Store: s})
	resp, _ := mustGet(t, "GET", srv.URL+"/"+key.String())
	require.Equal(t, 503, resp.StatusCode)
	f.failReads(nil)
	resp, _ = mustGet(t, "GET", srv.URL+"/"+key.String())
	require.Equal(t, 200, resp.StatusCode)
	// Gone: the object goes too.
	f.failReads(fs.ErrNotExist)
	_, err = o.ReadAt(make([]byte, 1), 0)
	require.ErrorIs(t, err, ErrEvicted)
	_, ok := s.Lookup(key)
	require.False(t, ok)
}

func TestStrangeFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"objects/readme", "objects/a/x", "objects/a/bc/x.txt", "objects/a/bc/" + strings.Repeat("f", 40), "note"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
		writeFile(t, filepath.Join(dir, name), []byte("mine"))
	}
	s := openStore(t, diskConfig(dir))
	require.Len(t, files(t, dir), 5)
	require.Zero(t, s.Stats().AuthenticationFail)
}

func TestDiskLimits(t *testing.T) {
	cfg := diskConfig(t.TempDir())
	cfg.Disk.Objects = 10
	cfg.Services["sport"] = ServiceConfig{Keys: []EpochKey{testKey(1, 5)}, Disk: Limit{Objects: 3}}
	s := openStore(t, cfg)
	_, err := s.Put(Key{"news", "init"}, Meta{Pinned: true}, []byte("init"))
	require.NoError(t, err)
	flush(t, s)
	onDisk(t, s, Key{"news", "hot"}, 1, []byte("hot"))
	for i := range 50 {
		onDisk(t, s, Key{"news", strconv.Itoa(i)}, 1, noise(1, 1000))
		_, ok := s.Lookup(Key{"news", "hot"})
		require.True(t, ok)
		onDisk(t, s, Key{"sport", strconv.Itoa(i)}, 1, noise(1, 1000))
		require.LessOrEqual(t, s.Stats().Disk.Objects, 10)
		require.LessOrEqual(t, s.ServiceStats("sport").Disk.Objects, 3)
	}
	_, ok := s.Lookup(Key{"news", "init"})
	require.True(t, ok)
	_, ok = s.Lookup(Key{"news", "0"})
	require.False(t, ok)
	flush(t, s)
	require.Len(t, files(t, cfg.Dir), s.Stats().Disk.Objects)
	require.Equal(t, s.Stats().Disk.Objects, 10)

	// An object that can never fit stays in memory.
	cfg = diskConfig(t.TempDir())
	cfg.Disk.Octets = 1000
	s = openStore(t, cfg)
	o := put(t, s, key, 1, noise(1, 5000))
	flush(t, s)
	require.Nil(t, o.file.Load())
	require.False(t, s.Stats().DiskFailed)
}
