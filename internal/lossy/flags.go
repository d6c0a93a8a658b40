package lossy

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Flags binds flags that set c, for the commands of receiving nodes.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.Func("inject-loss", "drop this `share` of the received packets on purpose, 0 to 1", func(text string) error {
		share, err := strconv.ParseFloat(text, 64)
		if err != nil || !(share >= 0 && share <= 1) {
			return fmt.Errorf("%q is not a share from 0 to 1", text)
		}
		c.Random = share
		return nil
	})
	fs.Func("inject-burst", "drop all received packets for a time, again and again, as `200ms/5s`", func(text string) error {
		length, every, ok := strings.Cut(text, "/")
		f, err1 := time.ParseDuration(length)
		e, err2 := time.ParseDuration(every)
		if !ok || err1 != nil || err2 != nil || f <= 0 || e <= f {
			return fmt.Errorf("%q is not length/period, as in 200ms/5s", text)
		}
		c.BurstFor, c.BurstEvery = f, e
		return nil
	})
	fs.Uint64Var(&c.Seed, "inject-seed", c.Seed, "`number` that decides which packets -inject-loss drops")
}
