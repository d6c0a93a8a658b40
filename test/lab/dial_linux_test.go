package lab_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt"
	"github.com/treedn/treedn/amt/ssm"
)

// dialVariable makes this test binary a receiver of amt.Dial, on the node that it
// is started on: a namespace is entered by threads, and Dial has many.
const dialVariable = "TREEDN_LAB_DIAL"

// reception is what a receiver saw since it was asked last.
type reception struct {
	First   time.Duration // from Dial to the first packet of all
	Packets int
	Lost    int           // numbers that did not come, and equal payloads too few
	Doubled int           // numbers that came again, and equal payloads too many
	Pause   time.Duration // longest time between two packets
	Way     string
	Switch  []amt.ConnEvent
	Moved   bool // the answer to move
}

// One packet of 20 has the same payload as others of its kind; the rest have
// numbers.
func numbered(i uint64, b []byte) {
	clear(b)
	if i%20 != 7 {
		binary.BigEndian.PutUint64(b, i+1)
	}
}

// dialMain is given source, group and port, mode, and relays. For each line of
// its input, "ask" or "move ADDRESS", it prints a reception.
func dialMain(args []string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, err); return 1 }
	var c amt.DialConfig
	modes := map[string]amt.Mode{"auto": amt.ModeAuto, "native": amt.ModeNative, "tunnel": amt.ModeTunnel}
	c.Mode = modes[args[2]]
	c.NativeTimeout = time.Second
	for _, a := range args[3:] {
		c.Gateway.Relays = append(c.Gateway.Relays, amt.Candidate{Address: netip.AddrPortFrom(netip.MustParseAddr(a), amt.Port)})
	}
	var mu sync.Mutex // guards below
	var r reception
	var last time.Time
	seen := make(map[uint64]int)
	equal, lowest, highest := 0, uint64(0), uint64(0)
	c.OnEvent = func(e amt.ConnEvent) {
		mu.Lock()
		defer mu.Unlock()
		if e.Type == amt.ConnSwitched {
			r.Switch = append(r.Switch, e)
		}
	}
	begun := time.Now()
	conn, err := amt.Dial(context.Background(), netip.MustParseAddr(args[0]), netip.MustParseAddrPort(args[1]), c)
	if err != nil {
		return fail(err)
	}
	defer conn.Close()
	go func() {
		ms := ssm.NewMessages(16)
		for {
			n, err := conn.ReadBatch(ms)
			if err != nil {
				return
			}
			now := time.Now()
			mu.Lock()
			if r.First == 0 {
				r.First = now.Sub(begun)
			}
			if !last.IsZero() {
				r.Pause = max(r.Pause, now.Sub(last))
			}
			last = now
			for i := range ms[:n] {
				for p := range ms[i].Segments {
					r.Packets++
					number := binary.BigEndian.Uint64(p)
					if number == 0 {
						if lowest > 0 {
							equal++
						}
						continue
					}
					if lowest == 0 {
						lowest = number
					}
					highest = max(highest, number)
					seen[number]++
				}
			}
			mu.Unlock()
		}
	}()
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		word, rest, _ := strings.Cut(in.Text(), " ")
		mu.Lock()
		if word == "move" {
			mu.Unlock()
			moved := conn.Move(netip.AddrPortFrom(netip.MustParseAddr(rest), amt.Port))
			mu.Lock()
			r.Moved = moved
		}
		if way, ok := conn.Way(); ok {
			r.Way = way.String()
		}
		if word == "count" && highest > 0 {
			// Equal payloads at the edges may belong to either side.
			wantEqual := 0
			for i := lowest; i < highest; i++ {
				if (i-1)%20 == 7 {
					wantEqual++
				} else if seen[i] == 0 {
					r.Lost++
				} else {
					r.Doubled += seen[i] - 1
				}
			}
			r.Lost += max(0, wantEqual-equal-1)
			r.Doubled += max(0, equal-wantEqual-1)
			clear(seen)
			equal, lowest, highest = 0, 0, 0
		}
		err := out.Encode(r)
		r = reception{First: r.First}
		mu.Unlock()
		if err != nil {
			return fail(err)
		}
	}
	return 0
}

// dialer is a receiver on a node.
type dialer struct {
	t   *testing.T
	in  io.WriteCloser
	out *json.Decoder
}

func (l *lab) dial(t *testing.T, node string, ch ssm.Channel, mode string, relays ...string) *dialer {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	args := append([]string{"netns", "exec", l.name + "-" + node, self, ch.Source.String(), ch.Destination().String(), mode}, relays...)
	cmd := exec.Command("ip", args...)
	cmd.Env = append(l.env, dialVariable+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close() // which ends it
		_ = cmd.Wait()
	})
	return &dialer{t, in, json.NewDecoder(out)}
}

func (d *dialer) say(line string) (r reception) {
	d.t.Helper()
	_, err := fmt.Fprintln(d.in, line)
	require.NoError(d.t, err)
	require.NoError(d.t, d.out.Decode(&r))
	return r
}

// ask tells what came since the question before; count also what was lost or
// doubled, since it was counted last.
func (d *dialer) ask() reception   { d.t.Helper(); return d.say("ask") }
func (d *dialer) count() reception { d.t.Helper(); return d.say("count") }

// receives waits until packets come by a way.
func (d *dialer) receives(way string) (r reception) {
	d.t.Helper()
	eventually(d.t, 20*time.Second, "packets by "+way, func() bool {
		now := d.ask()
		r.First, r.Way = now.First, now.Way
		r.Pause = max(r.Pause, now.Pause)
		r.Switch = append(r.Switch, now.Switch...)
		r.Packets += now.Packets
		return now.Way == way && now.Packets > 0
	})
	return r
}

// multicast sends numbered packets from a node until the test ends.
func (l *lab) multicast(t *testing.T, node string, ch ssm.Channel, interval time.Duration) *atomic.Uint64 {
	t.Helper()
	var tx *ssm.Sender
	require.NoError(t, l.inside(node, func() (err error) {
		tx, err = ssm.NewSender(ch.Source, &ssm.SenderConfig{TTL: 16})
		return err
	}))
	sent := new(atomic.Uint64)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		b := make([]byte, 1316)
		for next := time.Now(); ctx.Err() == nil; next = next.Add(interval) {
			time.Sleep(time.Until(next))
			numbered(sent.Load(), b)
			if _, err := tx.WriteBatch([][]byte{b}, ch.Destination()); err != nil {
				return
			}
			sent.Add(1)
		}
	})
	t.Cleanup(func() { cancel(); done.Wait(); _ = tx.Close() })
	return sent
}
