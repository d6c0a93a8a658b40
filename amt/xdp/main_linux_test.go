package xdp_test

import (
	"os"
	"testing"

	"github.com/treedn/treedn/amt/xdp/internal/nettest"
)

func TestMain(m *testing.M) { os.Exit(nettest.Main(m)) }
