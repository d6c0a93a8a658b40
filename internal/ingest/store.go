package ingest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/treedn/treedn/internal/manifest"
)

// A store keeps what a channel needs after a restart, each thing in a file of
// its own that is replaced as a whole: kill -9 leaves the old or the new one.
//
//	<dir>/generation    the bound of the generations in use, JSON
//	<dir>/<hash>.init   an init segment: one line of JSON, then its octets
type store struct {
	dir string
}

// maxInits bounds the init segments of a channel, in memory and on disk.
const maxInits = 128

func openStore(stateDir, channel string) (*store, error) {
	dir := filepath.Join(stateDir, channel)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("ingest: state of channel %s: %w", channel, err)
	}
	return &store{dir: dir}, nil
}

type savedGeneration struct {
	Reserved uint64 `json:"reserved"`
}

type savedInit struct {
	Name        string `json:"name"`
	ContentType string `json:"contentType"`
	Generation  uint64 `json:"generation"`
	SHA256      string `json:"sha256"`
	body        []byte
}

const (
	generationFile = "generation"
	initSuffix     = ".init"
)

func (s *store) saveGeneration(reserved uint64) error {
	b, err := json.Marshal(savedGeneration{reserved})
	if err != nil {
		return err
	}
	return s.write(generationFile, b)
}

// generation returns the saved bound, 0 if there is none.
func (s *store) generation() (uint64, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, generationFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var g savedGeneration
	if err := json.Unmarshal(b, &g); err != nil {
		return 0, fmt.Errorf("ingest: saved generation: %w", err)
	}
	return g.Reserved, nil
}

func initFile(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16]) + initSuffix
}

func (s *store) saveInit(i savedInit) error {
	sum := sha256.Sum256(i.body)
	i.SHA256 = hex.EncodeToString(sum[:])
	head, err := json.Marshal(i)
	if err != nil {
		return err
	}
	return s.write(initFile(i.Name), append(append(head, '\n'), i.body...))
}

func (s *store) removeInit(name string) error {
	err := os.Remove(filepath.Join(s.dir, initFile(name)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// inits returns the saved init segments, oldest first. What cannot be read is
// left out and told in the error.
func (s *store) inits() (found []savedInit, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var problems []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), initSuffix) {
			continue
		}
		i, err := readInit(filepath.Join(s.dir, e.Name()))
		if err != nil {
			problems = append(problems, fmt.Errorf("ingest: saved init segment %s: %w", e.Name(), err))
			continue
		}
		found = append(found, i)
	}
	sort.Slice(found, func(a, b int) bool { return found[a].Generation < found[b].Generation })
	return found, errors.Join(problems...)
}

var errDamaged = errors.New("damaged")

func readInit(path string) (i savedInit, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return i, err
	}
	head, body, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return i, errDamaged
	}
	if err := json.Unmarshal(head, &i); err != nil {
		return i, err
	}
	sum := sha256.Sum256(body)
	if i.SHA256 != hex.EncodeToString(sum[:]) || !manifest.ValidName(i.Name) {
		return i, errDamaged
	}
	i.body = body
	return i, nil
}

// write replaces a file atomically and durably.
func (s *store) write(name string, b []byte) (err error) {
	f, err := os.CreateTemp(s.dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(b); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(s.dir, name)); err != nil {
		return err
	}
	d, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Not every file system can sync a directory; the rename is atomic anyway.
	_ = d.Sync()
	return nil
}
