package sealing

import "time"

const (
	// askAgain is the pause before the parents are asked again for the seals of an object; it doubles up to askAgainMost.
	askAgain     = 50 * time.Millisecond
	askAgainMost = 500 * time.Millisecond
	// restless is how long octets may wait for the seal of a parent that was asked for it before the next parent is asked,
	// too, or the same one on a new connection. Whoever was cut off says nothing, and whoever gives the octets may be
	// another one by now.
	restless = 350 * time.Millisecond
	// maxStreams bounds the requests for the seals of one object at a time.
	maxStreams = 3
)

// seals asks for the seals of an object until the last one is there.
func (f *Fetcher) seals(w *Inflow, name string, generation uint64) {
	ended := make(chan bool, maxStreams) // a request, and whether it was of use
	running, next := 0, 0
	var asked time.Time
	ask := func() bool {
		parents := f.Client.Parents()
		if running == 0 && next >= len(parents) {
			return false
		}
		if next >= len(parents) {
			// All have been asked, and one of them hangs: what connections there are lead nowhere, perhaps.
			f.Client.HTTP.CloseIdleConnections()
		}
		base := parents[next%len(parents)]
		next++
		running++
		asked = time.Now()
		w.work.Go(func() {
			news, err := f.Client.from(w.ctx, base, f.Gate.cfg.Service.Name(), name, generationQuery(generation), f.Gate.PushParent)
			ended <- news > 0 && err == nil
		})
		return true
	}
	pause := askAgain
	again := time.NewTimer(0)
	defer again.Stop()
	look := time.NewTicker(restless / 4)
	defer look.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-again.C:
			next = 0
			if !ask() {
				again.Reset(askAgainMost)
			}
		case <-look.C:
			if running > 0 && running < maxStreams && time.Since(asked) >= restless && w.waits() && len(f.Client.Parents()) > 0 {
				ask()
			}
		case good := <-ended:
			running--
			switch {
			case w.object.End() >= 0:
				return
			case running > 0, !good && ask():
			case good:
				pause = askAgain
				again.Reset(pause)
			default:
				again.Reset(pause)
				pause = min(2*pause, askAgainMost)
			}
		}
	}
}

// waits tells whether octets wait for a seal for too long.
func (w *Inflow) waits() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held) > 0 && time.Since(w.from) >= restless
}
