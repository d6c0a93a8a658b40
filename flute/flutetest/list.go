package flutetest

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
)

// Listed is a line of the list of transport objects that is beside a capture.
type Listed struct {
	Dst      netip.AddrPort
	TSI, TOI uint64
	Instance int64 // FDT Instance ID, -1 without EXT_FDT
	Length   int64
	Complete bool
	SHA256   string // hex, of the object as transferred
	Location string // empty where no in-band FDT gives one
}

// List reads the list of a capture's objects. Anything malformed fails the test.
func List(tb testing.TB, file string) (list []Listed) {
	tb.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 14 {
			tb.Fatalf("%s: %d fields in %q", file, len(f), line)
		}
		num := func(s string) int64 {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				tb.Fatalf("%s: %v", file, err)
			}
			return n
		}
		dst, err := netip.ParseAddrPort(f[0] + ":" + f[1])
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		x := Listed{
			Dst: dst, TSI: uint64(num(f[2])), TOI: uint64(num(f[3])), Instance: -1,
			Length: num(f[9]), Complete: f[10] == "1", SHA256: f[12],
		}
		if f[4] != "-" {
			x.Instance = num(f[4])
		}
		if f[13] != "-" {
			x.Location = f[13]
		}
		list = append(list, x)
	}
	if len(list) == 0 {
		tb.Fatalf("%s lists nothing", file)
	}
	return list
}
