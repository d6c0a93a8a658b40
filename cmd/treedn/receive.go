package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/driad"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/receive"
)

const receiveUsage = `treedn receive brings a multicast channel to this machine: natively, or through an AMT relay (RFC 7450).

usage: treedn receive [flags] S,G[:port]

  treedn receive -to - 198.51.100.10,232.1.1.10:5000 | vlc -
  treedn receive -relay 192.0.2.1 -to udp://127.0.0.1:1234 198.51.100.10,232.1.1.10     and then: vlc udp://@:1234
  treedn receive 198.51.100.10,232.1.1.10:5000                                         only tells what comes

`

func runReceive(ctx context.Context, args []string) int {
	return receiveTo(ctx, args, os.Stdout, os.Stderr)
}

func receiveTo(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("treedn receive", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, receiveUsage); fs.PrintDefaults() }
	var c receive.Config
	var relays []string
	fs.Func("relay", "`address` or name of an AMT relay, or one to discover it by; may be repeated, in order (default: those that RFC 8777 finds)", func(s string) error {
		relays = append(relays, s)
		return nil
	})
	mode := fs.String("mode", "auto", "`way`: native, tunnel, auto (native first, a relay when nothing comes) or adaptive (both at once)")
	to := fs.String("to", "", "`where` the payloads go: udp://host:port, a file, or - for stdout (default: nowhere)")
	fs.StringVar(&c.Interface, "interface", "", "`name` of the interface for native reception (default: the one that leads to the source)")
	fs.DurationVar(&c.Wait, "wait", 30*time.Second, "how long the first packet may take; 0 for ever")
	quiet := fs.Bool("quiet", false, "write no live line")
	// Flags may stand behind the channel, too.
	var targets []string
	for rest := args; ; rest = fs.Args()[1:] {
		switch err := fs.Parse(rest); {
		case errors.Is(err, flag.ErrHelp):
			return 0
		case err != nil:
			return 2
		}
		if fs.NArg() == 0 {
			break
		}
		targets = append(targets, fs.Arg(0))
	}
	fail := func(code int, err error) int {
		fmt.Fprintf(stderr, "treedn receive: %v\n", err)
		return code
	}
	if len(targets) != 1 {
		fs.Usage()
		return 2
	}
	var err error
	if c.Channel, err = receive.ParseTarget(targets[0]); err != nil {
		return fail(2, err)
	}
	modes := map[string]amt.Mode{"auto": amt.ModeAuto, "native": amt.ModeNative, "tunnel": amt.ModeTunnel, "adaptive": amt.ModeAdaptive}
	var ok bool
	if c.Mode, ok = modes[*mode]; !ok {
		return fail(2, fmt.Errorf("-mode %q is none of native, tunnel, auto, adaptive", *mode))
	}
	if c.Relays, err = findRelays(ctx, relays); err != nil {
		return fail(1, err)
	}
	if len(relays) == 0 {
		c.Discovery = &driad.ClientConfig{}
	}
	if c.Sink, err = receive.OpenSink(*to, stdout); err != nil {
		return fail(1, err)
	}
	if !*quiet {
		c.Line = stderr
		if f, ok := stderr.(*os.File); ok {
			info, err := f.Stat()
			c.Terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
		}
	}
	err = receive.Run(ctx, c)
	if closing := c.Sink.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return fail(1, err)
	}
	return 0
}

// findRelays turns addresses and names into candidates.
func findRelays(ctx context.Context, list []string) (relays []amt.Candidate, err error) {
	for _, s := range list {
		var a config.AMTAddress
		if a.UnmarshalText([]byte(s)) == nil {
			relays = append(relays, amt.Candidate{Address: a.AddrPort})
			continue
		}
		host, port := s, ""
		if h, p, err := net.SplitHostPort(s); err == nil {
			host, port = h, p
		}
		if port == "" {
			port = fmt.Sprint(amt.Port)
		}
		n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
		if err != nil {
			return nil, err
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return nil, fmt.Errorf("relay %s: %w", strings.TrimSpace(s), err)
		}
		for _, ip := range addrs {
			relays = append(relays, amt.Candidate{Address: netip.AddrPortFrom(ip.Unmap(), uint16(n))})
		}
	}
	return relays, nil
}
