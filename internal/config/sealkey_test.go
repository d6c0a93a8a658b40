package config

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/flute/seal"
)

// The key pair of RFC 8032 section 7.1, test 1, and the public keys of tests 2
// and 3.
const (
	rootPrivate = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	rootPublic  = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	otherPublic = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
	hopPublic   = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"

	rootBase64 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

func anchor(t *testing.T, text string) (a Anchor) {
	t.Helper()
	require.NoError(t, a.UnmarshalText([]byte(text)))
	return a
}

func sealKey(t *testing.T, text string) (k SealKey) {
	t.Helper()
	require.NoError(t, k.UnmarshalText([]byte(text)))
	return k
}

func TestSealKey(t *testing.T) {
	dir := t.TempDir()
	seed, ok := sealKey(t, rootPrivate).Key()
	require.True(t, ok)
	for name, content := range map[string][]byte{"a": []byte(rootPrivate + "\n"), "b": fmt.Appendf(nil, " %x\n", seed), "c": seed[:]} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	env := func(name string) (string, bool) { return rootPrivate, name == "SEAL" }
	for _, text := range []string{rootPrivate, "env:SEAL", "file:a", "file:b", "file:c"} {
		k := sealKey(t, text)
		k.rebase(dir)
		require.NoError(t, k.resolve(env))
		require.Equal(t, rootPublic, hex.EncodeToString(k.Private().Public().(ed25519.PublicKey)), text)
		require.Equal(t, anchor(t, rootPublic), AnchorOf(k))
		require.Equal(t, NewSealKey(seed).Private(), k.Private())
	}
	require.Nil(t, SealKey{}.Private())
	require.True(t, SealKey{}.IsZero())
	for _, text := range []string{"", "secret", rootPrivate[:43], "sha256:" + rootPublic, "file:live.pub"} {
		k := sealKey(t, rootPrivate)
		err := k.UnmarshalText([]byte(text))
		require.Error(t, err, text)
		require.NotContains(t, err.Error(), "secret")
		require.Equal(t, sealKey(t, rootPrivate), k, "what is refused changes nothing")
	}
}

func TestAnchor(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "live.pub"), []byte(rootBase64+"\n"), 0o600))
	for text, want := range map[string]string{
		rootPublic:      rootBase64,
		rootBase64:      rootBase64,
		"file:live.pub": rootBase64,
		"file:live.pub  until=2030-01-01T00:00:00Z":                               rootBase64 + " until=2030-01-01T00:00:00Z",
		rootPublic + " until=2030-01-01T00:00:00+02:00 from=2029-01-01T00:00:00Z": rootBase64 + " from=2029-01-01T00:00:00Z until=2029-12-31T22:00:00Z",
	} {
		a := anchor(t, text)
		a.rebase(dir)
		require.NoError(t, a.resolve())
		require.Equal(t, rootPublic, hex.EncodeToString(a.Key()))
		require.Equal(t, want, a.String())
		again, err := a.MarshalText()
		require.NoError(t, err)
		b := anchor(t, string(again))
		b.ref = a.ref
		require.Equal(t, a, b, "what is printed can be read")
	}
	from, until := anchor(t, rootPublic+" until=2030-01-01T00:00:00Z").Validity()
	require.True(t, from.IsZero())
	require.Equal(t, time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC), until)

	for text, reason := range map[string]string{
		"":                                      "is empty",
		" ":                                     "is empty",
		"file:":                                 "neither file:PATH",
		"env:KEY":                               "neither file:PATH",
		rootPublic[:62]:                         "neither file:PATH",
		"file:live.key":                         "is a private key",
		rootPublic + " live":                    "is followed by from=TIME",
		rootPublic + " until=tomorrow":          "is followed by from=TIME",
		rootPublic + " to=2030-01-01T00:00:00Z": "is followed by from=TIME",
		rootPublic + " from=2030-01-01T00:00:00Z until=2030-01-01T00:00:00Z": "is not before",
	} {
		require.ErrorContains(t, new(Anchor).UnmarshalText([]byte(text)), reason, text)
	}
	missing := anchor(t, "file:"+filepath.Join(dir, "none.pub"))
	require.ErrorIs(t, missing.resolve(), fs.ErrNotExist)
}

func TestSealKeysAreNeverPrinted(t *testing.T) {
	k := sealKey(t, rootPrivate)
	seed, _ := k.Key()
	c := struct {
		Channel Channel
		Service RelayService
		hidden  SealKey
	}{Channel{SealKey: k}, RelayService{SealKey: k}, k}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", &c)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "c", c, "k", k)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "c", c, "k", k)
	j, err := json.Marshal(c)
	require.NoError(t, err)
	out.Write(j)
	y, err := yaml.Marshal(c.Channel)
	require.NoError(t, err)
	out.Write(y)
	r, err := Parse[Relay]("r", []byte(fullRelay))
	require.NoError(t, err)
	require.NoError(t, r.Explain(&out))
	require.Contains(t, out.String(), redacted)
	require.Contains(t, out.String(), rootBase64, "the public half")
	for _, secret := range []string{rootPrivate, hex.EncodeToString(seed[:3]), strings.ToUpper(hex.EncodeToString(seed[:3])), fmt.Sprint(seed[:3])[1:11], "0x9d, 0x61"} {
		require.NotContains(t, out.String(), secret)
	}
}

func relayFlags(t *testing.T, args ...string) *Source[Relay] {
	t.Helper()
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	src := NewSource[Relay](fs)
	require.NoError(t, fs.Parse(args))
	return src
}

func TestFlagsOfSeals(t *testing.T) {
	src := castFlags(t, strings.Fields("-channel a -group 232.1.1.1:6000 -source 127.0.0.1 -seal-key env:SEAL "+
		"-channel b -group 232.1.1.2:6000 -source 127.0.0.1 -unsigned")...)
	src.LookupEnv = func(string) (string, bool) { return rootPrivate, true }
	c, err := src.Load()
	require.NoError(t, err)
	require.Equal(t, anchor(t, rootPublic), AnchorOf(c.Channels[0].SealKey))
	require.True(t, c.Channels[1].Unsigned)
	require.Zero(t, c.Channels[1].Multicast.SealPort)

	path := filepath.Join(t.TempDir(), "r.yaml")
	require.NoError(t, os.WriteFile(path, []byte(fullRelay), 0o600))
	r, err := relayFlags(t, "-config", path, "-anchor", otherPublic+" until=2027-01-31T00:00:00Z", "-anchor", rootPublic,
		"-hop-anchor", otherPublic, "-out-seal-key", hopPublic).Load()
	require.NoError(t, err)
	s := r.Services[0]
	require.Equal(t, []Anchor{anchor(t, otherPublic+" until=2027-01-31T00:00:00Z"), anchor(t, rootPublic)}, s.Upstream.Anchors)
	require.Equal(t, []Anchor{anchor(t, otherPublic)}, s.Upstream.HopAnchors)
	require.Equal(t, AnchorOf(sealKey(t, hopPublic)), AnchorOf(s.SealKey))

	_, err = relayFlags(t, "-config", path, "-unsigned").Load()
	require.ErrorContains(t, err, "flag -unsigned: services[0].upstream.unsigned: is set, and so are anchors")
}

// twins returns different keys of one key id.
func twins(t *testing.T) (a, b Anchor) {
	t.Helper()
	seen := map[seal.KeyID]Anchor{}
	for i := range uint32(1 << 20) {
		var key [32]byte
		binary.BigEndian.PutUint32(key[:], i+1)
		n := NewAnchor(key[:])
		id := seal.KeyIDOf(seal.Content, n.Key())
		if first, ok := seen[id]; ok {
			return first, n
		}
		seen[id] = n
	}
	t.Fatal("no collision of 16 bits in a million keys")
	return a, b
}

// What the configuration lets through, a receiver takes; what it refuses, a
// receiver would refuse at its start.
func TestAnchorsThatReceiversCannotTellApart(t *testing.T) {
	a, b := twins(t)
	for _, list := range [][]Anchor{{a, b}, {a, a}} {
		_, err := seal.NewVerifier(seal.VerifierConfig{Service: "live", Anchors: []seal.Anchor{
			{Kind: seal.Content, Key: list[0].Key()}, {Kind: seal.Content, Key: list[1].Key()}}})
		require.Error(t, err)
		_, err = Complete(Beacon{Services: []Service{{Name: "live", Upstream: Upstream{
			Session: session("127.0.0.1", "232.1.1.1", 1), Anchors: list, HopAnchors: []Anchor{anchor(t, hopPublic)}}}}})
		require.EqualError(t, err, "services[0].upstream.anchors[1]: has the key id of anchors[0] already")
	}
}

func TestFilesOfSealsAreWatched(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) { require.NoError(t, os.WriteFile(in(name), []byte(text), 0o600)) }
	write("live.key", rootPrivate)
	write("live.pub", rootPublic)
	write("hop.pub", hopPublic)
	write("cast.yaml", minimalCast+"    seal_key: file:live.key\n")
	write("relay.yaml", `
services:
  - name: live
    upstream: {source: 127.0.0.1, group: 232.1.1.1, port: 6000, anchors: ["file:live.pub"], hop_anchors: ["file:hop.pub"]}
    downstream: {source: 127.0.0.2, group: 232.1.2.1, port: 6000}
    seal_key: file:live.key
`)
	cs := &Source[Cast]{Path: in("cast.yaml")}
	c, err := cs.Load()
	require.NoError(t, err)
	require.Equal(t, []string{in("cast.yaml"), in("live.key")}, cs.Files(c))
	rs := &Source[Relay]{Path: in("relay.yaml")}
	r, err := rs.Load()
	require.NoError(t, err)
	require.Equal(t, []string{in("hop.pub"), in("live.key"), in("live.pub"), in("relay.yaml")}, rs.Files(r))

	// Another content is another key, and nothing else.
	write("live.key", hopPublic)
	write("live.pub", otherPublic)
	next, err := cs.Load()
	require.NoError(t, err)
	require.Equal(t, "changed live [seal_key]", Diff(c.Channels, next.Channels).String())
	after, err := rs.Load()
	require.NoError(t, err)
	require.Equal(t, "changed live [upstream.anchors seal_key]", Diff(r.Services, after.Services).String())
	again, err := rs.Load()
	require.NoError(t, err)
	require.Equal(t, "none", Diff(after.Services, again.Services).String())

	// A file that is missing is reported once, though two lists have it.
	write("relay.yaml", strings.ReplaceAll(fullRelay, "      hop_anchors: ["+hopPublic+"]\n", ""))
	r, err = rs.Load()
	require.NoError(t, err)
	require.Equal(t, r.Services[0].Upstream.Anchors, r.Services[0].Upstream.HopAnchors)
	write("relay.yaml", strings.Replace(minimalBeacon, rootPublic, `"file:none.pub"`, 1))
	_, err = rs.Load()
	require.ErrorContains(t, err, "relay.yaml:4:75: services[0].upstream.anchors[0]: open ")
	require.Len(t, err.(*Error).Problems, 1)
}

func TestCreateSealKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "live.key")
	k, err := CreateSealKey(path)
	require.NoError(t, err)
	require.NotEqual(t, GenerateSealKey().Private(), k.Private())
	private, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, k.Private(), sealKey(t, strings.TrimSpace(string(private))).Private())
	public, err := os.ReadFile(filepath.Join(filepath.Dir(path), "live.pub"))
	require.NoError(t, err)
	require.Equal(t, AnchorOf(k), anchor(t, string(public)))
	if runtime.GOOS != "windows" {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}

	_, err = CreateSealKey(path)
	require.ErrorIs(t, err, fs.ErrExist)
	kept, err := KeepSealKey(path)
	require.NoError(t, err)
	require.Equal(t, k.Private(), kept.Private())
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, private, now)

	// Half a pair is none, and what is there stays.
	other := filepath.Join(t.TempDir(), "other")
	require.NoError(t, os.WriteFile(other+".pub", []byte("mine"), 0o600))
	_, err = CreateSealKey(other)
	require.ErrorIs(t, err, fs.ErrExist)
	require.NoFileExists(t, other)
	_, err = KeepSealKey(other)
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = CreateSealKey(other + ".pub")
	require.ErrorContains(t, err, "name of a public key's file")
	mine, err := os.ReadFile(other + ".pub")
	require.NoError(t, err)
	require.Equal(t, "mine", string(mine))

	fresh := filepath.Join(t.TempDir(), "fresh.key")
	k, err = KeepSealKey(fresh)
	require.NoError(t, err)
	kept, err = KeepSealKey(fresh)
	require.NoError(t, err)
	require.Equal(t, k.Private(), kept.Private())
	require.NoError(t, os.WriteFile(fresh, nil, 0o600))
	_, err = KeepSealKey(fresh)
	require.ErrorContains(t, err, "not a key of 32 octets", "a key is never replaced")
	_, err = KeepSealKey(filepath.Join(t.TempDir(), "no", "dir.key"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestExplainSeals(t *testing.T) {
	said := func(c document, err error) string {
		t.Helper()
		require.NoError(t, err)
		var out strings.Builder
		require.NoError(t, c.Explain(&out))
		return out.String()
	}
	cast := func(text string) string { c, err := Parse[Cast]("c", []byte(text)); return said(c, err) }
	relay := func(text string) string { c, err := Parse[Relay]("c", []byte(text)); return said(c, err) }
	beacon := func(text string) string { c, err := Parse[Beacon]("c", []byte(text)); return said(c, err) }
	const state = "node: {state_dir: /s}\n"

	out := cast(state + minimalCast + "    seal_key: " + rootPrivate + "\n")
	require.Contains(t, out, "  seals what it takes in and its signalling; seals go to UDP port 6001\n"+
		"    with the key whose public half is "+rootBase64+": receivers need that among their anchors\n")
	require.NotContains(t, out, "warning:")
	out = cast(state + minimalCast)
	require.Contains(t, out, "    with a key of its own, made at the first start and kept in /s; the log says its public half")
	require.NotContains(t, out, "warning:")
	out = cast(minimalCast)
	require.Contains(t, out, "    with a key that is drawn at each start; the log says its public half")
	require.Contains(t, out, "warning: channel live has no seal_key, and node.state_dir is not set: after a restart it seals with another key")
	out = cast(state + minimalCast + "    unsigned: true\n")
	require.Contains(t, out, "  sends NO SEALS: receivers cannot")
	require.Contains(t, out, "warning: channel live is UNSIGNED: its receivers have to believe whoever can send to the group\n")
	require.NotContains(t, out, "UDP port 6001")

	out = relay(fullRelay)
	other, hop := anchor(t, otherPublic).String(), anchor(t, hopPublic).String()
	require.Contains(t, out, "  lets nobody read what the root has not sealed; seals come to UDP port 7000\n"+
		"    believes the key "+other+" until=2027-01-31T00:00:00Z of the root\n"+
		"    believes the key "+rootBase64+" from=2026-12-31T23:00:00Z of the root, from whose first seal on the ones above are not believed any more\n"+
		"    believes the key "+hop+" of the sender of this session, for its signalling\n")
	require.Contains(t, out, "  sends the root's seals on and seals its own signalling; seals go to UDP port 7001\n"+
		"    with the key whose public half is "+rootBase64+": receivers need that among their hop_anchors\n")
	down := "    downstream: {source: 127.0.0.2, group: 232.1.2.1, port: 6000}\n"
	out = relay(minimalBeacon + down)
	require.Contains(t, out, "warning: service live has no seal_key, and node.state_dir is not set")
	require.Contains(t, out, "    believes the same keys for the signalling: the root sends this session itself\n")
	out = relay(strings.Replace(minimalBeacon, "anchors: ["+rootPublic+"]", "unsigned: true", 1) + down)
	require.Contains(t, out, "  believes WHATEVER COMES from the group")
	require.Contains(t, out, "  sends NO SEALS, since there are none\n")
	require.Contains(t, out, "warning: service live is UNSIGNED: whoever can send to the group can put octets in\n")
	require.NotContains(t, out, "6001")

	out = beacon(strings.Replace(minimalBeacon, rootPublic, `"`+rootPublic+` until=2001-01-01T00:00:00Z", "`+otherPublic+` from=9999-01-01T00:00:00Z"`, 1))
	require.Contains(t, out, "warning: service live: no key of the root is valid now: nothing of it can be read\n")
	out = beacon(strings.Replace(minimalBeacon, rootPublic, `"`+rootPublic+` until=2001-01-01T00:00:00Z", `+otherPublic, 1))
	require.NotContains(t, out, "is valid now")
}
