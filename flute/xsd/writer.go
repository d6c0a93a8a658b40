package xsd

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Writer appends XML. It remembers the first value that XML, or the standard
// behind the document, cannot hold.
type Writer struct {
	b   []byte
	err error
	// incomplete is wrapped by all errors of the writer itself.
	incomplete error
}

// NewWriter returns a Writer that begins with the XML declaration. Its own errors
// match incomplete.
func NewWriter(incomplete error) *Writer {
	return &Writer{b: []byte(`<?xml version="1.0" encoding="UTF-8"?>` + "\n"), incomplete: incomplete}
}

// AppendTo appends the document to b, or returns the first error and b as it was.
func (w *Writer) AppendTo(b []byte) ([]byte, error) {
	if w.err != nil {
		return b, w.err
	}
	return append(b, w.b...), nil
}

// Fail remembers an error, if it is the first.
func (w *Writer) Fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// Require fails unless ok.
func (w *Writer) Require(ok bool, otherwise string, args ...any) {
	if !ok {
		w.Fail(fmt.Errorf("%w: %s", w.incomplete, fmt.Sprintf(otherwise, args...)))
	}
}

// Raw appends markup.
func (w *Writer) Raw(s string) { w.b = append(w.b, s...) }

// Append lets a function append markup.
func (w *Writer) Append(f func([]byte) ([]byte, error)) {
	b, err := f(w.b)
	if err != nil {
		w.Fail(err)
		return
	}
	w.b = b
}

// Attr appends an attribute.
func (w *Writer) Attr(name, value string) {
	w.Raw(" " + name + `="`)
	w.Text(value)
	w.Raw(`"`)
}

// Text appends character data. White space other than the blank is written as
// references, since a reader would turn it into blanks in an attribute.
func (w *Writer) Text(s string) {
	for i, r := range s {
		switch r {
		case '&':
			w.Raw("&amp;")
		case '<':
			w.Raw("&lt;")
		case '>':
			w.Raw("&gt;")
		case '"':
			w.Raw("&quot;")
		case '\t':
			w.Raw("&#9;")
		case '\n':
			w.Raw("&#10;")
		case '\r':
			w.Raw("&#13;")
		case utf8.RuneError:
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				w.Require(false, "%.64q is not UTF-8", s)
			}
			w.b = utf8.AppendRune(w.b, r)
		default:
			w.Require(r >= 0x20 && r != 0xfffe && r != 0xffff, "XML has no character %U", r)
			w.b = utf8.AppendRune(w.b, r)
		}
	}
}

// Optional appends an attribute that is absent if it is empty.
func (w *Writer) Optional(name, value string) {
	if value != "" {
		w.Attr(name, value)
	}
}

// Uint appends a number as an attribute.
func (w *Writer) Uint(name string, v uint64) { w.Attr(name, strconv.FormatUint(v, 10)) }

// OptionalUint appends a number as an attribute that is absent if it is 0.
func (w *Writer) OptionalUint(name string, v uint64) {
	if v != 0 {
		w.Uint(name, v)
	}
}

// Flag appends an attribute that is true, or absent.
func (w *Writer) Flag(name string, v bool) {
	if v {
		w.Attr(name, "true")
	}
}

// Bool appends a boolean as an attribute.
func (w *Writer) Bool(name string, v bool) { w.Attr(name, strconv.FormatBool(v)) }

// Addr appends an address as an attribute, none if it is zero.
func (w *Writer) Addr(name string, a netip.Addr) {
	if a.IsValid() {
		w.Require(a.Zone() == "", "%s with a zone", name)
		w.Attr(name, a.Unmap().String())
	}
}

// Time appends an xs:dateTime as an attribute, none if it is zero.
func (w *Writer) Time(name string, t time.Time) {
	if !t.IsZero() {
		w.Attr(name, FormatTime(t))
	}
}

// FormatTime returns t as an xs:dateTime in UTC.
func FormatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// Base64 appends an xs:base64Binary as an attribute, none if it is empty.
func (w *Writer) Base64(name string, b []byte) {
	w.Optional(name, base64.StdEncoding.EncodeToString(b))
}

// List appends an xs:list as an attribute, none if it is empty. Its items must
// not have blanks.
func (w *Writer) List(name string, items []string) {
	for _, s := range items {
		w.Require(len(strings.Fields(s)) == 1 && strings.TrimSpace(s) == s, "%s: item %.64q", name, s)
	}
	w.Optional(name, strings.Join(items, " "))
}

// Strings returns numbers as the items of an xs:list.
func Strings[T uint8 | uint16 | uint32 | uint64](values []T) (items []string) {
	for _, v := range values {
		items = append(items, strconv.FormatUint(uint64(v), 10))
	}
	return items
}

// Element appends an element that holds text, on a line of its own.
func (w *Writer) Element(name, text string) {
	w.Raw("<" + name + ">")
	w.Text(text)
	w.Raw("</" + name + ">\n")
}

// OptionalElement appends such an element unless the text is empty.
func (w *Writer) OptionalElement(name, text string) {
	if text != "" {
		w.Element(name, text)
	}
}

// FormatInt returns a number as an xs:integer.
func FormatInt(v int64) string { return strconv.FormatInt(v, 10) }
