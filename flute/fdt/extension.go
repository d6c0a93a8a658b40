package fdt

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"strconv"
	"strings"
)

// A SessionIdentityExpiry is one MBMS-Session-Identity-Expiry of 3GPP: until when an MBMS session of that identity may
// be expected.
type SessionIdentityExpiry struct {
	Identity uint8
	// Expiry is in NTP seconds.
	Expiry uint32
}

// Digests are the digests of a Content-Digest or Repr-Digest field (RFC 9530) as DVB puts them into an FDT (TS 103 769
// annex F). Nil where there is none; algorithms that RFC 9530 calls insecure are not read.
type Digests struct {
	SHA256 []byte // 32 octets
	SHA512 []byte // 64 octets
}

// IsZero tells that there is no digest.
func (d Digests) IsZero() bool { return d.SHA256 == nil && d.SHA512 == nil }

func (d Digests) valid() bool {
	return (d.SHA256 == nil || len(d.SHA256) == 32) && (d.SHA512 == nil || len(d.SHA512) == 64)
}

// String returns the digests as a Dictionary Structured Field, which is how the field and the attribute have them.
func (d Digests) String() string {
	var members []string
	if d.SHA256 != nil {
		members = append(members, "sha-256=:"+base64.StdEncoding.EncodeToString(d.SHA256)+":")
	}
	if d.SHA512 != nil {
		members = append(members, "sha-512=:"+base64.StdEncoding.EncodeToString(d.SHA512)+":")
	}
	return strings.Join(members, ", ")
}

// ParseDigests reads the value of a Content-Digest or Repr-Digest field. What it does not know, or cannot read, it
// skips.
func ParseDigests(s string) (d Digests) {
	for member := range strings.SplitSeq(s, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		value, _, _ = strings.Cut(value, ";") // parameters
		value = strings.TrimSpace(value)
		if len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
			continue
		}
		sum, err := base64.StdEncoding.DecodeString(value[1 : len(value)-1])
		switch {
		case err != nil:
		case name == "sha-256" && len(sum) == 32:
			d.SHA256 = sum
		case name == "sha-512" && len(sum) == 64:
			d.SHA512 = sum
		}
	}
	return d
}

// A Signature is one HTTP message signature (RFC 9421) over attributes of a File, as DVB has it (TS 103 769 annex F).
// It is read and written here, not verified.
type Signature struct {
	Value []byte
	// Scope lists the components that are signed, attributes as "@@name".
	Scope []string
	// Created, Expires and Algorithm are those of RFC 9421, as they are written.
	Created, Expires, Algorithm string
	// KeyURI or KeyID names the key: the text of the standard has the one, its schema the other.
	KeyURI string
	KeyID  []byte
}

func (p *parser) sessionIdentityExpiry(d *xml.Decoder, e xml.StartElement) error {
	s, err := text(d)
	if err != nil {
		return err
	}
	var x SessionIdentityExpiry
	identity, err := strconv.ParseUint(s, 10, 8)
	for _, a := range e.Attr {
		if a.Name.Local == "value" {
			if uintAttr(e, a, &x.Expiry) != nil {
				return nil
			}
		}
	}
	if err == nil {
		x.Identity = uint8(identity)
		p.in.SessionIdentityExpiries = append(p.in.SessionIdentityExpiries, x)
	}
	return nil
}

func schemaVersion(d *xml.Decoder, version *uint32) error {
	s, err := text(d)
	if v, err := strconv.ParseUint(s, 10, 32); err == nil {
		*version = uint32(v)
	}
	return err
}

// delimiter writes the mark between the elements of two releases of the schema of 3GPP.
func (w *writer) delimiter(in *Instance) {
	if in.SchemaVersion != 0 {
		w.raw("<sv:delimiter>0</sv:delimiter>\n")
	}
}

// group appends the text of a Group element.
func group(d *xml.Decoder, groups *[]string) error {
	s, err := text(d)
	if s != "" {
		*groups = append(*groups, s)
	}
	return err
}

func (f *File) sessionIdentity(d *xml.Decoder) error {
	s, err := text(d)
	if v, err := strconv.ParseUint(s, 10, 8); err == nil {
		f.SessionIdentities = append(f.SessionIdentities, uint8(v))
	}
	return err
}

func (f *File) signature(d *xml.Decoder, e xml.StartElement) error {
	s, err := text(d)
	if err != nil {
		return err
	}
	sig := Signature{}
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "scope":
			sig.Scope = list(a.Value)
		case "created":
			sig.Created = a.Value
		case "expires":
			sig.Expires = a.Value
		case "algorithm":
			sig.Algorithm = a.Value
		case "keyUri":
			sig.KeyURI = a.Value
		case "keyId":
			if id, err := hex.DecodeString(strings.TrimSpace(a.Value)); err == nil && len(id) > 0 {
				sig.KeyID = id
			}
		}
	}
	// The lines of base64 may be folded.
	value, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	if err == nil && len(value) > 0 {
		sig.Value = value
		f.Signatures = append(f.Signatures, sig)
	}
	return nil
}

// extensionElements writes child elements of a File, of which those that are FLUTE's own have the prefix local.
func (w *writer) extensionElements(f *File, local string) {
	for _, sig := range f.Signatures {
		w.raw("<dvb:Signature")
		w.optional("scope", strings.Join(sig.Scope, " "))
		w.optional("created", sig.Created)
		w.optional("expires", sig.Expires)
		w.optional("algorithm", sig.Algorithm)
		w.optional("keyUri", sig.KeyURI)
		w.optional("keyId", hex.EncodeToString(sig.KeyID))
		w.raw(">")
		w.raw(base64.StdEncoding.EncodeToString(sig.Value))
		w.raw("</dvb:Signature>\n")
	}
	for _, g := range f.Groups {
		w.element(local+"Group", g)
	}
	for _, id := range f.SessionIdentities {
		w.element(local+"MBMS-Session-Identity", strconv.Itoa(int(id)))
	}
}

func (f *File) hasElements() bool {
	return f.CacheControl != CacheControl{} || len(f.AlternateLocations) > 0 ||
		len(f.Groups) > 0 || len(f.SessionIdentities) > 0 || len(f.Signatures) > 0
}

func (w *writer) extensionAttributes(f *File) {
	w.optional("mbms2009:Decryption-KEY-URI", f.DecryptionKeyURI)
	w.optionalUint("mbms2012:FEC-Redundancy-Level", uint64(f.FECRedundancyLevel))
	var positions []string
	for _, v := range f.IndependentUnitPositions {
		positions = append(positions, strconv.FormatUint(v, 10))
	}
	w.optional("mbms2015:IndependentUnitPositions", strings.Join(positions, " "))
	w.optional("dvb:Content-Digest", f.ContentDigest.String())
	w.optional("dvb:Repr-Digest", f.ReprDigest.String())
}

// extensionAttribute reads an attribute of an extension.
func (f *File) extensionAttribute(e xml.StartElement, a xml.Attr) (known bool, err error) {
	switch name(a) {
	case "Decryption-KEY-URI":
		f.DecryptionKeyURI = a.Value
	case "FEC-Redundancy-Level":
		if uintAttr(e, a, &f.FECRedundancyLevel) != nil {
			f.FECRedundancyLevel = 0 // of no consequence
		}
	case "IndependentUnitPositions":
		for _, field := range strings.Fields(a.Value) {
			if v, err := strconv.ParseUint(field, 10, 64); err == nil {
				f.IndependentUnitPositions = append(f.IndependentUnitPositions, v)
			}
		}
	case "Content-Digest":
		f.ContentDigest = ParseDigests(a.Value)
	case "Repr-Digest":
		f.ReprDigest = ParseDigests(a.Value)
	default:
		return false, nil
	}
	return true, nil
}

// values counts the directives, of which the schema allows one.
func (c CacheControl) values() (n int) {
	for _, on := range []bool{c.NoCache, c.MaxStale, c.Expires != 0} {
		if on {
			n++
		}
	}
	return n
}
