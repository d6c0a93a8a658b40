package gmp_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/gmp"
)

// recorded is a line of testdata/vectors.jsonl.
type recorded struct {
	From, What, Hex string
	Type            int
	Records         []gmp.RecordType
	Groups, Sources []netip.Addr
	Max             int `json:"max_ms"`
	S               bool
	QRV             uint8
	QQI             int
}

func readVectors(tb testing.TB) (list []recorded) {
	f, err := os.Open("testdata/vectors.jsonl")
	require.NoError(tb, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var v recorded
		require.NoError(tb, json.Unmarshal(s.Bytes(), &v))
		list = append(list, v)
	}
	return list
}

// What other programs send is read as tshark reads it, and written as they do.
func TestVectors(t *testing.T) {
	list := readVectors(t)
	require.Len(t, list, 63)
	for _, v := range list {
		raw := unhex(t, v.Hex)
		var m gmp.Message
		require.NoError(t, m.Parse(raw), v)
		header := 24
		if m.IPv6() {
			header = 48
		}
		require.EqualValues(t, v.Type, raw[header])
		var again []byte
		switch {
		case m.Type == gmp.TypeQuery:
			require.Equal(t, v.Groups[len(v.Groups)-1], m.Query.Group, v)
			require.Equal(t, len(v.Sources), m.Query.Sources.Len())
			for i, s := range v.Sources {
				require.Equal(t, s, m.Query.Sources.At(i))
			}
			require.Equal(t, time.Duration(v.Max)*time.Millisecond, m.Query.MaxResponse, v)
			require.Equal(t, v.S, m.Query.Suppress)
			require.Equal(t, v.QRV, m.Query.Robustness)
			require.Equal(t, time.Duration(v.QQI)*time.Second, m.Query.Interval)
			again = gmp.AppendQuery(nil, m.Header.Source, m.Version, &m.Query)
		case v.Records != nil:
			var sources []netip.Addr
			require.Equal(t, len(v.Records), m.Len())
			for i, r := range records(&m) {
				require.Equal(t, v.Records[i], r.Type)
				require.Equal(t, v.Groups[i], r.Group)
				for s := range r.Sources.All() {
					sources = append(sources, s)
				}
			}
			require.Equal(t, v.Sources, sources)
			again = gmp.AppendReport(nil, m.Header.Source, m.IPv6(), records(&m)...)
		default:
			require.Equal(t, v.Groups, []netip.Addr{m.Query.Group})
			again = gmp.AppendOlder(nil, m.Header.Source, m.Version, m.Type, m.Query.Group)
		}
		// Apart from the checksum, which covers the destination: Linux asks for a group
		// of MLDv1 at the address for all.
		require.Equal(t, hex.EncodeToString(raw[header:header+2]), hex.EncodeToString(again[header:header+2]), v)
		require.Equal(t, hex.EncodeToString(raw[header+4:]), hex.EncodeToString(again[header+4:]), v)
	}
}
