package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/treedn/treedn/internal/config"
)

func runKey(_ context.Context, args []string) int { return key(args, os.Stdout, os.Stderr) }

// key makes a key pair for seals. What other programs may want to read goes to stdout.
func key(args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("treedn key", flag.ContinueOnError)
	fs.SetOutput(stderr)
	path := fs.String("o", "", "write the private half to `FILE`, as in live.key, and the public one beside it, to live.pub; print the public one only")
	fs.Usage = func() {
		fmt.Fprintf(stderr, "treedn key makes a key pair that seals a service.\n\nusage: treedn key [-o FILE]\n\n")
		fs.PrintDefaults()
	}
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "treedn key: unexpected argument %q\n", fs.Arg(0))
		return 2
	}
	if *path == "" {
		k := config.GenerateSealKey()
		fmt.Fprintf(stdout, "private, for seal_key: %s\npublic, for anchors:   %s\n", k.Reveal(), config.AnchorOf(k))
		return 0
	}
	k, err := config.CreateSealKey(*path)
	if err != nil {
		fmt.Fprintf(stderr, "treedn key: %v\n", err)
		return 1
	}
	fmt.Fprintf(stderr, "wrote %s, which stays with the sender, and %s, for receivers; the public key is\n", *path, config.PublicKeyFile(*path))
	fmt.Fprintln(stdout, config.AnchorOf(k))
	return 0
}
