// Modproxy writes the modules of a workspace as a file-system module proxy, so
// that each can be fetched and tested as a third party would:
//
//	modproxy -out DIR -version v0.1.0 MODULE_DIR...
//	GOPROXY=file://DIR,... go get -t github.com/treedn/treedn/fec@v0.1.0
//
// The root module's replace lines are left out, as on its release commit
// (a command with replace lines cannot be installed).
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("modproxy: ")
	out := flag.String("out", "", "directory of the proxy")
	version := flag.String("version", "v0.1.0", "version of all modules")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	for _, dir := range flag.Args() {
		if err := publish(*out, *version, dir); err != nil {
			log.Fatalf("%s: %v", dir, err)
		}
	}
}

func publish(out, version, dir string) error {
	text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return err
	}
	file, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return err
	}
	m := module.Version{Path: file.Module.Mod.Path, Version: version}
	escaped, err := module.EscapePath(m.Path)
	if err != nil {
		return err
	}
	released, err := release(file)
	if err != nil {
		return err
	}
	files, err := filesOf(dir, released)
	if err != nil {
		return err
	}
	at := filepath.Join(out, escaped, "@v")
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": info, version + ".mod": released,
	} {
		if err := os.WriteFile(filepath.Join(at, name), content, 0o644); err != nil {
			return err
		}
	}
	var b bytes.Buffer
	if err := zip.Create(&b, m, files); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(at, version+".zip"), b.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s@%s: %d files, %d octets\n", m.Path, m.Version, len(files), b.Len())
	return nil
}

// release is go.mod without replace lines.
func release(f *modfile.File) ([]byte, error) {
	for _, r := range f.Replace {
		if err := f.DropReplace(r.Old.Path, r.Old.Version); err != nil {
			return nil, err
		}
	}
	f.Cleanup()
	return f.Format()
}

// filesOf lists what belongs to the module: everything below its directory but
// nested modules and what begins with a dot.
func filesOf(dir string, goMod []byte) ([]zip.File, error) {
	var files []zip.File
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path == dir {
				return nil
			}
			if name[0] == '.' || name == "node_modules" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return filepath.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f := file{slash: filepath.ToSlash(rel), disk: path}
		if rel == "go.mod" {
			f.content = goMod
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// file is a file of the module; content, if not nil, takes the place of that on
// disk.
type file struct {
	slash, disk string
	content     []byte
}

func (f file) Path() string { return f.slash }

func (f file) Lstat() (os.FileInfo, error) {
	info, err := os.Lstat(f.disk)
	if err != nil || f.content == nil {
		return info, err
	}
	return sized{info, int64(len(f.content))}, nil
}

func (f file) Open() (io.ReadCloser, error) {
	if f.content != nil {
		return io.NopCloser(bytes.NewReader(f.content)), nil
	}
	return os.Open(f.disk)
}

type sized struct {
	os.FileInfo
	size int64
}

func (s sized) Size() int64 { return s.size }
