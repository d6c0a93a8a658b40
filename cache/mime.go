package cache

import (
	"path"
	"strings"
)

// Media types of playlists.
const (
	typeHLS  = "application/vnd.apple.mpegurl"
	typeDASH = "application/dash+xml"
)

// ContentType returns the media type that players expect for a name's
// extension.
func ContentType(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".m3u8", ".m3u":
		return typeHLS
	case ".mpd":
		return typeDASH
	case ".m4s", ".mp4", ".m4v", ".cmfv", ".init":
		return "video/mp4"
	case ".m4a", ".cmfa":
		return "audio/mp4"
	case ".cmft":
		return "application/mp4"
	case ".ts":
		return "video/mp2t"
	case ".aac":
		return "audio/aac"
	case ".mp3":
		return "audio/mpeg"
	case ".ac3":
		return "audio/ac3"
	case ".ec3":
		return "audio/eac3"
	case ".webm":
		return "video/webm"
	case ".vtt":
		return "text/vtt"
	case ".ttml":
		return "application/ttml+xml"
	case ".jpg", ".jpeg":
		return "image/jpeg"
	case ".png":
		return "image/png"
	case ".json":
		return "application/json"
	case ".xml":
		return "application/xml"
	case ".html":
		return "text/html; charset=utf-8"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// isManifest tells whether a media type is that of a playlist, which changes
// under its name.
func isManifest(contentType string) bool {
	t, _, _ := strings.Cut(contentType, ";")
	switch strings.ToLower(strings.TrimSpace(t)) {
	case typeHLS, typeDASH, "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl":
		return true
	}
	return false
}
