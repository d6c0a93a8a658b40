package xdp_test

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The objects are what clang makes of the sources. The compiler is one major
// version: others write other instructions.
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
