package modtest

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goMod is what "go mod edit -json" tells of a go.mod.
type goMod struct {
	Module  struct{ Path string }
	Require []struct{ Path, Version string }
	Replace []struct {
		Old, New struct{ Path, Version string }
	}
	dir string
}

func goModules(t *testing.T) map[string]goMod {
	t.Helper()
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	list := exec.Command("go", "list", "-m", "-f", "{{.Dir}}")
	list.Dir = root
	out, err := list.Output()
	require.NoError(t, err)
	all := map[string]goMod{}
	for _, dir := range strings.Fields(string(out)) {
		edit := exec.Command("go", "mod", "edit", "-json")
		edit.Dir = dir
		out, err := edit.Output()
		require.NoError(t, err)
		m := goMod{dir: dir}
		require.NoError(t, json.Unmarshal(out, &m))
		all[m.Module.Path] = m
	}
	return all
}

// Every go.mod of the repository belongs to the workspace, or lies under a
// directory that the go command leaves out.
func TestWorkspaceHasAllModules(t *testing.T) {
	all := goModules(t)
	root := all[host].dir
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "node_modules") {
			return filepath.SkipDir
		}
		if name == "go.mod" {
			require.True(t, slices.ContainsFunc(slices.Collect(maps.Values(all)), func(m goMod) bool {
				return m.dir == filepath.Dir(path)
			}), "%s is not in go.work", path)
		}
		return nil
	}))
}

// A module replaces each sibling that it needs, directly or not, by its path:
// replace lines count in the main module only.
func TestSiblingsAreReplacedByPath(t *testing.T) {
	all := goModules(t)
	for path, m := range all {
		for _, sibling := range closure(all, path) {
			i := slices.IndexFunc(m.Replace, func(r struct {
				Old, New struct{ Path, Version string }
			}) bool {
				return r.Old.Path == sibling
			})
			if i < 0 {
				t.Errorf("%s needs %s and does not replace it", path, sibling)
				continue
			}
			require.Equal(t, all[sibling].dir, filepath.Join(m.dir, m.Replace[i].New.Path), "%s replaces %s", path, sibling)
		}
		for _, r := range m.Require {
			if path != host && r.Path == host {
				t.Errorf("%s requires the root module", path)
			}
			if strings.HasPrefix(r.Path, host) {
				// "go mod tidy" invents v0.0.0-… where only a replace line is.
				require.False(t, strings.HasPrefix(r.Version, "v0.0.0"), "%s requires %s at a version that will not exist", path, r.Path)
			}
		}
	}
}

// closure lists the siblings that a module needs, directly or not.
func closure(all map[string]goMod, path string) []string {
	var need []string
	var visit func(string)
	visit = func(p string) {
		for _, r := range all[p].Require {
			if _, sibling := all[r.Path]; sibling && !slices.Contains(need, r.Path) {
				need = append(need, r.Path)
				visit(r.Path)
			}
		}
	}
	visit(path)
	return need
}
