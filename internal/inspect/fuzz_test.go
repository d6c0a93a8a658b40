package inspect_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/packetio/pcap"
	"github.com/treedn/treedn/internal/inspect"
)

// FuzzCapture goes all the way from the octets of a capture to lines of JSON and paths of files. What comes out has to
// be consistent.
func FuzzCapture(f *testing.F) {
	for _, name := range []string{"../../flute/testdata/libflute-gzip.pcap", "../../flute/testdata/libflute-etag.pcap"} {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b)
	}
	b, err := os.ReadFile("../../route/testdata/atsc3-ateme-lls-esg.pcap")
	require.NoError(f, err)
	f.Add(b[:24+frames(b[24:], 12)])
	for _, name := range []string{"../../route/testdata/gpac-mabr-route.pcap", "../../route/testdata/gpac-atsc.pcap"} {
		b, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(b[:24+frames(b[24:], 6)])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := pcap.NewReader(bytes.NewReader(b))
		if err != nil {
			return
		}
		write := inspect.JSON(io.Discard)
		text := inspect.Printer{W: io.Discard}
		in := inspect.New(inspect.Config{MaxMemory: 1 << 20, MaxObjects: 64, NameDelay: time.Second, Emit: func(e inspect.Event) {
			require.NoError(t, write(e))
			require.NoError(t, text.Print(e))
			o, ok := e.(*inspect.ObjectEvent)
			if !ok {
				return
			}
			require.Equal(t, o.Complete, o.SHA256 != nil)
			if o.Complete {
				require.Empty(t, o.Missing)
				require.NotNil(t, o.Length)
			}
			last := int64(-1)
			for _, m := range o.Missing {
				require.Greater(t, m[0], last)
				require.GreaterOrEqual(t, m[1], m[0])
				last = m[1]
			}
			if o.Location != nil {
				p := inspect.Path(*o.Location, "x")
				require.NotEmpty(t, p)
				require.NotEqual(t, byte('/'), p[0])
				require.NotContains(t, "/"+p+"/", "/../")
			}
		}})
		_ = inspect.ReadCapture(t.Context(), r, in, nil) // broken captures are read as far as they go
		_ = in.Status().Line()
		in.Finish()
	})
}

// frames returns the octets of the first n records of a capture.
func frames(b []byte, n int) (octets int) {
	for range n {
		octets += 16 + int(binary.LittleEndian.Uint32(b[octets+8:]))
	}
	return octets
}
