package fdt

import (
	"bytes"
	"cmp"
	"time"
)

// An Entry is a file that the instances of a session describe. It is never changed: an instance that adds to it makes
// another one.
type Entry struct {
	// File has what the instance says for all its files filled in.
	File File
	// BaseURL1 and BaseURL2 are those of the instance.
	BaseURL1, BaseURL2 string
	// InstanceID is the newest instance that lists the file.
	InstanceID uint32
	// Expires is when the description ceases to be valid, zero for never.
	Expires time.Time

	in *record
}

// ChangeKind tells what became of a file.
type ChangeKind uint8

// The changes.
const (
	// Added: the file was not described before.
	Added ChangeKind = iota + 1
	// Augmented: more is known of the same file, or it is valid for longer.
	Augmented
	// Replaced: the TOI has another file now.
	Replaced
	// Removed: a later instance does not list the file and claims to be full.
	Removed
	// Expired: no instance that lists the file is valid any more.
	Expired
)

// String returns the name of the change.
func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Augmented:
		return "augmented"
	case Replaced:
		return "replaced"
	case Removed:
		return "removed"
	case Expired:
		return "expired"
	}
	return "unknown"
}

// A Change is what became of one file. Entry is the new one; for Removed and Expired, the last one.
type Change struct {
	Kind  ChangeKind
	Entry *Entry
}

// givesWay tells whether an entry may be replaced by what contradicts it.
func (e *Entry) givesWay(now time.Time, by *record, reuseAfter time.Duration) bool {
	if e.in.expires.IsZero() && newer(by.id, e.in.id) {
		return true
	}
	return now.Sub(e.in.seen) >= reuseAfter
}

// merge fills in what an earlier description of the same file has and this one has not.
func (e *Entry) merge(old *Entry) {
	f, o := &e.File, &old.File
	if !newer(e.InstanceID, old.InstanceID) && e.InstanceID != old.InstanceID {
		e.InstanceID, e.in = old.InstanceID, old.in // came late
	}
	if old.Expires.IsZero() || !e.Expires.IsZero() && old.Expires.After(e.Expires) {
		e.Expires = old.Expires
	}
	e.BaseURL1, e.BaseURL2 = cmp.Or(e.BaseURL1, old.BaseURL1), cmp.Or(e.BaseURL2, old.BaseURL2)
	if !f.HasContentLength {
		f.ContentLength, f.HasContentLength = o.ContentLength, o.HasContentLength
	}
	if !f.HasTransferLength {
		f.TransferLength, f.HasTransferLength = o.TransferLength, o.HasTransferLength
	}
	f.ContentType = cmp.Or(f.ContentType, o.ContentType)
	f.ContentEncoding = cmp.Or(f.ContentEncoding, o.ContentEncoding)
	f.ETag = cmp.Or(f.ETag, o.ETag)
	if f.ContentMD5 == nil {
		f.ContentMD5 = o.ContentMD5
	}
	if f.FEC.EncodingSymbolLength == 0 {
		f.FEC = o.FEC
	}
	if f.ContentDigest.IsZero() {
		f.ContentDigest = o.ContentDigest
	}
	if f.ReprDigest.IsZero() {
		f.ReprDigest = o.ReprDigest
	}
	if f.AlternateLocations == nil {
		f.AlternateLocations = o.AlternateLocations
	}
	if f.CacheControl == (CacheControl{}) {
		f.CacheControl = o.CacheControl
	}
}

// Contradicts tells whether two descriptions cannot be of the same object: they differ in its name, or in what it takes
// to rebuild or to recognize it. What one of them lacks contradicts nothing.
func (f *File) Contradicts(o *File) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	both := func(a, b []byte) bool { return len(a) > 0 && len(b) > 0 && !bytes.Equal(a, b) }
	number := func(a, b uint32) bool { return a != 0 && b != 0 && a != b }
	length, known := f.Length()
	before, knownBefore := o.Length()
	return f.ContentLocation != o.ContentLocation ||
		known && knownBefore && length != before ||
		f.HasContentLength && o.HasContentLength && f.ContentLength != o.ContentLength ||
		differ(f.ContentEncoding, o.ContentEncoding) || differ(f.ETag, o.ETag) ||
		both(f.ContentMD5, o.ContentMD5) ||
		both(f.ContentDigest.SHA256, o.ContentDigest.SHA256) || both(f.ContentDigest.SHA512, o.ContentDigest.SHA512) ||
		both(f.ReprDigest.SHA256, o.ReprDigest.SHA256) || both(f.ReprDigest.SHA512, o.ReprDigest.SHA512) ||
		f.FEC.HasEncodingID && o.FEC.HasEncodingID && f.FEC.EncodingID != o.FEC.EncodingID ||
		number(f.FEC.EncodingSymbolLength, o.FEC.EncodingSymbolLength) ||
		number(f.FEC.MaxSourceBlockLength, o.FEC.MaxSourceBlockLength) ||
		number(f.FEC.MaxEncodingSymbols, o.FEC.MaxEncodingSymbols) ||
		both(f.FEC.SchemeSpecific, o.FEC.SchemeSpecific)
}

func (e *Entry) valid(now time.Time) bool { return e.Expires.IsZero() || now.Before(e.Expires) }
