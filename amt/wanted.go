package amt

import (
	"net/netip"
	"slices"

	"github.com/treedn/treedn/amt/gmp"
)

// wantedGroups are the channels of many that are wanted together, by group, so that a
// change of one costs no look at all others.
type wantedGroups map[netip.Addr]*wantedGroup

type wantedGroup struct {
	sources []netip.Addr // sorted
	all     bool         // of its sources are wanted
}

// set adds or removes a channel, which is a group as a whole if the source is the zero
// address, and returns what is wanted of the group then; the Filter is valid until the
// next call.
func (w wantedGroups) set(source, group netip.Addr, wanted bool) gmp.Filter {
	g := w[group]
	if g == nil {
		g = new(wantedGroup)
		w[group] = g
	}
	if !source.IsValid() {
		g.all = wanted
	} else if i, found := slices.BinarySearchFunc(g.sources, source, netip.Addr.Compare); found != wanted {
		if wanted {
			g.sources = slices.Insert(g.sources, i, source)
		} else {
			g.sources = slices.Delete(g.sources, i, i+1)
		}
	}
	switch {
	case g.all:
		return gmp.Filter{Mode: gmp.Exclude}
	case len(g.sources) == 0:
		delete(w, group)
	}
	return gmp.Filter{Sources: g.sources}
}
