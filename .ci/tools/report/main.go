// Report reads the output of "go test -json" and prints what a reader of a log
// wants: one line per test, everything that a failing test wrote, the lines of
// go test for each package, and in the end the numbers.
//
//	go test -json work | report
//
// It ends with 1 if a test or a package failed or if there was no test at all.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type key struct{ pkg, test string }

func main() {
	outputs := map[key][]string{}
	builds := map[string][]string{}
	counts := map[string]int{}
	var slow []event
	failed := false

	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 64<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // of go itself
			continue
		}
		k := key{e.Package, e.Test}
		switch e.Action {
		case "build-output":
			builds[e.ImportPath] = append(builds[e.ImportPath], e.Output)
		case "build-fail":
			failed = true
			fmt.Print(strings.Join(builds[e.ImportPath], ""))
		case "output":
			if e.Test == "" && isResult(e.Output) {
				fmt.Print(e.Output)
				continue
			}
			outputs[k] = append(outputs[k], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" {
				if e.Action == "fail" {
					failed = true
					// What the package wrote outside of tests: a panic, a
					// leak, a time-out.
					fmt.Print(strings.Join(outputs[k], ""))
				}
				delete(outputs, k)
				continue
			}
			counts[e.Action]++
			if e.Action == "fail" {
				fmt.Print(strings.Join(outputs[k], ""))
			} else if !strings.Contains(e.Test, "/") {
				fmt.Printf("--- %s: %s (%.2fs)\n", strings.ToUpper(e.Action), e.Test, e.Elapsed)
				if e.Action == "skip" {
					fmt.Print(strings.Join(reasons(outputs[k]), ""))
				}
				slow = append(slow, e)
			}
			delete(outputs, k)
		}
	}
	if err := in.Err(); err != nil {
		fmt.Println("report:", err)
		failed = true
	}
	// A test binary that died leaves tests without a result.
	for k, lines := range outputs {
		if k.test != "" {
			failed = true
			fmt.Printf("--- FAIL: %s (no result)\n%s", k.test, strings.Join(lines, ""))
		}
	}
	slices.SortFunc(slow, func(a, b event) int { return int(1000 * (b.Elapsed - a.Elapsed)) })
	fmt.Print("slowest:")
	for _, e := range slow[:min(5, len(slow))] {
		fmt.Printf(" %s %.1fs;", e.Test, e.Elapsed)
	}
	fmt.Printf("\ntests: %d passed, %d failed, %d skipped\n", counts["pass"], counts["fail"], counts["skip"])
	if failed || counts["fail"] > 0 || counts["pass"] == 0 {
		fmt.Println("FAIL")
		os.Exit(1)
	}
	fmt.Println("PASS")
}

// isResult says whether a line is go test's own about a package.
func isResult(line string) bool {
	for _, p := range []string{"ok  \t", "FAIL\t", "?   \t", "\t"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}

// reasons leaves out go test's own lines about a skipped test.
func reasons(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return strings.HasPrefix(l, "=== ") || strings.HasPrefix(strings.TrimSpace(l), "--- ")
	})
}
