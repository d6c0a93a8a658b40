package flute

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/treedn/treedn/flute/fdt"
)

// Work is a computation that takes long: the coding of a FEC block, or the digest of a file. Run may be called on any
// goroutine, then Finish on that of the Sender or Receiver which gave the Work out.
type Work struct {
	run func()

	decode *decodeJob
	verify *verifyJob
	encode *encodeJob
}

// Run does the computation.
func (w *Work) Run() { w.run() }

// PollWork returns the next computation to run, and false if there is none.
func (r *Receiver) PollWork() (*Work, bool) {
	if len(r.works) == 0 {
		return nil, false
	}
	w := r.works[0]
	r.works = slices.Delete(r.works, 0, 1)
	return w, true
}

// Finish takes a computation back that has been run.
func (r *Receiver) Finish(now time.Time, w *Work) {
	switch {
	case w.decode != nil && w.decode.o.r == r && !w.decode.back:
		w.decode.back = true
		r.finishDecode(now, w.decode)
		r.resume(now)
	case w.verify != nil && w.verify.o.r == r && !w.verify.back:
		w.verify.back = true
		r.finishVerify(now, w.verify)
	}
}

// RunWork runs all waiting computations at once, for callers that can afford the delay: some milliseconds for each
// megabyte.
func (r *Receiver) RunWork(now time.Time) {
	for {
		w, ok := r.PollWork()
		if !ok {
			return
		}
		w.Run()
		r.Finish(now, w)
	}
}

// Digest tells what the digest of a file says.
type Digest uint8

// The results. Content-MD5 is over the file as it is transferred (RFC 2616) or behind the content encoding (RFC 6726
// section 3.4.2), and senders do either.
const (
	DigestNone    Digest = iota // none was announced, or it was not looked at
	DigestEncoded               // it is that of the file as transferred
	DigestDecoded               // it is that of the decoded file
)

// announced returns the strongest digest of a file.
func announced(f *fdt.File) (sum []byte, make func() hash.Hash) {
	digests := []fdt.Digests{f.ContentDigest}
	if !strings.Contains(f.ContentLocation, "#") { // of a chunk it would be over more than the chunk
		digests = append(digests, f.ReprDigest)
	}
	for _, d := range digests {
		if d.SHA512 != nil {
			return d.SHA512, sha512.New
		}
	}
	for _, d := range digests {
		if d.SHA256 != nil {
			return d.SHA256, sha256.New
		}
	}
	return f.ContentMD5, md5.New
}

// verifyJob compares a file with its digest.
type verifyJob struct {
	o      *Object
	data   octets
	length int64
	file   *fdt.File

	back   bool
	result Digest
	ok     bool
}

func (j *verifyJob) run() {
	sum, newHash := announced(j.file)
	h := newHash()
	if _, err := io.Copy(h, &snapshot{data: &j.data, end: j.length}); err != nil {
		return
	}
	if j.ok = bytes.Equal(h.Sum(nil), sum); j.ok {
		j.result = DigestEncoded
		return
	}
	if j.file.ContentEncoding == "" {
		return
	}
	r, err := Decode(&snapshot{data: &j.data, end: j.length}, j.file.ContentEncoding, max(1<<20, expansion*j.length))
	if err != nil {
		return
	}
	h.Reset()
	if _, err := io.Copy(h, r); err != nil {
		return
	}
	if j.ok = bytes.Equal(h.Sum(nil), sum); j.ok {
		j.result = DigestDecoded
	}
}

func (r *Receiver) verify(o *Object) bool {
	if r.cfg.IgnoreDigests || o.entry == nil {
		return false
	}
	if sum, _ := announced(&o.entry.File); len(sum) == 0 {
		return false
	}
	o.verifying = true
	o.busy++
	j := &verifyJob{o: o, data: o.data.clone(), length: o.Length(), file: &o.entry.File}
	r.works = append(r.works, &Work{run: j.run, verify: j})
	return true
}

func (r *Receiver) finishVerify(now time.Time, j *verifyJob) {
	o := j.o
	o.busy--
	o.verifying = false
	if o.released {
		return
	}
	if !j.ok {
		r.lose(now, o, ErrDigest)
		return
	}
	o.digest = j.result
	r.deliver(o)
}
