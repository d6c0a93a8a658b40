package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

func TestReceiveUsage(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"-h", 0, "usage: treedn receive"},
		{"", 2, "usage: treedn receive"},
		{"1.2.3.4,232.1.1.1:1 5.6.7.8,232.1.1.1:1", 2, "usage: treedn receive"},
		{"232.1.1.1:1", 2, "a source and a group are needed"},
		{"1.2.3.4,232.1.1.1:1 -mode x", 2, `-mode "x" is none of`},
		{"1.2.3.4,232.1.1.1:1 -to http://x", 2, "is not udp://host:port"},
		{"1.2.3.4,232.1.1.1:1 -to udp://127.0.0.1", 2, "is not udp://host:port"},
		{"1.2.3.4,232.1.1.1:1 -to udp://239.1.1.1:1?ttl=x", 2, "is not 0 to 255"},
		{"1.2.3.4,232.1.1.1:1 -to /does/not/exist", 1, "no such file"},
		{"1.2.3.4,232.1.1.1:1 -relay=", 2, "-relay is neither an address nor a name"},
		{"1.2.3.4,232.1.1.1:1 -relay 192.0.2.1:99999", 2, "192.0.2.1:99999"},
		{"-nonsense 1.2.3.4,232.1.1.1:1", 2, "not defined"},
	} {
		var stdout, stderr bytes.Buffer
		require.Equal(t, c.code, receiveTo(t.Context(), strings.Fields(c.args), &stdout, &stderr), c.args)
		require.Contains(t, stderr.String(), c.want)
		require.Empty(t, stdout.String())
	}
}

// ender ends a reception when enough has been written.
type ender struct {
	bytes.Buffer
	most int
	end  func()
}

func (e *ender) Write(p []byte) (int, error) {
	if e.Len() >= e.most {
		e.end()
	}
	return e.Buffer.Write(p)
}

// One line through a relay of this machine to stdout; flags stand on both sides.
func TestReceiveThroughRelay(t *testing.T) {
	ch := ssmtest.Channel(t)
	up, err := amt.NewNative(amt.NativeConfig{Ports: []uint16{ch.Port}})
	require.NoError(t, err)
	relay := netip.AddrPortFrom(ssmtest.Source(), ch.Port)
	s, err := amt.NewServer(amt.ServerConfig{Listen: []netip.AddrPort{relay}, Upstream: up})
	require.NoError(t, err)
	go func() { _ = s.Run(context.Background()) }()
	defer s.Close()
	tx, err := ssm.NewSender(ch.Source, nil)
	require.NoError(t, err)
	defer tx.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			_, _ = tx.WriteBatch([][]byte{[]byte("payload ")}, ch.Destination())
			time.Sleep(time.Millisecond)
		}
	}()
	out := &ender{most: 800, end: cancel}
	var stderr bytes.Buffer
	args := []string{"-mode", "tunnel", ch.Source.String() + "," + ch.Destination().String(), "-relay", relay.String(), "-to", "-"}
	require.Zero(t, receiveTo(ctx, args, out, &stderr), stderr.String())
	require.True(t, strings.HasPrefix(out.String(), strings.Repeat("payload ", 100)))
	require.Contains(t, stderr.String(), "receiving, relay "+relay.String())
}

// All lines of JSON have the name of an event, also those of what goes wrong before or after the reception.
func TestReceiveJSON(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		want []string
	}{
		{"-mode x", 2, []string{"error"}},
		{"-relay no.such.relay.invalid", 1, []string{"error"}},
		{"-mode tunnel -relay no.such.relay.invalid -relay 127.0.0.1:1 -wait 100ms", 1, []string{"relay_name", "statistics", "error"}},
	} {
		var stderr bytes.Buffer
		args := append(strings.Fields(c.args), "-json", "127.0.0.1,232.1.1.1:5000")
		require.Equal(t, c.code, receiveTo(t.Context(), args, io.Discard, &stderr), stderr.String())
		var got []string
		for line := range strings.Lines(stderr.String()) {
			var e struct{ Event, Time, Message, Error string }
			require.NoError(t, json.Unmarshal([]byte(line), &e), line)
			require.NotEmpty(t, e.Event, line)
			require.NotEmpty(t, e.Time, line)
			got = append(got, e.Event)
		}
		require.Subset(t, got, c.want)
		require.Equal(t, "error", got[len(got)-1])
	}
}

func TestFindRelays(t *testing.T) {
	var stderr strings.Builder
	unknown := func(err error) { stderr.WriteString(err.Error()) }
	list, err := findRelays(t.Context(), []string{"192.0.2.1", "no.such.relay.invalid", "[2001:db8::1]:99", "[2001:db8::2]", "localhost", "localhost:77"}, unknown)
	require.NoError(t, err)
	require.Contains(t, stderr.String(), "relay no.such.relay.invalid: ")
	require.Equal(t, "192.0.2.1:2268", list[0].Address.String())
	require.Equal(t, "[2001:db8::1]:99", list[1].Address.String())
	require.Equal(t, "[2001:db8::2]:2268", list[2].Address.String())
	require.True(t, list[3].Address.Addr().IsLoopback())
	require.Equal(t, uint16(amt.Port), list[3].Address.Port())
	require.Equal(t, uint16(77), list[len(list)-1].Address.Port())
	_, err = findRelays(t.Context(), []string{"no.such.relay.invalid"}, unknown)
	var dns *net.DNSError
	require.ErrorAs(t, err, &dns)
}
