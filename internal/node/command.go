package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	"github.com/treedn/treedn/internal/config"
	"github.com/treedn/treedn/internal/telemetry"
)

// Role is a running node as a command sees it.
type Role[T config.Role] interface {
	// Run runs the node until ctx ends, and closes it.
	Run(ctx context.Context) error
	// Apply changes the node to another configuration.
	Apply(next *T) error
	// Addresses are the base URLs of the node's servers by their use, with an empty one for a server that is off.
	Addresses() []slog.Attr
}

// Command is the command of one role: a configuration in, a node until a signal, an exit code out.
type Command[T config.Role] struct {
	// Name is the name of the command, Does a line on what it is for.
	Name, Does string
	// Flags binds the flags of what no configuration holds. Optional.
	Flags func(*flag.FlagSet)
	// Open starts the node.
	Open func(cfg *T, log *slog.Logger) (Role[T], error)
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // at run time; with -check: the configuration is wrong
	exitUsage   = 2 // wrong flags or a wrong configuration
)

// Main runs the command with the arguments of the process and returns its exit code. SIGINT and SIGTERM end the node and
// let it finish what is under way, a second one kills it; SIGHUP loads the configuration again.
func (c Command[T]) Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return c.Run(ctx, os.Args[1:])
}

// Run is Main with other arguments, and with a context that ends the node.
func (c Command[T]) Run(ctx context.Context, args []string) int {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	return c.run(ctx, args, hangup, os.Stdout, os.Stderr)
}

func (c Command[T]) run(ctx context.Context, args []string, hangup <-chan os.Signal, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet(c.Name, flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprintf(stderr, "%s %s.\n\nusage: %s -config FILE [flags], or flags alone; -check shows what they mean\n\n", c.Name, c.Does, c.Name)
		fs.PrintDefaults()
	}
	src := config.NewSource[T](fs)
	if c.Flags != nil {
		c.Flags(fs)
	}
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage // fs has said why
	case fs.NArg() > 0:
		fmt.Fprintf(stderr, "%s: unexpected argument %q\n", c.Name, fs.Arg(0))
		return exitUsage
	case fs.NFlag() == 0:
		fs.Usage()
		return exitUsage
	}
	cfg, err := src.Load()
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(stderr, "%s: %s\n", c.Name, strings.TrimSuffix(line, "\n"))
		}
		if src.Check {
			return exitFailure
		}
		return exitUsage
	}
	if src.Check {
		if err := any(cfg).(interface{ Explain(io.Writer) error }).Explain(stdout); err != nil {
			fmt.Fprintf(stderr, "%s: %v\n", c.Name, err)
			return exitFailure
		}
		return exitOK
	}
	return c.serve(ctx, src, cfg, hangup, stderr)
}

// logOf finds the part of a configuration that is the command's own.
func logOf(cfg any) config.Log {
	switch c := cfg.(type) {
	case *config.Cast:
		return c.Log
	case *config.Relay:
		return c.Log
	case *config.Beacon:
		return c.Log
	case *config.AMTRelay:
		return c.Log
	}
	return config.Log{}
}

func (c Command[T]) serve(ctx context.Context, src *config.Source[T], cfg *T, hangup <-chan os.Signal, stderr io.Writer) int {
	log, level := newLogger(stderr, logOf(cfg))
	node, err := c.Open(cfg, log)
	if err != nil {
		log.Error(c.Name+" cannot start", "error", err)
		return exitFailure
	}
	attrs := []any{slog.String("version", telemetry.Version()), slog.Int("pid", os.Getpid())}
	for _, a := range node.Addresses() {
		attrs = append(attrs, a)
	}
	log.Info(c.Name+" is running", attrs...)

	var watching sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	watching.Go(func() {
		w := config.Watcher[T]{
			Source: src, Reload: hangup, Log: log,
			Apply: func(_ context.Context, _, next *T) error {
				if err := node.Apply(next); err != nil {
					return err
				}
				level.Set(logOf(next).Level)
				return nil
			},
		}
		_ = w.Run(ctx, cfg) // ends with ctx
	})
	silent := context.AfterFunc(ctx, func() { log.Info(c.Name+" is ending", "cause", context.Cause(ctx)) })
	err = node.Run(ctx)
	silent()
	cancel()
	watching.Wait()
	if err != nil {
		log.Error(c.Name+" has failed", "error", err)
		return exitFailure
	}
	log.Info(c.Name + " has ended")
	return exitOK
}
