package gmp

import "fmt"

// Check verifies that the parts of the router's state agree.
func (r *Router) Check() error {
	groups, sources := 0, 0
	refs := make([]uint32, r.channels.used+1) // by channel
	members := make([]int, r.channels.used+1)
	for l := uint32(1); l <= r.links.used; l++ {
		k := r.links.at(l)
		n := 0
		for g := k.first; g != 0; g = r.groups.at(g).next {
			n++
			groups++
			s := r.groups.at(g)
			refs[s.channel]++
			if s.link != Link(l) {
				return fmt.Errorf("group %d: link %d instead of %d", g, s.link, l)
			}
			if s.mode == Exclude {
				members[s.channel]++
				if r.channels.at(s.channel).members[s.pos] != g {
					return fmt.Errorf("group %d: not where it should be in its channel", g)
				}
			}
			count := 0
			for i := s.first; i != 0; i = r.sources.at(i).next {
				count++
				sources++
				src := r.sources.at(i)
				refs[src.channel]++
				c := r.channels.at(src.channel)
				if s.mode == Include {
					members[src.channel]++
					if c.members[src.pos] != g || c.owners[src.pos] != i {
						return fmt.Errorf("source %d: not where it should be in its channel", i)
					}
					if src.expiry == 0 {
						return fmt.Errorf("source %d: no timer", i)
					}
				}
			}
			if count != int(s.sources) {
				return fmt.Errorf("group %d: %d sources counted, %d found", g, s.sources, count)
			}
			if s.mode == Include && count == 0 {
				return fmt.Errorf("group %d: empty", g)
			}
		}
		if n != int(k.groups) {
			return fmt.Errorf("link %d: %d groups counted, %d found", l, k.groups, n)
		}
		if !k.shared && (k.first == 0) != (k.due == 0) {
			return fmt.Errorf("link %d: timer due %d, first group %d", l, k.due, k.first)
		}
	}
	for l, s := range r.shared {
		if len(s.groups) != int(r.links.at(uint32(l)).groups) {
			return fmt.Errorf("link %d: %d groups in the index, %d alive", l, len(s.groups), r.links.at(uint32(l)).groups)
		}
		for ch, g := range s.groups {
			if r.groups.at(g).channel != ch || r.groups.at(g).link != l {
				return fmt.Errorf("link %d: wrong group %d in the index", l, g)
			}
		}
		for g, a := range s.asked {
			if s.groups[r.groups.at(g).channel] != g {
				return fmt.Errorf("link %d: group %d is asked for and gone", l, g)
			}
			if a.group.left <= 0 && len(a.sources) == 0 {
				return fmt.Errorf("link %d: nothing is asked of group %d", l, g)
			}
			for ch := range a.sources {
				if *r.findSource(g, ch) == 0 {
					return fmt.Errorf("link %d: source of group %d is asked for and gone", l, g)
				}
			}
		}
		for g := range s.older {
			if s.groups[r.groups.at(g).channel] != g {
				return fmt.Errorf("link %d: group %d has older hosts and is gone", l, g)
			}
		}
	}
	if groups != r.groups.live || sources != r.sources.live {
		return fmt.Errorf("%d groups and %d sources reached, %d and %d alive", groups, sources, r.groups.live, r.sources.live)
	}
	channels := 0
	for i := uint32(1); i <= r.channels.used; i++ {
		if refs[i] > 0 {
			channels++
		}
		if c := r.channels.at(i); c.refs != refs[i] || len(c.members) != members[i] {
			return fmt.Errorf("channel %d: %d references and %d members, found %d and %d", i, c.refs, len(c.members), refs[i], members[i])
		}
	}
	if channels != r.channels.live || len(r.index) != r.channels.live {
		return fmt.Errorf("%d channels reached, %d alive, %d in the index", channels, r.channels.live, len(r.index))
	}
	return nil
}

// States returns the number of source and group records.
func (r *Router) States() (groups, sources int) { return r.groups.live, r.sources.live }
