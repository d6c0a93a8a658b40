package config

import (
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// document is what the pointer to each role does.
type document interface {
	populate()
	resolve(*problems, lookupEnv)
	validate(*problems)
	Files() []string
	Explain(io.Writer) error
}

func documentOf[T Role](c *T) document { return any(c).(document) }

// Source is where a node's configuration comes from: a file, flags, or both.
// The zero value is an empty configuration.
type Source[T Role] struct {
	// Path is the file; empty means flags and defaults only.
	Path string
	// Check says that the node should print what it would do and end.
	Check bool
	// LookupEnv finds the variables that env:NAME speaks of. Default:
	// os.LookupEnv.
	LookupEnv func(string) (string, bool)

	overrides []override[T]
}

// NewSource binds -config, -check and the role's flags to fs. The flags' values
// take effect in each Load, over those of the file.
func NewSource[T Role](fs *flag.FlagSet) *Source[T] {
	s := &Source[T]{}
	fs.StringVar(&s.Path, "config", "", "YAML `file` with the configuration; flags go over it")
	fs.BoolVar(&s.Check, "check", false, "check the configuration, print what the node would do, and end")
	bind(fs, s)
	return s
}

// Load reads the file, applies flags and defaults, reads secrets and validates.
// The error is an [*Error], or that of opening the file.
func (s *Source[T]) Load() (*T, error) {
	var text []byte
	if s.Path != "" {
		var err error
		if text, err = readFile(s.Path); err != nil {
			return nil, err
		}
	}
	return s.load(text)
}

func (s *Source[T]) load(text []byte) (*T, error) {
	c, p := new(T), newProblems(s.Path)
	if s.Path != "" && !decode(text, c, filepath.Dir(s.Path), p) {
		return nil, p.err()
	}
	s.override(c, p)
	return c, s.complete(c, p)
}

func (s *Source[T]) complete(c *T, p *problems) error {
	env := s.LookupEnv
	if env == nil {
		env = os.LookupEnv
	}
	d := documentOf(c)
	d.populate()
	d.resolve(p, env)
	d.validate(p)
	return p.err()
}

// Parse reads a document from memory. The name stands in problems, and relative
// paths count from its directory.
func Parse[T Role](name string, text []byte) (*T, error) {
	return (&Source[T]{Path: name}).load(text)
}

// Complete fills defaults into a copy of a configuration that was made in code
// and validates it.
func Complete[T Role](c T) (*T, error) {
	return &c, (&Source[T]{}).complete(&c, newProblems(""))
}

// Files lists the files that the configuration consists of, beside its own:
// certificates and secrets. A [Watcher] watches them too.
func (s *Source[T]) Files(c *T) []string {
	files := documentOf(c).Files()
	if s.Path != "" {
		files = append(files, s.Path)
	}
	slices.Sort(files)
	return slices.Compact(files)
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// Files lists certificates and secrets that were read.
func (c *Cast) Files() []string {
	files := c.Ingest.TLS.files()
	for _, ch := range c.Channels {
		for _, k := range ch.Keys {
			files = appendRef(files, k.ref)
		}
		files = appendRef(files, ch.SealKey.ref)
	}
	return files
}

// Files lists certificates and secrets that were read.
func (r *Relay) Files() []string {
	files := r.HTTP.TLS.files()
	for _, s := range r.Services {
		files = appendRef(s.Service.appendFiles(files), s.SealKey.ref)
	}
	files = appendRef(files, r.AMT.Key.ref)
	return files
}

// Files lists certificates and secrets that were read.
func (b *Beacon) Files() []string {
	files := b.HTTP.TLS.files()
	for _, s := range b.Services {
		files = s.appendFiles(files)
	}
	return files
}

func (s *Service) appendFiles(files []string) []string {
	files = appendRef(files, s.CacheKey.ref)
	for _, list := range [][]Anchor{s.Upstream.Anchors, s.Upstream.HopAnchors} {
		for _, a := range list {
			files = appendRef(files, a.ref)
		}
	}
	return files
}

func (t TLS) files() []string {
	var files []string
	for _, f := range []Path{t.Cert, t.Key} {
		if f != "" {
			files = append(files, string(f))
		}
	}
	return files
}

func appendRef(files []string, ref string) []string {
	if f, ok := strings.CutPrefix(ref, "file:"); ok {
		return append(files, f)
	}
	return files
}

func (c *Cast) resolve(p *problems, env lookupEnv) {
	c.Ingest.TLS.resolve(p, "ingest.tls")
	for i := range c.Channels {
		for j := range c.Channels[i].Keys {
			if err := c.Channels[i].Keys[j].resolve(env); err != nil {
				p.addf(fmt.Sprintf("channels[%d].keys[%d]", i, j), "%v", err)
			}
		}
		if err := c.Channels[i].SealKey.resolve(env); err != nil {
			p.addf(fmt.Sprintf("channels[%d].seal_key", i), "%v", err)
		}
	}
}

func (r *Relay) resolve(p *problems, env lookupEnv) {
	r.HTTP.TLS.resolve(p, "http.tls")
	for i := range r.Services {
		path := fmt.Sprintf("services[%d]", i)
		r.Services[i].Service.resolve(p, path, env)
		if err := r.Services[i].SealKey.resolve(env); err != nil {
			p.addf(path+".seal_key", "%v", err)
		}
	}
	r.AMT.resolve(p, env)
}

func (b *Beacon) resolve(p *problems, env lookupEnv) {
	b.HTTP.TLS.resolve(p, "http.tls")
	for i := range b.Services {
		b.Services[i].resolve(p, fmt.Sprintf("services[%d]", i), env)
	}
}

func (s *Service) resolve(p *problems, path string, env lookupEnv) {
	if err := s.CacheKey.resolve(env); err != nil {
		p.addf(path+".cache_key", "%v", err)
	}
	u := &s.Upstream
	resolveAnchors(p, path+".upstream.anchors", u.Anchors)
	resolveAnchors(p, path+".upstream.hop_anchors", u.HopAnchors)
	// The default is filled in here, so that a file that cannot be read is
	// reported once.
	if len(u.HopAnchors) == 0 {
		u.HopAnchors = slices.Clone(u.Anchors)
	}
}

func resolveAnchors(p *problems, path string, list []Anchor) {
	for i := range list {
		if err := list[i].resolve(); err != nil {
			p.addf(fmt.Sprintf("%s[%d]", path, i), "%v", err)
		}
	}
}

// resolve tries the pair so that a reload with a broken one is refused while
// the old one still serves.
func (t TLS) resolve(p *problems, path string) {
	if t.Cert == "" || t.Key == "" {
		return
	}
	if _, err := t.Certificate(); err != nil {
		p.addf(path, "%v", err)
	}
}

// Certificate reads the chain and the key.
func (t TLS) Certificate() (tls.Certificate, error) {
	return tls.LoadX509KeyPair(string(t.Cert), string(t.Key))
}
