package cache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const childDir = "TREEDN_CACHE_CHILD_DIR"

// content is what the child writes under a name in a generation.
func content(name string, gen uint64) []byte {
	d := sha256.Sum256([]byte(name + strconv.FormatUint(gen, 10)))
	n := int(d[0])<<10 | int(d[1])
	return bytes.Repeat([]byte(hex.EncodeToString(d[:])), n/64+1)[:n]
}

// child writes objects until it is killed, and reports each that was flushed.
func child(dir string) {
	cfg := diskConfig(dir)
	cfg.Memory = Limit{}
	s, err := Open(cfg)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	for gen := uint64(1); ; gen++ {
		for i := range 20 {
			name := "seg-" + strconv.Itoa(i)
			p := content(name, gen)
			w, err := s.Create(Key{"news", name}, Meta{Generation: gen})
			if err != nil {
				continue // an earlier life's generation
			}
			for len(p) > 0 {
				n := min(5000, len(p))
				_, _ = w.Write(p[:n])
				p = p[n:]
			}
			_ = w.Finish()
			if i%5 == 4 {
				_ = s.Flush(context.Background())
			}
			fmt.Println("wrote", gen)
		}
	}
}

func TestKilledWriterLeavesNothingTorn(t *testing.T) {
	dir := t.TempDir()
	complete := 0
	for life := range 6 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		// Killed in the middle of its work, each time somewhere else.
		lines := bufio.NewReader(out)
		for range 40 + 17*life {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(line, "wrote"), line)
		}
		require.NoError(t, cmd.Process.Kill())
		_, _ = io.Copy(io.Discard, lines)
		_ = cmd.Wait()

		s, err := Open(diskConfig(dir))
		require.NoError(t, err)
		for _, o := range s.List("news") {
			require.True(t, bytes.Equal(content(o.Key().Name, o.Meta().Generation), readAll(t, o)))
			complete++
		}
		st := s.Stats()
		require.Zero(t, st.AuthenticationFail)
		require.Zero(t, st.DiskErrors)
		require.Empty(t, filesIn(t, dir+"/"+tempDir))
		require.NoError(t, s.Close())
	}
	require.Greater(t, complete, 20)
}
