package flute

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math"
	"time"

	"github.com/treedn/treedn/flute/alc"
	"github.com/treedn/treedn/flute/fdt"
	"github.com/treedn/treedn/flute/lct"
)

// File is what a Sender sends.
type File struct {
	// Location is the Content-Location: the name, most often a URL.
	Location string
	// Body is the file, of Length octets, as it is transferred unless Compress is set. It is read until the file is
	// gone, in places, more than once.
	Body   io.ReaderAt
	Length int64

	ContentType string
	// ContentEncoding is that of Body; ContentLength is then the length behind it, 0 if it is not known.
	ContentEncoding string
	ContentLength   int64
	// Compress makes the Sender encode Body: gzip, deflate or zlib.
	Compress string

	// FEC is the protection, nil for that of the configuration.
	FEC *FEC

	// Start is when the first round begins, now if it is zero. Rounds is how often the file is sent, Interval the time
	// from one beginning to the next. Rounds 0 is once, -1 until Remove.
	Start    time.Time
	Rounds   int
	Interval time.Duration
	// Deadline is when the last packet should have left. Files with a deadline go first, the earliest before all; then
	// those of higher Priority.
	Deadline time.Time
	Priority int

	// Attributes is what else the FDT shall say: entity tag, caching, alternate locations, groups, signatures, and so
	// on. What this File says, and FEC, lengths and digests, take the place of what is there.
	Attributes fdt.File
	// TOI, if it is not zero, is the TOI to use.
	TOI uint64
}

// Add starts a file and returns its TOI. It is described before its first packet leaves. Its digest is computed here,
// and Compress done, so that all of Body is read once.
func (s *Sender) Add(now time.Time, f File) (toi uint64, err error) {
	switch {
	case s.closing > 0 || s.closed || s.noMore:
		return 0, fmt.Errorf("%w: session is closed", ErrConfig)
	case f.Location == "":
		return 0, fmt.Errorf("%w: no location", ErrConfig)
	case f.Length < 0 || f.Length > maxTransfer || f.Body == nil && f.Length > 0:
		return 0, fmt.Errorf("%w: %d octets", ErrConfig, f.Length)
	case f.TOI > s.maxTOI() || s.files[f.TOI] != nil:
		return 0, fmt.Errorf("%w: TOI %d", ErrConfig, f.TOI)
	}
	if toi = f.TOI; toi == 0 {
		if toi, err = s.freeTOI(); err != nil {
			return 0, err
		}
	}
	o := &outgoing{s: s, file: f, seq: s.seq, next: f.Start}
	if o.next.IsZero() {
		o.next = now
	}
	if err := o.describe(toi); err != nil {
		return 0, err
	}
	h := s.header(toi)
	h.Extensions = o.fti
	room := s.cfg.MaxPayload - h.Len() - o.fec.Scheme.PayloadIDLen()
	if o.plan, err = o.fec.cut(o.file.Length, room); err != nil {
		return 0, err
	}
	if o.desc.FEC, err = fdt.FECOf(o.plan.info); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if k, _, _ := o.plan.info.Block(0); o.fec.Scheme != 0 && k > 0 {
		o.desc.FECRedundancyLevel = uint32(math.Ceil(float64(o.fec.repair(k)) * 100 / float64(k)))
	}
	if s.cfg.ObjectFTI {
		if o.fti, err = alc.AppendFTI(nil, &o.plan.info); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	if o.enc, err = s.codec.NewEncoder(o.plan.info, o.file.Body); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	o.enc.Group = o.plan.group
	o.blocks = uint32(o.plan.info.Blocks())
	// What the FDT cannot say is found out here.
	probe := fdt.Instance{Version: s.version(), Expires: 1, Files: []fdt.File{o.desc}}
	if _, err := probe.Append(nil); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	s.seq++
	s.files[toi] = o
	s.list(o)
	s.schedule(o)
	return toi, nil
}

// describe fills in what the FDT says of the file, and encodes it.
func (o *outgoing) describe(toi uint64) error {
	s, f := o.s, &o.file
	o.fec = s.cfg.FEC
	if f.FEC != nil {
		o.fec = *f.FEC
	}
	o.desc = f.Attributes
	o.desc.TOI, o.desc.ContentLocation = toi, f.Location
	o.desc.ContentType, o.desc.ContentEncoding = f.ContentType, f.ContentEncoding
	o.desc.ContentLength, o.desc.HasContentLength = 0, false
	switch {
	case f.ContentEncoding == "" && f.Compress == "":
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.Length), true
	case f.ContentLength > 0:
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.ContentLength), true
	}
	sum := md5.New()
	if !s.cfg.NoDigests && f.ContentEncoding == "" {
		// Over the decoded file (RFC 6726 section 3.4.2).
		if _, err := io.Copy(sum, io.NewSectionReader(f.Body, 0, f.Length)); err != nil {
			return fmt.Errorf("flute: reading %q: %w", f.Location, err)
		}
		o.desc.ContentMD5 = sum.Sum(nil)
	}
	if f.Compress != "" {
		if f.ContentEncoding != "" {
			return fmt.Errorf("%w: both Compress and ContentEncoding", ErrConfig)
		}
		body, err := compress(f.Compress, io.NewSectionReader(f.Body, 0, f.Length))
		if err != nil {
			return err
		}
		o.desc.ContentLength, o.desc.HasContentLength = uint64(f.Length), true
		o.desc.ContentEncoding = f.Compress
		f.Body, f.Length = bytes.NewReader(body), int64(len(body))
	}
	o.desc.TransferLength, o.desc.HasTransferLength = uint64(f.Length), true
	if s.cfg.SHA256 {
		var h hash.Hash = sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f.Body, 0, f.Length)); err != nil {
			return fmt.Errorf("flute: reading %q: %w", f.Location, err)
		}
		o.desc.ContentDigest.SHA256 = h.Sum(nil)
	}
	if s.cfg.ObjectFTI {
		o.fti = make(lct.Extensions, 4*5) // the longest
	}
	return nil
}

// compress applies a content encoding.
func compress(encoding string, r io.Reader) ([]byte, error) {
	var buf bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&buf)
	case "zlib", "deflate": // HTTP's deflate is zlib's format
		w = zlib.NewWriter(&buf)
	default:
		return nil, fmt.Errorf("%w: %w: %q", ErrConfig, ErrEncoding, encoding)
	}
	if _, err := io.Copy(w, r); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func (s *Sender) freeTOI() (uint64, error) {
	for range len(s.files) + 1 {
		toi := s.nextTOI
		if s.nextTOI++; s.nextTOI > s.maxTOI() {
			s.nextTOI = 1
		}
		if s.files[toi] == nil {
			return toi, nil
		}
	}
	return 0, fmt.Errorf("%w: all TOIs are in use", ErrConfig)
}
