package route

import (
	"testing"

	"github.com/treedn/treedn/fec"
	"github.com/treedn/treedn/fec/raptorq"
)

// What it costs to plan the repair of a block beside encoding it.
func BenchmarkPlanGrowing(b *testing.B) {
	loss := fec.Loss{Random: 0.1, Target: 1e-5}
	for _, c := range []struct {
		name          string
		each, packets int
	}{{"video", 1344, 34}, {"small video", 1100, 8}, {"audio", 256, 17}} {
		packets := make([][]span, 64)
		for i := range packets {
			off := uint32(0)
			for range c.packets {
				n := uint32(c.each)
				if c.each < 1344 {
					n += uint32(randomBytes(uint64(i), 1)[0]) / 4
				}
				packets[i] = append(packets[i], span{off, n})
				off += n
			}
		}
		for _, fresh := range []bool{true, false} {
			name := c.name + "/remembered"
			if fresh {
				name = c.name + "/anew"
			}
			b.Run(name, func(b *testing.B) {
				var p plans
				for i := 0; b.Loop(); i++ {
					if fresh {
						p = plans{}
					}
					p.growing(packets[i%64], 1344, loss, 4)
				}
			})
		}
	}
}

// What it costs to plan the repair of a whole object of two seconds of 2 Mbit/s whose blocks overlap.
func BenchmarkPlanRestOfWindows(b *testing.B) {
	var spans []span
	for i := range 400 {
		spans = append(spans, span{uint32(i * 1250), 1250})
	}
	var blocks []sentBlock
	for i := 8; i <= 400; i += 8 {
		x := sentBlock{first: i - 8, last: i, group: 4, count: 3, window: true}
		x.size, x.start = 312, int64(max(0, i-windowPackets)*1250/312*312)
		x.length = i*1250 - int(x.start)
		blocks = append(blocks, x)
	}
	loss := fec.Loss{Random: 0.1, Target: 1e-6}
	for b.Loop() {
		planRest(loss, spans, blocks, 1344, 1, 0, superSymbols(400*1250, 1344))
	}
}

// What it costs to solve blocks together: six of 32 packets, of which four are missing.
func BenchmarkJointDecode(b *testing.B) {
	j := &jointDecode{size: 88, codec: &raptorq.Codec{}, rows: &coefficients{}, source: make([]byte, 88*200)}
	for i := range 6 {
		w := windowBlock{growingBlock: growingBlock{start: int64(i * 4 * 88), length: 88 * 150, size: 88}, known: make([]bool, 150)}
		for s := range w.known {
			w.known[s] = (s+i*4)/5%8 != 3 || s+i*4 > 120
		}
		for e := range 5 {
			w.esis = append(w.esis, uint32(150+e))
		}
		w.repair = make([]byte, 5*88)
		j.blocks = append(j.blocks, w)
	}
	for b.Loop() {
		j.run()
		if j.err != nil {
			b.Fatal(j.err)
		}
	}
}
