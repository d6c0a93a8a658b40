package xdp_test

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The objects are those that were made of the sources as they are.
func TestObjectsAreOfTheSources(t *testing.T) {
	for _, name := range []string{"bpf/copy.sum", "bpf/track.sum"} {
		list, err := os.ReadFile(name)
		require.NoError(t, err)
		lines := strings.Fields(string(list))
		require.Len(t, lines, 10)
		for i := 0; i < len(lines); i += 2 {
			b, err := os.ReadFile(lines[i+1])
			require.NoError(t, err)
			require.Equal(t, lines[i], fmt.Sprintf("%x", sha256.Sum256(b)), "%s has changed: run go generate ./...", lines[i+1])
		}
	}
}

// And they are what clang makes of them. The compiler is one major version: others
// write other instructions.
func TestObjects(t *testing.T) {
	for _, tool := range []string{"clang-14", "llvm-strip-14"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("not verified: ", err)
		}
	}
	dir := t.TempDir()
	for _, o := range []struct{ source, object string }{{"copy", "copy"}, {"track", "amtr/track"}} {
		for _, endian := range []string{"el", "eb"} {
			made := filepath.Join(dir, o.source+endian+".o")
			out, err := exec.Command("clang-14", "-O2", "-g", "-Wall", "-Wextra", "-Werror", "-mcpu=v3",
				"-target", "bpf"+endian, "-c", filepath.Join("bpf", o.source+".c"), "-o", made).CombinedOutput()
			require.NoError(t, err, "%s", out)
			committed := o.object + "_bpf" + endian + ".o"
			require.Equal(t, sections(t, made), sections(t, committed), "%s: run go generate ./...", committed)
		}
	}
}

// sections are the programs and data of an object.
func sections(t *testing.T, name string) map[string][]byte {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	f, err := elf.NewFile(bytes.NewReader(b))
	require.NoError(t, err)
	all := make(map[string][]byte)
	for _, s := range f.Sections {
		if s.Type == elf.SHT_PROGBITS && s.Flags&elf.SHF_ALLOC != 0 {
			all[s.Name], err = s.Data()
			require.NoError(t, err)
		}
	}
	require.NotEmpty(t, all)
	return all
}
