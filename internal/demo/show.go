package demo

import (
	"context"
)

func show(ctx context.Context, t *Tree, o Options, key string) error {
	o.Print("CAST takes pushes at " + ingestPath(t.Cast.IngestURL(), key))
	for i, b := range t.Beacons {
		o.Print(BeaconName(i) + ": " + b.URL() + "/" + channel + "/master.m3u8")
	}
	return push(ctx, t, o, key)
}
