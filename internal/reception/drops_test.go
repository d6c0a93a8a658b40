package reception

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/internal/telemetry"
)

// Of what is lost in this node the log tells at once, and then once a minute, and nothing is told twice or not at all.
func TestDropsAreTold(t *testing.T) {
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(&buf, nil))
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	var told dropTeller
	var w telemetry.Way
	var lines []string
	for s := range 200 {
		if s >= 10 && s < 100 {
			w.Dropped += 2
		}
		if s == 90 {
			w.Truncated++
		}
		w.Rejected++ // anybody may send such
		buf.Reset()
		told.tell(now, log, "live", w)
		if text := buf.String(); text != "" {
			_, counts, _ := strings.Cut(strings.TrimSpace(text), "service=")
			lines = append(lines, fmt.Sprint(s, " ", counts))
		}
		now = now.Add(lookForDrops)
	}
	require.Equal(t, []string{"10 live dropped=2 truncated=0", "70 live dropped=120 truncated=0", "130 live dropped=58 truncated=1"}, lines)
}
