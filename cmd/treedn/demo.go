package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/treedn/treedn/internal/demo"
	"github.com/treedn/treedn/internal/lossy"
)

func runDemo(ctx context.Context, args []string) int {
	fs := flag.NewFlagSet("treedn demo", flag.ContinueOnError)
	var (
		check   = fs.Duration("check", 0, "no page: read all objects from the nodes for this `time`, print a report as JSON, and end")
		loss    = fs.Float64("loss", 0.1, "`share` of its packets that the second BEACON loses, 0 to 0.9")
		seed    = fs.Uint64("seed", 1, "which packets are lost")
		unicast = fs.Bool("unicast", true, "let nodes ask their parents for what they miss")
		dump    = fs.String("dump", "", "with -check: write each object to `DIR`/<node>/<object name>")
		ffmpeg  = fs.Bool("ffmpeg", false, "let the FFmpeg of this machine make the picture")
		listen  = fs.String("listen", "127.0.0.1", "`address` of all HTTP servers")
		port    = fs.Uint("port", 0, "`port` of the page; 0 is a free one")
		ingest  = fs.Uint("ingest-port", 0, "`port` at which encoders push; 0 is a free one")
		beacons = fs.Uint("beacon-port", 0, "`port` of the first BEACON, the second has the next one; 0 is free ones")
		groups  = fs.String("groups", "", "`GROUP:PORT,GROUP:PORT` to which CAST and RELAY send; default: free ones")
		verbose = fs.Bool("v", false, "log more")
	)
	if err := fs.Parse(args); err != nil {
		if err == flag.ErrHelp {
			return 0
		}
		return 2
	}
	address, err := netip.ParseAddr(*listen)
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", fs.Arg(0))
	case err != nil:
		err = fmt.Errorf("-listen: %q is not an IP address", *listen)
	case *loss < 0 || *loss > 0.9:
		err = fmt.Errorf("-loss: %v is not between 0 and 0.9", *loss)
	case *check < 0, *check > 0 && *check < 5*time.Second:
		err = fmt.Errorf("-check: at least 5s, or there is nothing to judge")
	case *dump != "" && *check == 0:
		err = fmt.Errorf("-dump: without -check nothing is written")
	case max(*port, *ingest, *beacons) > 65534:
		err = fmt.Errorf("a port is beyond 65534")
	}
	tree := demo.TreeOptions{
		Listen: address, NoUnicast: !*unicast, Loss: lossy.Config{Random: *loss, Seed: *seed}, IngestPort: uint16(*ingest),
	}
	if *beacons > 0 {
		tree.BeaconPorts = [2]uint16{uint16(*beacons), uint16(*beacons + 1)}
	}
	if err == nil && *groups != "" {
		list := strings.Split(*groups, ",")
		if len(list) != len(tree.Groups) {
			err = fmt.Errorf("-groups: want two, with a comma between")
		}
		for i := 0; err == nil && i < len(list); i++ {
			tree.Groups[i], err = netip.ParseAddrPort(list[i])
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "treedn demo:", err)
		return 2
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelDebug
	}
	o := demo.Options{
		Tree: tree, Port: uint16(*port), FFmpeg: *ffmpeg, Dump: *dump, Check: *check,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})),
		Print:  func(line string) { fmt.Println(line) },
	}
	rep, err := demo.Run(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "treedn demo:", err)
		return 1
	}
	if rep == nil {
		return 0
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	if err := enc.Encode(rep); err != nil || !rep.OK {
		return 1
	}
	return 0
}
