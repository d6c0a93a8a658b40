package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if told := os.Getenv(relayVariable); told != "" {
		if err := relayMain(told); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// tool finds an external program. Without it the test is skipped, or fails if TREEDN_REQUIRE lists it.
func tool(t testing.TB, name string) string {
	t.Helper()
	file, err := exec.LookPath(name)
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("TREEDN_REQUIRE"), ","), name) {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	return file
}
