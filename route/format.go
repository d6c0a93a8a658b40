package route

import (
	"strings"
	"time"

	"github.com/treedn/treedn/route/entity"
	"github.com/treedn/treedn/route/sls"
)

// codepoint returns the codepoint of an object (RFC 9223, table 2).
func (o *Outgoing) codepoint(templated bool) (uint8, error) {
	media := o.Track.Stem != ""
	switch o.Format {
	case 0, sls.FormatFile:
		switch {
		case o.Carousel && !templated:
			return cpInit, nil
		case media:
			return cpMedia, nil
		}
		return cpFile, nil
	case sls.FormatEntity:
		if media {
			return sls.CPMediaEntity, nil
		}
		return sls.CPEntity, nil
	case sls.FormatPackage:
		if !media {
			return sls.CPPackage, nil
		}
	case sls.FormatSignedPackage:
		if !media {
			return sls.CPSignedPackage, nil
		}
	}
	return 0, errFormat
}

// repeated tells whether a lone file goes round in the carousel.
func (o *Outgoing) repeated() bool { return (o.Carousel || o.Every > 0) && o.Times != 1 }

// entityHeader makes the header of an object of Entity Mode.
func (o *Outgoing) entityHeader() (b []byte, chunked bool, err error) {
	h := entity.Header{Length: o.Length, Chunked: o.Length == 0}
	if (&entity.Header{Fields: o.Header}).Get("Content-Location") == "" {
		h.Fields = append(h.Fields, entity.Field{Name: "Content-Location", Value: o.Name})
	}
	if o.ContentType != "" {
		h.Fields = append(h.Fields, entity.Field{Name: "Content-Type", Value: o.ContentType})
	}
	for _, f := range o.Header {
		if strings.EqualFold(f.Name, "Content-Type") && o.ContentType != "" {
			continue // said already
		}
		h.Fields = append(h.Fields, f)
	}
	b, err = h.Append(nil)
	return b, h.Chunked, err
}

// SignFunc returns the detached CMS signature over content, in DER, and the name of its digest, such as "sha-256".
type SignFunc func(content []byte) (signature []byte, algorithm string, err error)

// SendPackage sends parts together, each with its own Content-Location, as one object (RFC 9223, sections 4.3 and 4.4).
// With sign it is a signed package. Carousel repeats it.
func (s *Sender) SendPackage(now time.Time, out Outgoing, parts []sls.Part, sign SignFunc) error {
	if out.Track.Stem != "" {
		return errFormat
	}
	body, err := (&sls.Package{NoEnvelope: true, Parts: parts}).Append(nil)
	if err != nil {
		return err
	}
	out.Format = sls.FormatPackage
	if sign != nil {
		signature, algorithm, err := sign(body)
		if err != nil {
			return err
		}
		out.Format, body = sls.FormatSignedPackage, entity.AppendSigned(nil, body, signature, algorithm)
	}
	out.ContentType, out.Length = "multipart/related", int64(len(body))
	if sign != nil {
		out.ContentType = "multipart/signed"
	}
	t, err := s.Begin(now, out)
	if err != nil {
		return err
	}
	if err := t.Append(now, body); err != nil {
		t.Abort()
		return err
	}
	return t.End(now)
}
