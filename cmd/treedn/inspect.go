package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/flute/mbms"
	"github.com/treedn/treedn/flute/packetio/pcap"
	"github.com/treedn/treedn/internal/inspect"
)

func runInspect(ctx context.Context, args []string) int {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(768 << 20) // objects take up to 512 MiB, and garbage should not double that
	}
	return inspectCommand(ctx, args, os.Stdin, os.Stdout, os.Stderr)
}

// inspection is what the flags say.
type inspection struct {
	json, raw, quiet, follow bool
	dir, iface, sdp          string
	source                   netip.Addr
	wait                     time.Duration
	relays                   []amt.Candidate
	targets                  []string
}

const inspectUsage = `treedn inspect says what is in a multicast: sessions of FLUTE and ROUTE, services of ATSC 3.0 and DVB-MABR, every
object, what is lost, and what is wrong with the signalling.

usage: treedn inspect [flags] FILE              a pcap or pcapng, "-" is the standard input
       treedn inspect [flags] GROUP:PORT...     live, until interrupted

  treedn inspect broadcast.pcap
  treedn inspect -source 192.0.2.10 -o objects 232.1.1.1:6000
  treedn inspect -follow 224.0.23.60:4937

`

// inspectCommand inspects a capture or listens. It returns 0 also where the signalling is wrong.
func inspectCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c inspection
	fs := flag.NewFlagSet("treedn inspect", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.BoolVar(&c.json, "json", false, "write one line of JSON per event")
	fs.StringVar(&c.dir, "o", "", "write every complete object below `DIR`, under its name, or as TSI-TOI")
	fs.BoolVar(&c.raw, "raw", false, "with -o, write objects as transferred: do not undo their content encoding")
	fs.TextVar(&c.source, "source", netip.Addr{}, "the `ADDRESS` that groups are joined from (source-specific multicast)")
	fs.StringVar(&c.iface, "interface", "", "the `NAME` of the interface to join groups on")
	fs.Func("relay", "`address` or name of an AMT relay that brings groups, with -source, where they do not come natively; may be repeated", func(s string) error {
		found, err := findRelay(ctx, s)
		c.relays = append(c.relays, found...)
		return err
	})
	fs.BoolVar(&c.follow, "follow", false, "join the groups that signalling names, too")
	fs.StringVar(&c.sdp, "sdp", "", "a `FILE` with the session description of a FLUTE session, or with a service announcement of MBMS; without other targets it is joined")
	fs.DurationVar(&c.wait, "for", 0, "stop after this `TIME`; 0 is never")
	fs.BoolVar(&c.quiet, "q", false, "no line of progress on a terminal")
	fs.Usage = func() {
		fmt.Fprint(stderr, inspectUsage)
		fs.PrintDefaults()
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case fs.NArg() == 0 && c.sdp == "":
		fs.Usage()
		return 2
	}
	c.targets = fs.Args()
	if err := c.run(ctx, stdin, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "treedn inspect: %v\n", err)
		return 1
	}
	return 0
}

func (c *inspection) run(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	var saver *inspect.Saver
	if c.dir != "" {
		if saver, err = inspect.NewSaver(c.dir); err != nil {
			return err
		}
		defer saver.Close()
		saver.Raw = c.raw
	}
	progress := terminalLine{w: stderr, on: !c.quiet && isTerminal(stderr)}
	write := (&inspect.Printer{W: stdout}).Print
	if c.json {
		write = inspect.JSON(stdout)
	}
	var failed error // the first that could not be written
	unheard := 0
	in := inspect.New(inspect.Config{Emit: func(e inspect.Event) {
		progress.clear()
		failed = errors.Join(failed, first(failed, write(e)))
		if f, ok := e.(*inspect.FindingEvent); ok && f.Rule == "unheard" {
			unheard++
		}
		if o, ok := e.(*inspect.ObjectEvent); ok && saver != nil {
			_, err := saver.Save(o)
			failed = errors.Join(failed, first(failed, err))
		}
	}})
	channels, live := c.channels()
	if c.sdp != "" {
		described, err := describe(in, c.sdp)
		if err != nil {
			return fmt.Errorf("%s: %w", c.sdp, err)
		}
		if len(c.targets) == 0 {
			channels = described
		}
	}
	show := func() { progress.show(in.Status().Line()) }
	if live {
		err = c.listen(ctx, channels, in, show, stderr)
	} else {
		err = c.read(ctx, stdin, in, show, stderr)
	}
	progress.clear()
	if err != nil && in.Status().Packets == 0 {
		return err
	}
	in.Finish()
	progress.clear()
	if live && unheard > 0 && !c.follow {
		fmt.Fprintf(stderr, "treedn inspect: -follow also joins what the signalling announces\n")
	}
	return errors.Join(err, failed)
}

// describe gives the Inspector a session description, or an announcement with several, and returns their channels.
func describe(in *inspect.Inspector, file string) (list []inspect.Channel, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	sdps := map[string]*mbms.SDP{}
	if d, err := mbms.ParseSDP(b); err == nil {
		sdps[file] = d
	} else {
		a, aerr := mbms.ParseAnnouncement(b)
		if aerr != nil || len(a.Sessions) == 0 {
			return nil, err // what it is more likely to be
		}
		sdps = a.Sessions
	}
	for _, name := range slices.Sorted(maps.Keys(sdps)) {
		in.Describe(sdps[name])
		for _, c := range sdps[name].Channels() {
			list = append(list, inspect.Channel{Source: c.Source, Destination: c.Destination})
		}
	}
	return list, nil
}

// first returns err if nothing failed before.
func first(before, err error) error {
	if before != nil {
		return nil
	}
	return err
}

// channels returns what to listen to, if the arguments are addresses.
func (c *inspection) channels() (list []inspect.Channel, ok bool) {
	for _, t := range c.targets {
		to, err := netip.ParseAddrPort(t)
		if err != nil {
			return nil, false
		}
		list = append(list, inspect.Channel{Source: c.source, Destination: to})
	}
	return list, true
}

func (c *inspection) listen(ctx context.Context, channels []inspect.Channel, in *inspect.Inspector, show func(), stderr io.Writer) error {
	if c.wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.wait)
		defer cancel()
	}
	return inspect.Listen(ctx, inspect.ListenConfig{
		Channels: channels, Interface: c.iface, Relays: c.relays, Follow: c.follow, Source: c.source, Tick: show,
		Joined: func(ch inspect.Channel, err error) {
			if err == nil {
				return
			}
			hint := ""
			switch {
			case errors.Is(err, inspect.ErrRoute):
				hint = "; name an interface, by -interface"
			case errors.Is(err, ssm.ErrChannel) && !ch.Source.IsValid() && ch.Destination.Port() != 0:
				hint = "; say where it comes from, by -source"
			}
			fmt.Fprintf(stderr, "treedn inspect: %v%s\n", err, hint)
		},
	}, in)
}

func (c *inspection) read(ctx context.Context, stdin io.Reader, in *inspect.Inspector, show func(), stderr io.Writer) error {
	if len(c.targets) != 1 {
		return errors.New("give one capture, or addresses of the form GROUP:PORT")
	}
	name, r := c.targets[0], stdin
	if name != "-" {
		f, err := os.Open(name)
		if _, other := netip.ParseAddr(name); err != nil && other == nil {
			return fmt.Errorf("%s: no file, and as an address it lacks a port", name)
		}
		if err != nil {
			return err
		}
		defer f.Close()
		r = f
	}
	capture, err := pcap.NewReader(r)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	err = inspect.ReadCapture(ctx, capture, in, show)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.Canceled) {
		fmt.Fprintf(stderr, "treedn inspect: %s: %v; here is what came before\n", name, err)
		err = nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w; here is what came before", name, err)
	}
	for _, remark := range remarks(capture.Stats()) {
		fmt.Fprintf(stderr, "treedn inspect: %s: %s\n", name, remark)
	}
	return nil
}

// remarks says what of a capture is not shown.
func remarks(s pcap.Stats) (list []string) {
	add := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	switch {
	case s.Frames == 0:
		add("it holds no frames")
	case s.Packets == 0 && s.UnknownLinks == s.Frames:
		add("all %d frames are of link type %d, which is not understood", s.Frames, s.UnknownLink)
	case s.Packets == 0 && s.CutOff+s.Incomplete == 0:
		add("none of the %d frames is of UDP over IP", s.Frames)
	case s.UnknownLinks > 0:
		add("%d of %d frames are of link types that are not understood, such as %d", s.UnknownLinks, s.Frames, s.UnknownLink)
	}
	if s.CutOff > 0 {
		add("%d of %d frames are cut off: capture with the full snap length (tcpdump -s 0)", s.CutOff, s.Frames)
	}
	if s.Incomplete > 0 {
		add("%d fragments are without the rest of their datagram", s.Incomplete)
	}
	if s.Oversize > 0 {
		add("%d of %d datagrams are larger than a frame of Ethernet can be: the capture was taken with segmentation offload, and they are several, which is not seen; capture behind it (ethtool -K eth0 tx-udp-segmentation off gro off)", s.Oversize, s.Packets)
	}
	return list
}

// terminalLine is a line of progress that gives way to others.
type terminalLine struct {
	w     io.Writer
	on    bool
	shown bool
}

func (t *terminalLine) show(s string) {
	if !t.on {
		return
	}
	t.clear()
	fmt.Fprint(t.w, s)
	t.shown = true
}

func (t *terminalLine) clear() {
	if t.shown {
		fmt.Fprint(t.w, "\r\x1b[K")
		t.shown = false
	}
}

// isTerminal tells whether w is a terminal, or something else that is a device of characters.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
