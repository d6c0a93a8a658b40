package entity

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io"
	"strconv"
	"strings"
)

// Signed is a signed package (RFC 8551, section 3.5.3): multipart/signed with a package and its detached CMS signature.
type Signed struct {
	// Content is what was signed, octet by octet: the header fields of the package, a blank line, and its body. It is a
	// package as sls.ParsePackage reads it.
	Content []byte
	// Signature is the CMS SignedData (RFC 5652) in DER, without a transfer encoding.
	Signature []byte
	// Algorithm is the micalg parameter, such as "sha-256".
	Algorithm string
}

const (
	typeSigned    = "multipart/signed"
	typeSignature = "application/pkcs7-signature"
	// maxBoundary is more than the 70 octets of RFC 2046.
	maxBoundary = 200
)

// ParseSigned takes a signed package apart. Content lies in b.
func ParseSigned(b []byte) (s Signed, err error) {
	h, n, err := ParseHeader(b)
	if err != nil {
		return s, err
	}
	kind := h.Get("Content-Type")
	if !strings.EqualFold(mediaType(kind), typeSigned) {
		return s, fmt.Errorf("%w: Content-Type %.64q", ErrSigned, kind)
	}
	boundary := parameter(kind, "boundary")
	if boundary == "" || len(boundary) > maxBoundary {
		return s, fmt.Errorf("%w: no boundary", ErrSigned)
	}
	s.Algorithm = parameter(kind, "micalg")
	delimiter := []byte("--" + boundary)
	_, rest, ok := cutDelimiter(b[n:], delimiter)
	if !ok {
		return s, fmt.Errorf("entity: signed package: %w", io.ErrUnexpectedEOF)
	}
	var second []byte
	if s.Content, rest, ok = cutDelimiter(rest, delimiter); ok {
		second, _, ok = cutDelimiter(rest, delimiter)
	}
	if !ok {
		return s, fmt.Errorf("entity: signed package: %w", io.ErrUnexpectedEOF)
	}
	if h, n, err = ParseHeader(second); err != nil {
		return s, err
	}
	if t := strings.ToLower(mediaType(h.Get("Content-Type"))); t != typeSignature && t != "application/x-pkcs7-signature" {
		return s, fmt.Errorf("%w: signature of type %.64q", ErrSigned, t)
	}
	s.Signature = second[n:]
	switch strings.ToLower(h.Get("Content-Transfer-Encoding")) {
	case "base64":
		packed := bytes.Map(func(r rune) rune {
			if r == '\r' || r == '\n' || r == ' ' || r == '\t' {
				return -1
			}
			return r
		}, s.Signature)
		s.Signature = make([]byte, base64.StdEncoding.DecodedLen(len(packed)))
		if n, err = base64.StdEncoding.Decode(s.Signature, packed); err != nil {
			return s, fmt.Errorf("%w: signature: %w", ErrSigned, err)
		}
		s.Signature = s.Signature[:n]
	case "", "7bit", "8bit", "binary":
	default:
		return s, fmt.Errorf("%w: signature in an unknown transfer encoding", ErrSigned)
	}
	if len(s.Signature) == 0 {
		return s, fmt.Errorf("%w: empty signature", ErrSigned)
	}
	return s, nil
}

// cutDelimiter returns what stands before the next line that is the delimiter, without the line break before it, and
// what follows that line. The break belongs to the delimiter (RFC 2046, section 5.1.1), and signatures count on it.
func cutDelimiter(b, delimiter []byte) (before, after []byte, ok bool) {
	for from := 0; ; {
		i := bytes.Index(b[from:], delimiter)
		if i < 0 {
			return nil, nil, false
		}
		i += from
		from = i + len(delimiter)
		if i > 0 && b[i-1] != '\n' {
			continue
		}
		line, rest, _ := bytes.Cut(b[from:], []byte("\n"))
		if end := string(bytes.TrimRight(line, " \t\r")); end != "" && end != "--" {
			continue
		}
		before = bytes.TrimSuffix(bytes.TrimSuffix(b[:i], []byte("\n")), []byte("\r"))
		return before, rest, true
	}
}

// AppendSigned appends a signed package of content, which is a package with its header fields as sls.Package.Append
// makes it, and the signature over exactly these octets.
func AppendSigned(b, content, signature []byte, algorithm string) []byte {
	h := fnv.New64a()
	h.Write(content)
	boundary := "treedn-" + strconv.FormatUint(h.Sum64(), 16) + "-signed"
	for bytes.Contains(content, []byte(boundary)) {
		boundary += "-"
	}
	b = fmt.Appendf(b, "Content-Type: %s; protocol=%q; micalg=%s; boundary=%q\r\n\r\n--%s\r\n",
		typeSigned, typeSignature, algorithm, boundary, boundary)
	b = append(b, content...)
	b = fmt.Appendf(b, "\r\n--%s\r\nContent-Type: %s; name=smime.p7s\r\nContent-Transfer-Encoding: base64\r\n\r\n", boundary, typeSignature)
	text := base64.StdEncoding.EncodeToString(signature)
	for len(text) > 76 { // RFC 2045, section 6.8
		b = append(append(b, text[:76]...), "\r\n"...)
		text = text[76:]
	}
	b = append(b, text...)
	return fmt.Appendf(b, "\r\n--%s--\r\n", boundary)
}

func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.TrimSpace(t)
}

// parameter returns a parameter of a Content-Type. Unlike package mime it puts up with unquoted values that need quotes.
func parameter(contentType, name string) string {
	_, rest, _ := strings.Cut(contentType, ";")
	for rest != "" {
		key, value, found := strings.Cut(rest, "=")
		if !found {
			return ""
		}
		value = strings.TrimLeft(value, " \t")
		if quoted, ok := strings.CutPrefix(value, `"`); ok {
			value, rest, _ = strings.Cut(quoted, `"`)
			_, rest, _ = strings.Cut(rest, ";")
		} else {
			value, rest, _ = strings.Cut(value, ";")
			value = strings.TrimSpace(value)
		}
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return value
		}
	}
	return ""
}
