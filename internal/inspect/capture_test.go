package inspect_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/packetio/pcap"
	"github.com/treedn/treedn/internal/inspect"
)

// captureDirs are where the captures of the codecs' tests are.
var captureDirs = []string{"../../route/testdata", "../../flute/testdata"}

// run inspects a capture.
func run(tb testing.TB, file string) (events []inspect.Event) {
	tb.Helper()
	f, err := os.Open(file)
	require.NoError(tb, err)
	defer f.Close()
	r, err := pcap.NewReader(f)
	require.NoError(tb, err)
	in := inspect.New(inspect.Config{Emit: func(e inspect.Event) {
		if o, ok := e.(*inspect.ObjectEvent); ok && o.Complete {
			sum := sha256.Sum256(o.Body)
			require.Equal(tb, hex.EncodeToString(sum[:]), *o.SHA256)
			require.Equal(tb, int64(len(o.Body)), *o.Length)
			copied := *o
			copied.Body = nil
			e = &copied
		}
		events = append(events, e)
	}})
	require.NoError(tb, inspect.ReadCapture(tb.Context(), r, in, nil))
	in.Finish()
	return events
}

// line is a line of a list of objects, or what the list has of an event.
func line(e *inspect.ObjectEvent) string {
	fdt, length, complete, missing, sum, url := "-", "-", "0", "-", "-", "-"
	if e.FDT != nil {
		fdt = strconv.Itoa(int(*e.FDT))
	}
	if e.Length != nil {
		length = strconv.FormatInt(*e.Length, 10)
	}
	if e.Complete {
		complete = "1"
	}
	if len(e.Missing) > 0 {
		var list []string
		for _, m := range e.Missing {
			list = append(list, fmt.Sprintf("%d-%d", m[0], m[1]))
		}
		missing = strings.Join(list, ",")
	}
	if e.SHA256 != nil {
		sum = *e.SHA256
	}
	if e.Location != nil {
		url = *e.Location
	}
	return strings.Join([]string{
		e.Dst.String(), strconv.Itoa(int(e.Port)), strconv.FormatUint(e.TSI, 10), strconv.FormatUint(e.TOI, 10), fdt, e.Protocol,
		strconv.Itoa(int(e.Codepoint)), strconv.FormatUint(e.Packets, 10), length, complete, missing, sum, url,
	}, " ")
}

// Every object of every capture, complete or not, as a decoder that is not part of this project lists it.
func TestCaptures(t *testing.T) {
	tested := 0
	for _, dir := range captureDirs {
		lists, err := filepath.Glob(filepath.Join(dir, "*.tsv"))
		require.NoError(t, err)
		for _, list := range lists {
			t.Run(filepath.Base(list), func(t *testing.T) {
				b, err := os.ReadFile(list)
				require.NoError(t, err)
				want := map[string]bool{}
				named := map[string]bool{}
				for l := range strings.Lines(string(b)) {
					if strings.HasPrefix(l, "#") {
						continue
					}
					f := strings.Split(strings.TrimSpace(l), "\t")
					require.Len(t, f, 14)
					key := strings.Join([]string{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[9], f[10], f[11], f[12]}, " ")
					want[key] = true
					if f[13] != "-" {
						named[key+" "+f[13]] = true
					}
				}
				got := map[string]bool{}
				for _, e := range run(t, strings.TrimSuffix(list, ".tsv")+".pcap") {
					o, ok := e.(*inspect.ObjectEvent)
					if !ok {
						continue
					}
					f := strings.Split(line(o), " ")
					key := strings.Join(append(f[:7:7], f[8:12]...), " ")
					require.False(t, got[key], "told twice: %s", key)
					got[key] = true
					delete(named, key+" "+f[12])
				}
				require.Equal(t, want, got)
				require.Empty(t, named, "names")
				tested++
			})
		}
	}
	require.GreaterOrEqual(t, tested, 10)
}

func TestEventsAreJSON(t *testing.T) {
	for _, e := range run(t, "../../route/testdata/atsc3-ateme-lls-esg.pcap") {
		b, err := json.Marshal(e)
		require.NoError(t, err)
		t.Log(string(b))
	}
}
