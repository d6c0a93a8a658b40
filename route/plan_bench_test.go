package route

import (
	"testing"

	"github.com/treedn/treedn/fec"
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
