package main

import (
	"bufio"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDemoRefuses(t *testing.T) {
	for _, args := range [][]string{
		{"-dump", "x"}, {"-check", "1s"}, {"-loss", "2"}, {"-listen", "localhost"}, {"-groups", "232.1.1.1:6000"}, {"x"}, {"-x"},
	} {
		require.Equal(t, 2, runDemo(t.Context(), args), args)
	}
}

// The address of the page is what the command is for: it goes where output goes, not among the logs.
func TestDemoPrintsThePage(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	go func() {
		code <- runDemo(ctx, nil)
		w.Close()
	}()
	var text strings.Builder
	for lines := bufio.NewScanner(r); lines.Scan(); {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "/publish/live/manifest.mpd") {
			cancel()
		}
	}
	require.Zero(t, <-code)
	require.Regexp(t, `Open  http://127\.0\.0\.1:\d+/`, text.String())
}
