package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// epoch holds the keys that one delivery service key yields: one for bodies,
// one for file names, one for meta records, and one to find out whose a file
// is.
type epoch struct {
	EpochKey
	scope  []byte // service and epoch, in every info and context
	input  []byte
	index  []byte
	meta   []byte
	finder cipher.Block
	purged bool // guarded by Store.mu: NotAfter passed and its files are gone
}

func newEpoch(service string, k EpochKey) (*epoch, error) {
	e := &epoch{EpochKey: k}
	e.scope = append(e.scope, byte(len(service)))
	e.scope = append(e.scope, service...)
	e.scope = binary.BigEndian.AppendUint32(e.scope, k.Epoch)
	var finder []byte
	for _, d := range []struct {
		dst   *[]byte
		label string
	}{
		{&e.input, "treedn-cache-v1"},
		{&e.index, "treedn-index-v1"},
		{&e.meta, "treedn-meta-v1"},
		{&finder, "treedn-find-v1"},
	} {
		key, err := hkdf.Expand(sha256.New, k.Key[:], d.label+string(e.scope), 32)
		if err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
		*d.dst = key
	}
	block, err := aes.NewCipher(finder)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	e.finder = block
	return e, nil
}

// readable tells whether the key may still be used.
func (e *epoch) readable(now time.Time) bool {
	return e.NotAfter.IsZero() || now.Before(e.NotAfter)
}

// fileName is the name of a file: 20 octets, which are written in hexadecimal.
type fileName [20]byte

func (n fileName) String() string { return hex.EncodeToString(n[:]) }

func parseFileName(s string) (n fileName, ok bool) {
	if len(s) != 2*len(n) {
		return n, false
	}
	_, err := hex.Decode(n[:], []byte(s))
	return n, err == nil && n.String() == s
}

// fileName hides an object's name.
func (e *epoch) fileName(name string) fileName {
	mac := hmac.New(sha256.New, e.index)
	mac.Write([]byte(name))
	return fileName(mac.Sum(nil)[:20])
}

// bodyContext binds a sealed body to its object: two files whose bodies were
// exchanged do not open.
func (e *epoch) bodyContext(name string, generation uint64) []byte {
	digest := sha256.Sum256([]byte(name))
	c := append([]byte("obj"), e.scope...)
	c = append(c, digest[:]...)
	c = binary.BigEndian.AppendUint64(c, generation)
	return append(c, 0) // flags: none yet
}

func (e *epoch) metaContext() []byte { return append([]byte("meta"), e.scope...) }

// nonceSize and tagSize are the parts of a file's finder.
const (
	nonceSize = aes.BlockSize
	tagSize   = 8
)

// tag is a pseudo-random function of a file's random nonce. A start with many
// files and services tells whose a file is by one AES block per key instead of
// a key derivation; without the key the tag is noise.
func (e *epoch) tag(nonce *[nonceSize]byte) (t [tagSize]byte) {
	var out [nonceSize]byte
	e.finder.Encrypt(out[:], nonce[:])
	copy(t[:], out[:])
	return t
}

// setKeys derives the keys of the service's epochs. What was sealed under keys
// that are gone goes too.
func (s *Store) setKeys(svc *service) error {
	var keys []*epoch
	for _, k := range svc.cfg.Keys {
		i := slices.IndexFunc(svc.keys, func(e *epoch) bool { return k.same(e.EpochKey) })
		if i >= 0 && svc.keys[i].EpochKey == k {
			keys = append(keys, svc.keys[i])
			continue
		}
		e, err := newEpoch(svc.name, k)
		if err != nil {
			return err
		}
		if i >= 0 {
			// Only the times changed: the files stay.
			s.rekey(svc, svc.keys[i], e)
		}
		keys = append(keys, e)
	}
	old := svc.keys
	svc.keys = keys
	for _, e := range old {
		if !slices.ContainsFunc(keys, func(n *epoch) bool { return n.same(e.EpochKey) }) {
			s.purge(svc, e)
		}
	}
	return nil
}

// rekey moves the objects of one epoch to another with the same key.
func (s *Store) rekey(svc *service, from, to *epoch) {
	for _, o := range svc.objects {
		if f := o.file.Load(); f != nil && f.epoch == from {
			moved := *f
			moved.epoch = to
			o.file.Store(&moved)
		}
	}
}

// purge drops everything that is sealed in an epoch. What is in memory as well
// is sealed again in the current one.
func (s *Store) purge(svc *service, e *epoch) {
	for _, o := range svc.objects {
		f := o.file.Load()
		if f == nil || f.epoch != e {
			continue
		}
		if o.body.Load() == nil {
			s.count.expired.Add(1)
			s.drop(o)
			continue
		}
		s.dropFile(o)
		s.reseal(o)
	}
}

// writing returns the epoch for new files, or nil.
func (svc *service) writing(now time.Time) *epoch {
	for _, e := range slices.Backward(svc.keys) {
		if !now.Before(e.NotBefore) && e.readable(now) {
			return e
		}
	}
	return nil
}
