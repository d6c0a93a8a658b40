package ssm_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

func TestErrorsOfTheSystem(t *testing.T) {
	ch := ssmtest.Channel(t)
	notOurs := netip.MustParseAddr("198.51.100.77") // documentation, RFC 5737
	anySource := ssm.Channel{Group: netip.MustParseAddr("239.1.2.3"), Port: 5000}
	host := newHost(t, ssm.Config{})
	sender := func(source netip.Addr, iface string) error {
		_, err := ssm.NewSender(source, &ssm.SenderConfig{Interface: iface})
		return err
	}
	receiver := func(ch ssm.Channel, iface string) error {
		_, err := host.Join(context.Background(), ch, iface)
		return err
	}
	for _, c := range []struct {
		name, op string
		err      error
		is       error
	}{
		{"sender on an unknown interface", "interface", sender(ch.Source, "none0"), ssm.ErrInterface},
		{"sender on an unknown index", "interface", sender(ch.Source, "99999"), ssm.ErrInterface},
		{"sender with a foreign address", "bind", sender(notOurs, ssmtest.Interface), nil},
		{"receiver on an unknown interface", "interface", receiver(ch, "none0"), ssm.ErrInterface},
		{"any source without interface", "interface", receiver(anySource, ""), ssm.ErrInterface},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e *ssm.Error
			require.ErrorAs(t, c.err, &e)
			require.Equal(t, c.op, e.Op)
			require.Contains(t, e.Error(), "ssm: "+c.op)
			if c.is != nil {
				require.ErrorIs(t, c.err, c.is)
			} else {
				require.NotEmpty(t, e.Remedy)
				require.Contains(t, e.Error(), e.Remedy)
			}
		})
	}
}

func TestLoopbackSourceStaysOnLoopback(t *testing.T) {
	ifs, err := net.Interfaces()
	require.NoError(t, err)
	for _, ifi := range ifs {
		if ifi.Flags&net.FlagLoopback != 0 || ifi.Flags&net.FlagUp == 0 {
			continue
		}
		_, err := ssm.NewSender(ssmtest.Source(), &ssm.SenderConfig{Interface: ifi.Name})
		require.ErrorIs(t, err, ssm.ErrInterface)
	}
}

func TestInvalidArguments(t *testing.T) {
	host := newHost(t, ssm.Config{})
	_, err := host.Join(context.Background(), ssm.Channel{}, "")
	require.ErrorIs(t, err, ssm.ErrChannel)
	for _, source := range []string{"0.0.0.0", "232.1.1.1", "::", "::ffff:127.0.0.1"} {
		_, err := ssm.NewSender(netip.MustParseAddr(source), nil)
		require.ErrorIs(t, err, ssm.ErrChannel, source)
	}
	_, err = ssm.NewSender(ssmtest.Source(), &ssm.SenderConfig{TTL: 256})
	require.ErrorContains(t, err, "TTL")
	_, err = ssm.NewSender(ssmtest.Source(), &ssm.SenderConfig{DSCP: 64})
	require.ErrorContains(t, err, "DSCP")

	tx := newSender(t, ssmtest.Source(), nil)
	for _, dst := range []string{"127.0.0.1:5000", "232.1.1.1:0", "[ff3e::8000:1]:5000"} {
		n, err := tx.WriteBatch(numbered(10), netip.MustParseAddrPort(dst))
		require.ErrorIs(t, err, ssm.ErrChannel, dst)
		require.Zero(t, n)
	}
}

func TestJoinWithEndedContext(t *testing.T) {
	cause := errors.New("shutting down")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	_, err := newHost(t, ssm.Config{}).Join(ctx, ssmtest.Channel(t), "")
	require.ErrorIs(t, err, cause)
}

// Where an administrator has added the multicast route, IPv6 works as well.
func TestProbeIPv6OnLoopback(t *testing.T) {
	err := ssm.Probe(context.Background(), ssmtest.Interface, netip.IPv6Loopback())
	if err == nil {
		return
	}
	var e *ssm.Error
	require.ErrorAs(t, err, &e)
	require.NotEmpty(t, e.Remedy, err)
}

func TestSmallReceiveBufferIsReportedOnce(t *testing.T) {
	var log bytes.Buffer
	const tooMuch = 1 << 30 // above what even the superuser is granted
	host := newHost(t, ssm.Config{ReceiveBuffer: tooMuch, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	for range 3 {
		rx := join(t, host, ssmtest.Channel(t))
		require.Less(t, rx.ReceiveBuffer(), tooMuch)
		require.NotZero(t, rx.ReceiveBuffer())
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), "net.core.rmem_max")
}
