package amt

import "time"

// SilenceNative makes native reception count as silent for longer than
// NativeTimeout, from now until the next packet, as it would if it had lasted.
func (c *Conn) SilenceNative() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returnedAt = time.Time{}
	c.nativeAt = time.Now().Add(-c.config.NativeTimeout)
	c.poke()
}

// LinkMTU is linkMTU.
var LinkMTU = linkMTU
