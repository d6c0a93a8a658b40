package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func session(source, group string, port uint16) Session {
	return Session{Source: netip.MustParseAddr(source), Group: netip.MustParseAddr(group), Port: port}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "1B": 1, "1.5kB": 1500, "64KiB": 65536, "2 MiB": 2 << 20, "3TB": 3e12, "0.5B": 1} {
		var s Size
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, s)
		var again Size
		require.NoError(t, again.UnmarshalText([]byte(s.String())))
		require.Equal(t, s, again)
	}
	for _, text := range []string{"", "1", "B", "-1B", "1e3B", "1.2.3B", "9000000TiB", "0x1B", "1mb"} {
		require.Error(t, new(Size).UnmarshalText([]byte(text)), text)
	}
	var r Rate
	require.NoError(t, r.UnmarshalText([]byte("2.5Mbit/s")))
	require.Equal(t, Rate(2_500_000), r)
	require.Equal(t, "2500kbit/s", r.String())
}

func TestListen(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:80": "127.0.0.1:80", "localhost:80": "127.0.0.1:80", ":80": ":80", "[::]:80": ":80",
		"0.0.0.0:80": "0.0.0.0:80", "[::1]:0": "[::1]:0", "off": "off",
	} {
		var l Listen
		require.NoError(t, l.UnmarshalText([]byte(text)))
		require.Equal(t, want, l.String())
		require.Equal(t, strings.Contains(text, "1]") || strings.Contains(text, "127") || text == "localhost:80" || text == "off", l.Loopback(), text)
	}
	for _, text := range []string{"", "80", "host:80", "1.2.3.4", "1.2.3.4:99999", "1.2.3.4:http"} {
		require.Error(t, new(Listen).UnmarshalText([]byte(text)), text)
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	const plain = "correct-horse-battery"
	sum := NewStreamKey(plain).Sum()
	key := [32]byte{0: 0xab, 1: 0xcd, 31: 0xef}
	c := struct {
		Channel Channel
		Service Service
		hidden  Service
	}{
		Channel{Name: "n", Keys: []StreamKey{NewStreamKey(plain)}},
		Service{CacheKey: NewCacheKey(key)},
		Service{CacheKey: NewCacheKey(key)},
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", &c)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "c", c, "k", c.Service.CacheKey)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "c", c, "k", c.Channel.Keys)
	j, err := json.Marshal(c)
	require.NoError(t, err)
	out.Write(j)
	y, err := yaml.Marshal(c.Channel)
	require.NoError(t, err)
	out.Write(y)
	require.Contains(t, out.String(), redacted)
	for _, secret := range []string{plain, fmt.Sprintf("%x", sum[:4]), fmt.Sprint(sum[:3])[1:8], fmt.Sprintf("%x", key[:2]), "171 205", "0xab, 0xcd"} {
		require.NotContains(t, out.String(), secret)
	}
}

func TestStreamKey(t *testing.T) {
	env := func(name string) (string, bool) { return map[string]string{"K": "0123456789abcdef"}[name], true }
	file := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600))
	short := file + "-short"
	require.NoError(t, os.WriteFile(short, []byte("0123456789abcde\n"), 0o600))
	sum := NewStreamKey("0123456789abcdef").Sum()
	for _, text := range []string{"env:K", "file:" + file, fmt.Sprintf("sha256:%x", sum)} {
		var k StreamKey
		require.NoError(t, k.UnmarshalText([]byte(text)))
		require.False(t, k.Matches(""))
		require.NoError(t, k.resolve(env))
		require.True(t, k.Matches("0123456789abcdef"))
		require.False(t, k.Matches("0123456789abcdeF"))
		require.Equal(t, sum, k.Sum())
	}
	for _, text := range []string{"env:MISSING", "file:" + short, "file:" + file + "-none"} {
		var k StreamKey
		require.NoError(t, k.UnmarshalText([]byte(text)))
		require.Error(t, k.resolve(env))
		require.False(t, k.Matches(""))
	}
	for _, text := range []string{"", "env:", "plain", "sha256:00", "sha256:" + strings.Repeat("0", 65), "env:A=B"} {
		require.Error(t, new(StreamKey).UnmarshalText([]byte(text)), text)
	}
}

func TestCacheKey(t *testing.T) {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = byte(i)
	}
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o600))
		return "file:" + name
	}
	const digits = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	for _, text := range []string{digits, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", write("raw", raw), write("hex", []byte(digits+"\n"))} {
		var k CacheKey
		require.NoError(t, k.UnmarshalText([]byte(text)))
		k.rebase(dir)
		require.NoError(t, k.resolve(nil))
		key, ok := k.Key()
		require.True(t, ok)
		require.Equal(t, raw, key[:])
	}
	half := write("half", []byte(digits[:32]))
	var k CacheKey
	require.NoError(t, k.UnmarshalText([]byte(half)))
	k.rebase(dir)
	require.Error(t, k.resolve(nil), "32 hexadecimal digits are not 32 raw octets")
	require.Error(t, new(CacheKey).UnmarshalText([]byte(digits[:32])))
	require.True(t, CacheKey{}.IsZero())
}

func castFlags(t *testing.T, args ...string) *Source[Cast] {
	t.Helper()
	fs := flag.NewFlagSet("cast", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	src := NewSource[Cast](fs)
	require.NoError(t, fs.Parse(args))
	return src
}

func TestFlagsWithoutAFile(t *testing.T) {
	src := castFlags(t, strings.Fields("-channel live -group 232.1.1.1:6000 -source 127.0.0.1 -listen 127.0.0.1:0 -rate 9Mbit/s -loss 0.3 "+
		"-channel two -group 232.1.1.2:6000 -source 127.0.0.1 -loss off -pull http://o/m.mpd -name n -log-level debug -clock-offset 1h")...)
	for range 2 {
		c, err := src.Load()
		require.NoError(t, err)
		require.Equal(t, "n", c.Node.Name)
		require.Equal(t, slog.LevelDebug, c.Log.Level)
		require.Len(t, c.Channels, 2)
		require.Equal(t, session("127.0.0.1", "232.1.1.1", 6000), c.Channels[0].Multicast.Session)
		require.Equal(t, fecOf(0.3, 1e-6), c.Channels[0].Multicast.FEC)
		require.Equal(t, FEC{Off: true}, c.Channels[1].Multicast.FEC)
	}
	fs := flag.NewFlagSet("beacon", flag.ContinueOnError)
	b := NewSource[Beacon](fs)
	require.NoError(t, fs.Parse(strings.Fields("-service live -group [ff3e::1]:6000 -source 2001:db8::1 -parent http://a:1 -parent http://b:1 -unsigned -cache-memory 8MiB -check")))
	require.True(t, b.Check)
	for range 2 {
		c, err := b.Load()
		require.NoError(t, err)
		require.Equal(t, session("2001:db8::1", "ff3e::1", 6000), c.Services[0].Upstream.Session)
		require.True(t, c.Services[0].Upstream.Unsigned)
		require.Len(t, c.Services[0].Upstream.Parents, 2)
	}
	fs = flag.NewFlagSet("relay", flag.ContinueOnError)
	r := NewSource[Relay](fs)
	require.NoError(t, fs.Parse(strings.Fields("-service live -group 232.1.1.1:6000 -source 127.0.0.1 -anchor "+rootPublic+" -out-group 232.1.2.1:6000 -out-source 127.0.0.2 -out-ttl 3")))
	c, err := r.Load()
	require.NoError(t, err)
	require.Equal(t, session("127.0.0.2", "232.1.2.1", 6000), c.Services[0].Downstream.Session)
	require.Equal(t, 3, c.Services[0].Downstream.TTL)
}

func TestFlagsGoOverTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "c.yaml")
	require.NoError(t, os.WriteFile(path, []byte("channels:\n  - name: live\n    keys: [\"env:A\", \"env:B\"]\n"+
		"    multicast: {source: 127.0.0.1, group: 232.1.1.1, port: 6000, fec: {loss: 0.2, target: 1e-4}}\n"), 0o600))
	env := func(string) (string, bool) { return "0123456789abcdef", true }
	load := func(args string) (*Cast, error) {
		src := castFlags(t, append([]string{"-config", path}, strings.Fields(args)...)...)
		src.LookupEnv = env
		return src.Load()
	}
	// The only channel needs no name; what no flag speaks of stays.
	c, err := load("-loss 0.3 -source 127.0.0.2 -key env:C")
	require.NoError(t, err)
	require.Equal(t, fecOf(0.3, 1e-4), c.Channels[0].Multicast.FEC)
	require.Equal(t, session("127.0.0.2", "232.1.1.1", 6000), c.Channels[0].Multicast.Session)
	require.Len(t, c.Channels[0].Keys, 1)

	c, err = load("-channel live -ttl 5 -channel more -group 232.1.1.2:6000 -source 127.0.0.1 -key env:C -key env:D")
	require.NoError(t, err)
	require.Len(t, c.Channels, 2)
	require.Equal(t, 5, c.Channels[0].Multicast.TTL)
	require.Len(t, c.Channels[0].Keys, 2)
	require.Len(t, c.Channels[1].Keys, 2)

	// Problems name the flag that brought them, or else the line.
	_, err = load("-loss 0.9 -interface lo -source 232.1.1.1")
	require.ErrorContains(t, err, "flag -source: channels[0].multicast.source: 232.1.1.1 is not a unicast")
	require.ErrorContains(t, err, "flag -loss: channels[0].multicast.fec.loss: is not above 0")
}

func TestFlagProblems(t *testing.T) {
	_, err := castFlags(t, "-group", "232.1.1.1:6000").Load()
	require.EqualError(t, err, "flag -group: for which channel? put -channel NAME before it")
	_, err = castFlags(t, strings.Fields("-channel a -group 239.1.1.1:6000 -source 127.0.0.1 -loss 0.9")...).Load()
	require.ErrorContains(t, err, "flag -group: channels[0].multicast.group: 239.1.1.1 is outside")
	require.ErrorContains(t, err, "flag -loss: channels[0].multicast.fec.loss: is not above 0")
	fs := flag.NewFlagSet("cast", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	NewSource[Cast](fs)
	require.ErrorContains(t, fs.Parse([]string{"-group", "232.1.1.1"}), "is not group:port")
}

// A flag takes the place of a value that cannot be read, which remains a problem of the file.
func TestFlagsOverWhatCannotBeRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.yaml")
	require.NoError(t, os.WriteFile(path, []byte("log: {format: 1, level: loud}\nchanels: []\n"), 0o600))
	_, err := castFlags(t, "-config", path, "-log-level", "warn", "-log-format", "xml", "-ttl", "5").Load()
	require.EqualError(t, err, "flag -log-format: log.format: \"xml\" is neither text nor json\n"+
		path+":1:25: log.level: slog: level string \"loud\": unknown name\n"+
		path+":2:1: chanels: unknown key, did you mean channels?")
}

func TestDiff(t *testing.T) {
	load := func(text string) *Cast {
		c, err := Parse[Cast]("c", []byte(text))
		require.NoError(t, err)
		return c
	}
	one := minimalCast
	two := one + "  - {name: b, multicast: {source: 127.0.0.1, group: 232.1.1.2, port: 6000}}\n"
	moved := strings.ReplaceAll(two, "232.1.1.2", "232.1.1.3") + "    keys: [\"sha256:" + strings.Repeat("00", 32) + "\"]\n"
	moved = strings.Replace(moved, "}\n    keys: [", "}\n  - name: x\n    multicast: {source: 127.0.0.1, group: 232.9.9.9, port: 1}\n    keys: [", 1)

	require.True(t, Diff(load(two).Channels, load(two).Channels).Empty())
	require.Equal(t, "none", Diff(load(two).Channels, load(two).Channels).String())
	d := Diff(load(one).Channels, load(two).Channels)
	require.Equal(t, "added b", d.String())
	d = Diff(load(two).Channels, load(moved).Channels)
	require.Equal(t, "added x; changed b [multicast.group]", d.String())
	require.Equal(t, "232.1.1.2", d.Changed[0].Old.Multicast.Group.String())
	d = Diff(load(moved).Channels, load(one).Channels)
	require.Equal(t, "removed b; removed x", d.String())
	require.Equal(t, []string{"channels"}, Differences(load(one), load(two)))
	require.Equal(t, []string{"node.name", "log.level"}, Differences(load(one), load(one+"node: {name: q}\nlog: {level: warn}\n")))

	// Equal secrets and URLs behind different pointers are equal.
	keyed := minimalBeacon + "    cache_key: " + strings.Repeat("07", 32) + "\n"
	a, err := Parse[Beacon]("b", []byte(keyed))
	require.NoError(t, err)
	b, err := Parse[Beacon]("b", []byte(keyed))
	require.NoError(t, err)
	require.Empty(t, Differences(a, b))
}

func TestExplain(t *testing.T) {
	var out strings.Builder
	r, err := Parse[Relay]("r", []byte(fullRelay))
	require.NoError(t, err)
	require.NoError(t, r.Explain(&out))
	for _, want := range []string{
		"RELAY r1", "serves players at http://:8080/", "https://tv.example", "[::1]:8081",
		"joins ff3e::8000:1 from 2001:db8::1, UDP port 6000, on interface eth0",
		"parent 2 for what is missing: https://parent.example/tree",
		"sends to 232.1.1.1 from 10.0.0.2, UDP port 6001, on interface eth1, TTL 4",
		"at up to 20Mbit/s", "for 20% random loss, after which one object in 10000 is incomplete",
		"keeps objects for 1m30s", "warning: the clock is moved by -1h0m0s",
	} {
		require.Contains(t, out.String(), want)
	}
	out.Reset()
	c, err := Parse[Cast]("c", []byte(minimalCast))
	require.NoError(t, err)
	require.NoError(t, c.Explain(&out))
	require.Contains(t, out.String(), "on the loopback interface")
	require.Contains(t, out.String(), "is pushed without a key, from this machine only")
	require.Contains(t, out.String(), "warning: node.state_dir is not set")
}

// keysOf lists the paths of all keys that hold values, and of lists.
func keysOf(t reflect.Type, path string) []string {
	var keys []string
	for _, f := range fieldsOf(t) {
		ft, p := t.FieldByIndex(f.index).Type, join(path, f.key)
		switch {
		case isLeaf(ft):
			keys = append(keys, p)
		case ft.Kind() == reflect.Slice:
			keys = append(keys, p)
			if !isLeaf(ft.Elem()) {
				keys = append(keys, keysOf(ft.Elem(), p+"[]")...)
			}
		default:
			keys = append(keys, keysOf(ft, p)...)
		}
	}
	return keys
}

func TestEveryKeyAndFlagIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]-]+)` \\|")
	sections := map[string][]string{}
	for _, s := range strings.Split(string(doc), "\n## ")[1:] {
		title, _, _ := strings.Cut(s, "\n")
		for _, m := range row.FindAllStringSubmatch(s, -1) {
			sections[title] = append(sections[title], m[1])
		}
	}
	flags := map[string]bool{}
	check := func(section string, doc reflect.Type, bound func(*flag.FlagSet), more ...string) {
		have := slices.Concat(sections["Common keys"], sections[section], more)
		require.ElementsMatch(t, keysOf(doc, ""), have, section)
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		bound(fs)
		fs.VisitAll(func(f *flag.Flag) { flags["-"+f.Name] = true })
	}
	check("CAST", reflect.TypeFor[Cast](), func(fs *flag.FlagSet) { NewSource[Cast](fs) })
	check("RELAY", reflect.TypeFor[Relay](), func(fs *flag.FlagSet) { NewSource[Relay](fs) }, sections["AMT"]...)
	check("AMT", reflect.TypeFor[AMTRelay](), func(fs *flag.FlagSet) { NewSource[AMTRelay](fs) })
	check("BEACON", reflect.TypeFor[Beacon](), func(fs *flag.FlagSet) { NewSource[Beacon](fs) })
	var names []string
	for f := range flags {
		names = append(names, f)
	}
	require.ElementsMatch(t, names, sections["Flags"])
}
