package ingest

import (
	"crypto/sha256"
	"time"

	"github.com/treedn/treedn/internal/manifest"
)

// takeInit takes a complete init segment. One that differs from its predecessor
// begins a run on the tracks that need it; an equal one is not handed on again.
func (c *channel) takeInit(t *transfer) error {
	body := t.buf
	hash := sha256.Sum256(body)
	asked := c.config.Now()
	for {
		now := c.config.Now()
		c.mu.Lock()
		if t.cancelled != nil {
			c.mu.Unlock()
			return t.cancelled
		}
		old := c.inits[t.name]
		if old != nil && old.hash == hash && old.session == c.session && !old.deleted {
			old.used = t.generation
			c.mu.Unlock()
			return nil
		}
		v, until := accept, now
		if old != nil && old.hash != hash {
			v, until = c.changeInit(t, asked, now)
		}
		if v == accept {
			c.inits[t.name] = &initSegment{hash: hash, kind: initKind(body), session: c.session, used: t.generation}
			forgotten := c.forgetInit()
			kind := c.inits[t.name].kind
			c.mu.Unlock()
			return c.handInit(t, body, kind, forgotten)
		}
		var err error
		if v == refuse {
			err = c.refused(t.who, now, "it changes "+t.name+" beside a living encoder")
		}
		changed := c.changed
		c.mu.Unlock()
		if err == nil {
			err = await(t.ctx, until.Sub(now), changed)
		}
		if err != nil {
			return err
		}
	}
}

// changeInit decides on an init segment with new content. c.mu is held.
func (c *channel) changeInit(t *transfer, asked, now time.Time) (verdict, time.Time) {
	var concerned []*track
	epoch := uint64(0)
	for _, tr := range c.tracks {
		// A run that began after this request did has this init segment: media
		// may overtake it.
		if tr.run == 0 || tr.run > t.generation || tr.session != c.session {
			continue
		}
		if needs := c.index.InitOf(tr.template.Name(tr.newest)); needs == t.name || needs == "" {
			concerned = append(concerned, tr)
			epoch = max(epoch, tr.epoch)
		}
	}
	if len(concerned) == 0 {
		return accept, now
	}
	if v, until := c.contest(t, epoch, asked, now); v != accept {
		return v, until
	}
	for _, tr := range concerned {
		tr.restart = true
	}
	if epoch == c.epoch {
		c.nextEpoch()
		c.config.Logger.Info("encoder began again", "channel", c.name, "name", t.name)
	}
	return accept, now
}

// forgetInit makes room for init segments and returns the name of the one that
// was used longest ago, if there were too many. c.mu is held.
func (c *channel) forgetInit() string {
	if len(c.inits) <= maxInits {
		return ""
	}
	oldest := ""
	for name, i := range c.inits {
		if oldest == "" || i.used < c.inits[oldest].used {
			oldest = name
		}
	}
	delete(c.inits, oldest)
	return oldest
}

// handInit hands an init segment to the disk and the sink.
func (c *channel) handInit(t *transfer, body []byte, kind manifest.Kind, forgotten string) error {
	o := Object{
		Channel: c.name, Name: t.name, Kind: Init, Generation: t.generation,
		ContentType: contentType(t.name, t.contentType, kind),
		Track:       manifest.Track{Kind: kind, Init: t.name},
	}
	if err := deliver(c.sink, o, body); err != nil {
		return err
	}
	c.mu.Lock()
	c.signal() // a segment may wait for its kind
	c.mu.Unlock()
	if c.store == nil {
		return nil
	}
	err := c.store.saveInit(savedInit{Name: o.Name, ContentType: o.ContentType, Generation: o.Generation, body: body})
	if err == nil && forgotten != "" {
		err = c.store.removeInit(forgotten)
	}
	if err != nil {
		// The channel works without; a restart would need the encoder's too.
		c.config.Logger.Error("init segment is not kept", "channel", c.name, "name", t.name, "error", err)
	}
	return nil
}

// takeManifest swaps in a complete manifest.
func (c *channel) takeManifest(t *transfer) error {
	if len(t.buf) == 0 {
		c.config.Logger.Warn("empty manifest passed over", "channel", c.name, "name", t.name)
		return nil
	}
	summary, parseErr := manifest.Inspect(t.buf, c.index.Limits)
	if parseErr == nil {
		if err := c.admitManifest(t, summary); err != nil {
			return err
		}
	}
	c.manifests.Lock()
	defer c.manifests.Unlock()
	c.mu.Lock()
	old, known := c.manifest[t.name]
	if d := t.order.Compare(old.order); known && (d < 0 || d == 0 && t.generation < old.generation) {
		c.mu.Unlock()
		return nil // one that was opened later has been swapped in already
	}
	if t.generation <= old.generation {
		t.generation = c.seq.next(c.config.Now())
	}
	c.mu.Unlock()
	o := Object{
		Channel: c.name, Name: t.name, Kind: Manifest, Generation: t.generation,
		ContentType: contentType(t.name, t.contentType, manifest.Unknown),
	}
	if err := deliver(c.sink, o, t.buf); err != nil {
		return err
	}
	if parseErr == nil {
		parseErr = c.index.Update(t.name, t.buf)
	}
	if parseErr != nil {
		// Players may understand what this parser does not.
		c.config.Logger.Warn("manifest is not understood", "channel", c.name, "name", t.name, "error", parseErr)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !known && len(c.manifest) >= maxManifests {
		clear(c.manifest)
	}
	now := c.config.Now()
	c.manifest[t.name] = manifestState{summary: summary, generation: t.generation, order: t.order, epoch: c.epoch}
	switch {
	case parseErr != nil || summary.Master:
	case summary.Ended:
		c.ended = now
	case old.summary.Ended || now.Sub(c.ended) > settle:
		c.ended = time.Time{}
	}
	c.signal()
	return nil
}

// admitManifest holds back a manifest of another presentation than that of its
// predecessor until it is clear that the encoder of that is gone.
func (c *channel) admitManifest(t *transfer, s manifest.Summary) error {
	asked, waited := c.config.Now(), false
	for {
		now := c.config.Now()
		c.mu.Lock()
		if t.cancelled != nil {
			c.mu.Unlock()
			return t.cancelled
		}
		v, until := accept, now
		old, known := c.manifest[t.name]
		if known && !waited && t.order.Before(old.order) {
			c.mu.Unlock()
			return nil // overtaken on its way; it will be passed over
		}
		if known && old.epoch == c.epoch && s.Replaces(old.summary) {
			v, until = c.contest(t, old.epoch, asked, now)
		}
		var err error
		if v == refuse {
			err = c.refused(t.who, now, t.name+" is of another presentation beside a living encoder")
		}
		changed := c.changed
		c.mu.Unlock()
		if v == accept || err != nil {
			return err
		}
		if err := await(t.ctx, until.Sub(now), changed); err != nil {
			return err
		}
		waited = true
	}
}
