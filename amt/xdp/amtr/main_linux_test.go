package amtr_test

import (
	"os"
	"testing"

	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

func TestMain(m *testing.M) {
	if method := os.Getenv("AMTR_TRACK"); method != "" {
		os.Exit(trackInGuest(method)) // see TestKernelTracker
	}
	os.Exit(nettest.Main(m))
}
