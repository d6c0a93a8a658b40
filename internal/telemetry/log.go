package telemetry

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"github.com/treedn/treedn/internal/config"
)

// NewLogger returns a logger as the configuration asks for it. Secrets in URLs
// and headers are blanked.
func NewLogger(w io.Writer, c config.Log) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.Level, ReplaceAttr: redact}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}

// secretKeys are attributes of which no value is fit for a log.
var secretKeys = map[string]bool{
	"authorization": true, "proxy-authorization": true, "cookie": true, "set-cookie": true,
	"sk": true, "stream_key": true, "cache_key": true, "password": true, "secret": true, "token": true,
}

// inText finds secrets within a text: ?sk= and the like, credentials of HTTP,
// users of URLs.
var inText = regexp.MustCompile(`(?i)([?&](?:sk|token|tok|password)=|\b(?:basic|bearer) +|://)([^\s&"'/?#@]*@|[^\s&"'/?#]+)`)

func redact(_ []string, a slog.Attr) slog.Attr {
	if secretKeys[strings.ToLower(a.Key)] {
		return slog.String(a.Key, "***")
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); mayHoldSecret(s) {
			a.Value = slog.StringValue(blank(s))
		}
	case slog.KindAny:
		switch v := a.Value.Any().(type) {
		case error, fmt.Stringer:
			// Sprint bears nil pointers, unlike the methods.
			if s := fmt.Sprint(v); mayHoldSecret(s) {
				a.Value = slog.StringValue(blank(s))
			}
		}
	}
	return a
}

func mayHoldSecret(s string) bool { return inText.MatchString(s) }

func blank(s string) string {
	return inText.ReplaceAllStringFunc(s, func(m string) string {
		p := inText.FindStringSubmatch(m)
		switch {
		case p[1] != "://":
			return p[1] + "***"
		case strings.HasSuffix(p[2], "@"):
			return "://***@"
		}
		return m // a host
	})
}
