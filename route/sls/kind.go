package sls

import "github.com/treedn/treedn/flute/bundle"

// Kind is what a part of a package is, by its media type.
type Kind uint8

// The kinds of A/331, Annex H. KindManifest is a DASH or HLS manifest.
const (
	KindOther Kind = iota
	KindSTSID
	KindManifest
	KindUSBD
	KindAPD
	KindHELD
	KindDWD
	KindRSAT
)

// The media types that our packages use.
const (
	MediaTypeSTSID = "application/route-s-tsid+xml"
	MediaTypeDASH  = "application/dash+xml"
	MediaTypeHLS   = "application/vnd.apple.mpegurl"
	MediaTypeUSBD  = "application/route-usd+xml"
	MediaTypeAPD   = "application/route-apd+xml"
	MediaTypeHELD  = "application/atsc-held+xml"
	MediaTypeDWD   = "application/atsc-dwd+xml"
)

// Kind returns the kind of the part.
func (p *Part) Kind() Kind {
	switch mediaType(p.ContentType) {
	case MediaTypeSTSID, "application/s-tsid": // the latter in Korea and in drafts
		return KindSTSID
	case MediaTypeDASH, "video/vnd.3gpp.mpd",
		MediaTypeHLS, "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl", "video/mpegurl":
		return KindManifest
	case MediaTypeUSBD, "application/mbms-user-service-description+xml":
		return KindUSBD
	case MediaTypeAPD:
		return KindAPD
	case MediaTypeHELD:
		return KindHELD
	case MediaTypeDWD:
		return KindDWD
	case "application/atsc-rsat+xml":
		return KindRSAT
	}
	return KindOther
}

func mediaType(contentType string) string { return bundle.MediaType(contentType) }
