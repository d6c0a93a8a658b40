package ssm_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/treedn/treedn/amt/ssm"
	"github.com/treedn/treedn/amt/ssm/ssmtest"
)

// pump sends batches of packets to a receiver and reads each batch whole.
type pump struct {
	ch       ssm.Channel
	tx       *ssm.Sender
	rx       *ssm.Receiver
	batch    [][]byte
	messages []ssm.Message
}

func newPump(tb testing.TB, packets int, offload bool) *pump {
	p := &pump{ch: ssmtest.Channel(tb), messages: ssm.NewMessages(16), batch: numbered(repeat(packets, 1400)...)}
	p.rx = join(tb, newHost(tb, ssm.Config{NoOffload: !offload}), p.ch)
	p.tx = newSender(tb, p.ch.Source, &ssm.SenderConfig{NoOffload: !offload})
	require.NoError(tb, p.rx.SetReadDeadline(time.Now().Add(time.Minute)))
	return p
}

func (p *pump) run(tb testing.TB) {
	if _, err := p.tx.WriteBatch(p.batch, p.ch.Destination()); err != nil {
		tb.Fatal(err)
	}
	for got := 0; got < len(p.batch); {
		n, err := p.rx.ReadBatch(p.messages)
		if err != nil {
			tb.Fatal(err)
		}
		for i := range p.messages[:n] {
			for range p.messages[i].Segments {
				got++
			}
		}
	}
}

func TestNothingIsAllocatedPerBatch(t *testing.T) {
	for _, offload := range []bool{true, false} {
		p := newPump(t, 70, offload)
		p.run(t)
		require.Zero(t, testing.AllocsPerRun(100, func() { p.run(t) }), "offload %v", offload)
	}
	var pacer ssm.Pacer
	pacer.Rate = 1000
	now := time.Unix(1000, 0)
	require.Zero(t, testing.AllocsPerRun(100, func() { pacer.Take(now, 10); pacer.Next(now, 10) }))
}

func BenchmarkLoopback(b *testing.B) {
	for _, packets := range []int{1, 45} {
		for _, offload := range []bool{true, false} {
			b.Run(fmt.Sprintf("packets=%d/offload=%v", packets, offload), func(b *testing.B) {
				p := newPump(b, packets, offload)
				b.SetBytes(int64(packets * 1400))
				b.ReportAllocs()
				for b.Loop() {
					p.run(b)
				}
				b.ReportMetric(float64(packets)*float64(b.N)/b.Elapsed().Seconds(), "packets/s")
			})
		}
	}
}
