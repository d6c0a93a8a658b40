package main

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

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
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	code := runDemo(ctx, nil)
	require.NoError(t, w.Close())
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	require.Zero(t, code)
	require.Regexp(t, `Open  http://127\.0\.0\.1:\d+/`, string(text))
	require.Contains(t, string(text), "/publish/live/manifest.mpd")
}
