package inspect

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A Saver writes complete objects to files below a directory. Whatever the names of the objects are, nothing is written
// outside of it, also not by way of symbolic links that are in it.
type Saver struct {
	// Raw writes objects as they were transferred, with their content encoding.
	Raw bool

	root *os.Root
	used map[string][sha256.Size]byte
}

// NewSaver returns a Saver for a directory, which it makes if there is none.
func NewSaver(dir string) (*Saver, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &Saver{root: root, used: map[string][sha256.Size]byte{}}, nil
}

// Close closes the directory.
func (s *Saver) Close() error { return s.root.Close() }

// Save writes an object, and the parts of a package of signalling, each under its own name. It returns the paths below
// the directory, with slashes. Another object of the same name that differs gets a number: manifest~2.mpd. An object
// that cannot be decoded is written as it was transferred.
func (s *Saver) Save(e *ObjectEvent) (paths []string, err error) {
	if !e.Complete || e.Body == nil {
		return nil, nil
	}
	fallback := strconv.FormatUint(e.TSI, 10) + "-" + strconv.FormatUint(e.TOI, 10)
	location := ""
	if e.Location != nil {
		location = *e.Location
	}
	body := e.Body
	if !s.Raw {
		body = e.file()
		if b, err := decoded(body, e.Encoding); err == nil {
			body = b
		}
	}
	p, err := s.write(Path(location, fallback), fallback, body)
	if err != nil {
		return nil, err
	}
	paths = append(paths, p)
	for i := range e.Parts {
		part := &e.Parts[i]
		fallback := fmt.Sprintf("%s-%d", fallback, i+1)
		p, err := s.write(Path(part.Location, fallback), fallback, part.Body)
		if err != nil {
			return paths, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

// maxVersions bounds the files of one name.
const maxVersions = 10000

var errVersions = errors.New("inspect: too many files of one name")

// write writes a file under a name, or under the fallback where that is a directory, or leads through a file.
func (s *Saver) write(name, fallback string, body []byte) (string, error) {
	sum := sha256.Sum256(body)
	for n := 1; n <= maxVersions; n++ {
		p := numbered(name, n)
		if before, ok := s.used[p]; ok {
			if before == sum {
				return p, nil
			}
			continue
		}
		if dir := path.Dir(p); dir != "." {
			if err := s.root.MkdirAll(dir, 0o755); err != nil {
				return s.flat(name, fallback, body, err)
			}
		}
		if err := s.root.WriteFile(p, body, 0o644); err != nil {
			return s.flat(name, fallback, body, err)
		}
		s.used[p] = sum
		return p, nil
	}
	return "", errVersions
}

func (s *Saver) flat(name, fallback string, body []byte, err error) (string, error) {
	if name == fallback {
		return "", err
	}
	return s.write(fallback, fallback, body)
}

// numbered puts a number before the extension of a name, except for the first.
func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	ext := path.Ext(name)
	return fmt.Sprintf("%s~%d%s", strings.TrimSuffix(name, ext), n, ext)
}

// Limits of file systems, with room for a number.
const (
	maxElement = 200  // octets of one element of a path
	maxPath    = 1000 // of a path
)

// Path makes a path below a directory out of a Content-Location, with slashes. It has no element that leads upwards or
// is empty, and no characters that are dangerous on a terminal or in a file system; of a URL it has the host and the
// path. If nothing is left it is the fallback.
func Path(location, fallback string) string {
	if scheme, rest, ok := strings.Cut(location, "://"); ok && isScheme(scheme) {
		location = rest
	}
	var elements []string
	for e := range strings.FieldsFuncSeq(location, func(r rune) bool { return r == '/' || r == '\\' }) {
		if e = element(e); e != "" {
			elements = append(elements, e)
		}
	}
	p := strings.Join(elements, "/")
	switch {
	case p == "":
		return fallback
	case len(p) > maxPath:
		sum := sha256.Sum256([]byte(p))
		return fallback + "-" + hex.EncodeToString(sum[:8])
	}
	return p
}

func isScheme(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("+-.", r)
	})
}

// element makes an element of a path harmless; empty if nothing is left of it.
func element(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return '_'
		case runtime.GOOS == "windows" && strings.ContainsRune(`:*?"<>|`, r):
			return '_'
		}
		return r
	}, s)
	s = strings.TrimRight(s, " ")
	if strings.Trim(s, ".") == "" {
		return "" // ".", ".." and their kin
	}
	if runtime.GOOS == "windows" {
		if s = strings.TrimRight(s, ". "); reserved(s) {
			s = "_" + s
		}
	}
	if len(s) > maxElement {
		sum := sha256.Sum256([]byte(s))
		cut := s[:maxElement-20]
		for !utf8.ValidString(cut) {
			cut = cut[:len(cut)-1]
		}
		s = cut + "-" + hex.EncodeToString(sum[:8])
	}
	return s
}

// reserved tells whether a name means a device on Windows.
func reserved(s string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(s), ".")
	switch base = strings.TrimSpace(base); base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	return len(base) == 4 && (strings.HasPrefix(base, "COM") || strings.HasPrefix(base, "LPT")) && base[3] >= '0' && base[3] <= '9'
}
