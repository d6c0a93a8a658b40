// Command treedn is where a newcomer begins: `treedn demo` runs a whole multicast tree on this machine and shows it,
// `treedn inspect` says what is in a multicast or in a capture of one and what is wrong with it, and
// `treedn key` makes the keys for a tree of one's own.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

type command struct {
	name, does string
	run        func(ctx context.Context, args []string) int
}

func commands() []command {
	return []command{
		{"demo", "run a whole tree on this machine and show it on a page, or check it", runDemo},
		{"inspect", "say what is in a multicast or a capture, and what is wrong with it", runInspect},
		{"key", "make a key pair that seals a service", runKey},
		{"amt-relay", "give multicast to networks that have none, by AMT", runAMTRelay},
		{"receive", "receive any (S,G), natively or through an AMT relay", runReceive},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal kills
	if len(os.Args) > 1 {
		for _, c := range commands() {
			if c.name == os.Args[1] {
				code := c.run(ctx, os.Args[2:])
				stop()
				os.Exit(code)
			}
		}
	}
	fmt.Fprintln(os.Stderr, "usage: treedn COMMAND [flags]")
	for _, c := range commands() {
		fmt.Fprintf(os.Stderr, "  %-9s %s\n", c.name, c.does)
	}
	os.Exit(2)
}
