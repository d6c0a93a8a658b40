package modtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const host = "github.com/treedn/treedn"

// ioPackages are the packages of protocol modules that may hold sockets, files,
// goroutines and clocks. All others are codecs and state machines: octets and
// time in, octets and events out. A new package is one of the latter until it
// is listed here.
var ioPackages = []string{
	"amt/internal/mmsg",        // system calls of sockets
	"amt/internal/rawip",       // sockets
	"amt/internal/udpio",       // sockets
	"amt/ssm",                  // sockets
	"amt/ssm/ssmtest",          // sockets, for tests
	"amt/xdp/amtr",             // sockets, programs in the kernel
	"amt/xdp/internal/nettest", // namespaces and sockets, for tests
	"cache",                    // files, http.Handler
	"driad/internal/dnstest",   // processes and sockets, for tests
	"driad/resolver",           // sockets, HTTP client, files
	"flute/flutetest",          // files, for tests
	"flute/internal/overload",  // http.Header, a clock
	"flute/packetio",           // a clock: paced sending, replay
}

// ioFiles are the only files that may do so in packages where sockets and the
// machines that they serve are behind one name, for their users' sake.
var ioFiles = map[string][]string{
	"amt":             {"bridge.go", "chain.go", "deadline.go", "dial.go", "dial_native.go", "dial_read.go", "fanout.go", "native.go", "serve.go", "serve_plane.go", "serve_wishes.go", "uplink.go", "whole.go"},
	"amt/xdp":         {"engine_linux.go", "inject_linux.go", "nexthop_linux.go", "plane_linux.go", "plane_other.go", "selftest_linux.go", "server_linux.go"},
	"driad":           {"discover.go"},
	"driad/authority": {"server.go", "server_notify.go", "udp_linux.go", "udp_other.go"},
	"flute/push":      {"feed.go", "handler.go", "pusher.go", "sink.go", "table.go", "upload.go"},
	"flute/repair": {
		"answer.go", "client.go", "config.go", "exchange.go", "fetcher.go", "flight.go", "server.go", "server_octets.go",
		"server_symbols.go",
	},
}

// ioImports are what a codec or a state machine does not import itself; what
// the standard library does inside is its own affair.
var ioImports = []string{
	"net", "net/http", "net/http/...", "net/rpc", "os", "os/...", "syscall", "io/ioutil", "log",
	"golang.org/x/net/...", "golang.org/x/sys/unix", "golang.org/x/sys/windows",
}

// clockCalls are the functions of package time that read or run a clock.
var clockCalls = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer"}

// library says whether a package belongs to a module that others import.
func library(path string) bool {
	rel, ok := strings.CutPrefix(path, host+"/")
	if !ok {
		return false
	}
	for _, root := range []string{"cmd", "examples", "internal", "test"} {
		if rel == root || strings.HasPrefix(rel, root+"/") {
			return rel == "internal/cmaf" || strings.HasPrefix(rel, "internal/cmaf/")
		}
	}
	return true
}

func mayDoIO(path string) bool {
	rel := strings.TrimPrefix(path, host+"/")
	return ioFiles[rel] != nil || slices.ContainsFunc(ioPackages, func(p string) bool {
		return rel == p || strings.HasPrefix(rel, p+"/internal/")
	})
}

func forbidden(imported string) bool {
	return slices.ContainsFunc(ioImports, func(p string) bool {
		tree, all := strings.CutSuffix(p, "/...")
		return imported == p || all && strings.HasPrefix(imported, tree+"/")
	})
}

type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
	Standard   bool
	Module     *struct{ Path string }
}

// packages lists all packages of the workspace.
func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports,Standard,Module", "work")
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

// pure calls check with each file of a codec or a state machine.
func pure(t *testing.T, check func(*token.FileSet, *ast.File)) {
	t.Helper()
	for _, p := range packages(t) {
		except, mixed := ioFiles[strings.TrimPrefix(p.ImportPath, host+"/")]
		if !library(p.ImportPath) || mayDoIO(p.ImportPath) && !mixed {
			continue
		}
		for _, name := range p.GoFiles {
			if slices.Contains(except, name) {
				continue
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			check(fset, file)
		}
	}
}

func TestCodecsAndStateMachinesHoldNoSockets(t *testing.T) {
	pure(t, func(fset *token.FileSet, file *ast.File) {
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			if forbidden(imported) || mayDoIO(imported) && strings.HasPrefix(imported, host) {
				t.Errorf("%s: imports %s; if it is an I/O package, list it in ioPackages", fset.Position(spec.Pos()), imported)
			}
		}
	})
}

func TestCodecsAndStateMachinesHaveNoClockAndNoGoroutines(t *testing.T) {
	pure(t, func(fset *token.FileSet, file *ast.File) {
		for _, at := range impure(fset, file) {
			t.Error(at)
		}
	})
}

func impure(fset *token.FileSet, file *ast.File) (found []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, fmt.Sprintf("%s: starts a goroutine", fset.Position(n.Pos())))
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains(clockCalls, n.Sel.Name) {
				found = append(found, fmt.Sprintf("%s: time.%s", fset.Position(n.Pos()), n.Sel.Name))
			}
		}
		return true
	})
	return found
}

// A library that imported the root would drag every dependency along.
func TestDependenciesPointOneWay(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if library(p.ImportPath) && strings.HasPrefix(imported, host) && !library(imported) {
				t.Errorf("%s imports %s of the root module", p.ImportPath, imported)
			}
		}
	}
}

func TestRulesFindWhatTheyForbid(t *testing.T) {
	require.True(t, forbidden("net"))
	require.True(t, forbidden("golang.org/x/net/ipv4"))
	require.True(t, forbidden("os/exec"))
	require.False(t, forbidden("net/netip"))
	require.False(t, forbidden("net/url"))
	require.True(t, library(host+"/fec/raptorq"))
	require.True(t, library(host+"/internal/cmaf"))
	require.False(t, library(host+"/internal/config"))
	require.False(t, library(host+"/cmd/cast"))
	require.True(t, mayDoIO(host+"/amt/ssm"))
	require.True(t, mayDoIO(host+"/amt"))
	require.False(t, mayDoIO(host+"/amt/gmp"))
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, "x.go", "package x\nfunc f() { go f(); _ = time.Now(); _ = time.Second }", 0)
	require.NoError(t, err)
	require.Len(t, impure(fset, file), 2)
}
