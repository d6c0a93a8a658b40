package fecframe

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Lines of RFC 6681 section 10, RFC 6364 section 5 and RFC 6865 section 5.1.1.2.
func TestSDP(t *testing.T) {
	for value, want := range map[string]RepairFlow{
		"encoding-id=6; fssi=Kmax:8192,T:128,P:A":              {Scheme: 6, FSSI: "Kmax:8192,T:128,P:A"},
		"encoding-id=0; ss-fssi=n:7,k:5":                       {SenderFSSI: "n:7,k:5"},
		"encoding-id=1; preference-lvl=1; ss-fssi=t:3":         {Scheme: 1, Preference: 1, HasPreference: true, SenderFSSI: "t:3"},
		"encoding-id=8; fssi=E:1400,S:0,m:8":                   {Scheme: 8, FSSI: "E:1400,S:0,m:8"},
		"encoding-id=7; preference-lvl=0; ss-fssi=a; fssi=b:c": {Scheme: 7, HasPreference: true, SenderFSSI: "a", FSSI: "b:c"},
	} {
		got, err := ParseRepairFlow(value)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, value, got.String())
	}
	for _, value := range []string{"", "fssi=a:b", "encoding-id=256", "encoding-id=1; preference-lvl=x"} {
		_, err := ParseRepairFlow(value)
		require.ErrorIs(t, err, ErrConfig)
	}
	for value, want := range map[string]SourceFlow{"id=0": {}, "id=7; tag-len=6": {ID: 7, TagLen: 6}} {
		got, err := ParseSourceFlow(value)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, value, got.String())
	}
	for _, value := range []string{"", "tag-len=4", "id=-1", "id=1; tag-len=x"} {
		_, err := ParseSourceFlow(value)
		require.ErrorIs(t, err, ErrConfig)
	}
	for value, want := range map[string]time.Duration{"200ms": 200 * time.Millisecond, " 50us": 50 * time.Microsecond} {
		got, err := ParseRepairWindow(value)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, value := range []string{"", "200", "0ms", "ms", "-1ms", "99999999999us"} {
		_, err := ParseRepairWindow(value)
		require.ErrorIs(t, err, ErrConfig)
	}
}

func FuzzSDP(f *testing.F) {
	f.Add("encoding-id=7; preference-lvl=0; ss-fssi=a; fssi=b:c")
	f.Add("id=7; tag-len=6")
	f.Add("200ms")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRepairFlow(s); err == nil {
			again, err := ParseRepairFlow(r.String())
			require.NoError(t, err)
			require.Equal(t, r.Scheme, again.Scheme)
		}
		if r, err := ParseSourceFlow(s); err == nil {
			again, err := ParseSourceFlow(r.String())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
		if d, err := ParseRepairWindow(s); err == nil {
			require.Positive(t, d)
		}
	})
}
