package ssm

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"os"
	"time"
)

const (
	probeTime   = 2 * time.Second        // at most, see Probe
	probeRepeat = 100 * time.Millisecond // between two packets
)

// Probe finds out whether this machine can send from source to a
// source-specific group and receive that on the same interface, by doing it
// with a random group and packet. It returns nil, or an [*Error] that names the
// step that fails and what to do about it, or the cause of ctx. It takes at
// most two seconds; on a machine that can, less than a millisecond.
func Probe(ctx context.Context, iface string, source netip.Addr) error {
	ch, err := RandomChannel(source)
	if err != nil {
		return err
	}
	host := NewHost(Config{Interface: iface, ReceiveBuffer: 1})
	defer host.Close()
	rx, err := host.Join(ctx, ch, "")
	if err != nil {
		return err
	}
	tx, err := NewSender(source, &SenderConfig{Interface: iface, TTL: 1})
	if err != nil {
		return err
	}
	defer tx.Close()

	packet := []byte(rand.Text())
	ms := []Message{{Buffer: make([]byte, 2*len(packet))}}
	for end := time.Now().Add(probeTime); time.Now().Before(end); {
		if _, err := tx.WriteBatch([][]byte{packet}, ch.Destination()); err != nil {
			return err
		}
		if err := rx.SetReadDeadline(time.Now().Add(probeRepeat)); err != nil {
			return err
		}
		_, err := rx.ReadBatch(ms)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		case string(ms[0].Buffer[:ms[0].N]) == string(packet):
			return nil
		}
	}
	return newError("receive", tx.ifi, ch.Source, ch.Group, ErrNothingReceived)
}
