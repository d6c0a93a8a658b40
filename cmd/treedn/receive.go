package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/receive"
)

const receiveUsage = `treedn receive brings a multicast channel to this machine: natively, or through an AMT relay (RFC 7450).

usage: treedn receive [flags] S,G[:port]

  treedn receive -to - 198.51.100.10,232.1.1.10:5000 | vlc -
  treedn receive -relay 192.0.2.1 -to udp://127.0.0.1:1234 198.51.100.10,232.1.1.10     and then: vlc udp://@:1234
  treedn receive 198.51.100.10,232.1.1.10:5000                                         only tells what comes
  treedn receive -json -for 10s [2001:db8::1],[ff3e::8000:1]:5000                      for scripts

Without a port it takes that of the first packet: natively that needs CAP_NET_RAW, through a relay nothing.

It ends on SIGINT or SIGTERM, after -for, or when whoever reads stdout has gone. The exit code is 0 if something
arrived until then, 1 if nothing did or the output failed, 2 if the command was wrong.

`

func runReceive(ctx context.Context, args []string) int {
	// A player that goes must not kill this: the channel has to be left.
	signal.Ignore(syscall.SIGPIPE)
	return receiveTo(ctx, args, os.Stdout, os.Stderr)
}

func receiveTo(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("treedn receive", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() { fmt.Fprint(stderr, receiveUsage); fs.PrintDefaults() }
	var c receive.Config
	var relays []string
	dns := config.AMTRelays{DRIAD: true}
	fs.Func("relay", "`address` or name of an AMT relay, or one to discover it by; may be repeated, in order (default: those that RFC 8777 finds)", func(s string) error {
		relays = append(relays, s)
		return nil
	})
	fs.TextVar(&dns.Resolver, "resolver", config.Resolver{}, "`server` to ask for relays: 192.0.2.53, tls://192.0.2.53#dns.example or https://dns.example/dns-query (default: the system's)")
	mode := fs.String("mode", "auto", "`way`: native, tunnel, auto (native first, a relay when nothing comes) or adaptive (both at once)")
	to := fs.String("to", "", "`where` the payloads go: udp://host:port, with ?interface=eth0&ttl=4 behind a multicast group, a file, or - for stdout (default: nowhere)")
	fs.StringVar(&c.Interface, "interface", "", "`name` of the interface for native reception (default: the one that leads to the source)")
	fs.DurationVar(&c.Wait, "wait", 30*time.Second, "how long the first packet may take; 0 for ever")
	limit := fs.Duration("for", 0, "how long to receive; 0 for ever")
	quiet := fs.Bool("quiet", false, "tell nothing but failures")
	fs.BoolVar(&c.JSON, "json", false, "tell it in lines of JSON")
	fs.DurationVar(&c.Every, "every", 0, "time between statistics (default: on a terminal a line that moves, else 10s)")
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
	tell := func(event receive.Event, key string, err error) {
		_ = json.NewEncoder(stderr).Encode(map[string]any{"time": time.Now(), "event": event, key: err.Error()})
	}
	fail := func(code int, err error) int {
		if c.JSON {
			tell(receive.EventError, "error", err)
			return code
		}
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
	if *limit < 0 || c.Wait < 0 || c.Every < 0 {
		return fail(2, errors.New("a time is negative"))
	}
	if *to == "-" && terminal(stdout) {
		return fail(2, errors.New("stdout is a terminal, which can make nothing of a stream: put \"| vlc -\" or \"> FILE\" behind the command"))
	}
	if !*quiet {
		c.Line = stderr
		c.Terminal = terminal(stderr) && !c.JSON && c.Every == 0
	}
	unknown := func(err error) {
		switch {
		case *quiet:
		case c.JSON:
			tell(receive.EventRelayName, "message", err)
		default:
			fmt.Fprintln(stderr, err)
		}
	}
	if c.Relays, err = findRelays(ctx, relays, unknown); errors.Is(err, errRelay) {
		return fail(2, err)
	} else if err != nil {
		return fail(1, err)
	}
	c.Discovery = dns.Discovery()
	if c.Sink, err = receive.OpenSink(*to, stdout); errors.Is(err, receive.ErrWhere) {
		return fail(2, err)
	} else if err != nil {
		return fail(1, err)
	}
	if *limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *limit)
		defer cancel()
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

// terminal says whether somebody looks at w. The null device is of the same kind.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// findRelays turns addresses and names into candidates. Names that cannot be looked up are an error only if nothing else
// is left; otherwise unknown is told.
func findRelays(ctx context.Context, list []string, unknown func(error)) (relays []amt.Candidate, err error) {
	var failed []error
	for _, s := range list {
		found, err := findRelay(ctx, strings.TrimSpace(s))
		if err != nil {
			failed = append(failed, err)
		}
		relays = append(relays, found...)
	}
	if len(relays) == 0 {
		return nil, errors.Join(failed...)
	}
	for _, err := range failed {
		unknown(err)
	}
	return relays, nil
}

// errRelay is matched by errors about what is neither an address nor a name.
var errRelay = errors.New("-relay is neither an address nor a name")

// findRelay turns an address or a name into candidates.
func findRelay(ctx context.Context, s string) (relays []amt.Candidate, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var a config.AMTAddress
	if a.UnmarshalText([]byte(s)) == nil {
		return []amt.Candidate{{Address: a.AddrPort}}, nil
	}
	if s == "" {
		return nil, errRelay
	}
	host, port := s, fmt.Sprint(amt.Port)
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errRelay, s, err)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("relay %s: %w", s, err)
	}
	for _, ip := range addrs {
		relays = append(relays, amt.Candidate{Address: netip.AddrPortFrom(ip.Unmap(), uint16(n))})
	}
	return relays, nil
}
