package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"time"
)

// override is one flag as it was given. It was parsed when the flag was, so
// that a wrong one ends the program at once; it is applied at each load.
type override[T Role] struct {
	flag  string
	apply func(*editing[T]) (path string, err error)
}

// editing is a document while flags are applied to it, in their order.
type editing[T Role] struct {
	doc *T
	// item is the channel or service that -channel or -service named last,
	// as an index; -1 before that.
	item int
	// begun holds the paths of lists that flags have begun anew.
	begun map[string]bool
}

func (s *Source[T]) override(c *T, p *problems) {
	e := &editing[T]{doc: c, item: -1, begun: map[string]bool{}}
	whole := len(p.list) == 0
	for _, o := range s.overrides {
		path, err := o.apply(e)
		switch {
		case err == nil:
			p.replaced(path, o.flag)
		case whole:
			// Without what could not be read, a flag may not find its place.
			p.list = append(p.list, Problem{Flag: o.flag, Reason: err.Error()})
		}
	}
}

// binder binds the flags of one role.
type binder[T Role] struct {
	fs  *flag.FlagSet
	src *Source[T]
}

// setting binds a flag to the value that at finds in the document.
func setting[T Role, V any](b binder[T], name, usage string, at func(*editing[T]) (*V, string, error)) {
	parsed(b, name, usage, at, func(v *V, text string) error {
		return setScalar(reflect.ValueOf(v).Elem(), text)
	})
}

// parsed is setting for values of which the flag's text is not the file's.
func parsed[T Role, V any](b binder[T], name, usage string, at func(*editing[T]) (*V, string, error), parse func(*V, string) error) {
	b.fs.Func(name, usage, func(text string) error {
		if err := parse(new(V), text); err != nil {
			return err
		}
		b.src.overrides = append(b.src.overrides, override[T]{"-" + name, func(e *editing[T]) (string, error) {
			v, path, err := at(e)
			if err != nil {
				return "", err
			}
			// Into the value that stands there: a flag for a part of it
			// leaves the rest.
			return path, parse(v, text)
		}})
		return nil
	})
}

// fixed is the place of a value that is there once.
func fixed[T Role, V any](path string, at func(*T) *V) func(*editing[T]) (*V, string, error) {
	return func(e *editing[T]) (*V, string, error) { return at(e.doc), path, nil }
}

func bind[T Role](fs *flag.FlagSet, s *Source[T]) {
	switch s := any(s).(type) {
	case *Source[Cast]:
		bindCast(binder[Cast]{fs, s})
	case *Source[Relay]:
		bindRelay(binder[Relay]{fs, s})
	case *Source[Beacon]:
		bindBeacon(binder[Beacon]{fs, s})
	case *Source[AMTRelay]:
		bindAMTRelay(binder[AMTRelay]{fs, s})
	}
}

func bindNode[T Role](b binder[T], at func(*T) (*Node, *Admin, *Log)) {
	node := func(c *T) *Node { n, _, _ := at(c); return n }
	log := func(c *T) *Log { _, _, l := at(c); return l }
	setting(b, "name", "`name` of the node in status, metrics and logs (default: the host's)", fixed("node.name", func(c *T) *string { return &node(c).Name }))
	setting(b, "state-dir", "`directory` for what must survive a restart", fixed("node.state_dir", func(c *T) *Path { return &node(c).StateDir }))
	setting(b, "clock-offset", "`duration` added to the clock", fixed("node.clock_offset", func(c *T) *time.Duration { return &node(c).ClockOffset }))
	setting(b, "admin", "`address` for /metrics and /status, or off", fixed("admin.listen", func(c *T) *Listen { _, a, _ := at(c); return &a.Listen }))
	setting(b, "log-level", "debug, info, warn or error", fixed("log.level", func(c *T) *slog.Level { return &log(c).Level }))
	setting(b, "log-format", "text or json", fixed("log.format", func(c *T) *string { return &log(c).Format }))
}

func bindCast(b binder[Cast]) {
	bindNode(b, func(c *Cast) (*Node, *Admin, *Log) { return &c.Node, &c.Admin, &c.Log })
	setting(b, "listen", "`address` where publishers push, or off (default 127.0.0.1:8090)", fixed("ingest.listen", func(c *Cast) *Listen { return &c.Ingest.Listen }))
	setting(b, "repair", "`address` where children fetch, or off (default 127.0.0.1:8081)", fixed("repair.listen", func(c *Cast) *Listen { return &c.Repair.Listen }))
	bindItem(b, "channel", "channels", func(c *Cast) *[]Channel { return &c.Channels }, func(ch *Channel) *string { return &ch.Name })
	channel := func(path string) func(*editing[Cast]) (*Channel, string, error) {
		return item(path, "channel", func(c *Cast) *[]Channel { return &c.Channels })
	}
	setting(b, "pull", "`URL` of a live manifest to fetch for the channel", part(channel("pull"), func(ch *Channel) *URL { return &ch.Pull }))
	appended(b, "key", "stream key of the channel: `env:NAME`, file:PATH or sha256:HEX; may be repeated", part(channel("keys"), func(ch *Channel) *[]StreamKey { return &ch.Keys }))
	setting(b, "seal-key", "`env:NAME` or file:PATH of the key that seals the channel (default: one of its own)", part(channel("seal_key"), func(ch *Channel) *SealKey { return &ch.SealKey }))
	boolean(b, "unsigned", "send no seals with the channel", part(channel("unsigned"), func(ch *Channel) *bool { return &ch.Unsigned }))
	bindDownstream(b, "", part(channel("multicast"), func(ch *Channel) *Downstream { return &ch.Multicast }))
}

func bindRelay(b binder[Relay]) {
	bindNode(b, func(c *Relay) (*Node, *Admin, *Log) { return &c.Node, &c.Admin, &c.Log })
	setting(b, "listen", "`address` where players fetch, or off (default 127.0.0.1:8080)", fixed("http.listen", func(c *Relay) *Listen { return &c.HTTP.Listen }))
	setting(b, "repair", "`address` where children fetch, or off (default 127.0.0.1:8081)", fixed("repair.listen", func(c *Relay) *Listen { return &c.Repair.Listen }))
	bindCache(b, func(c *Relay) *Cache { return &c.Cache })
	services := func(c *Relay) *[]RelayService { return &c.Services }
	bindItem(b, "service", "services", services, func(s *RelayService) *string { return &s.Name })
	bindService(b, func(path string) func(*editing[Relay]) (*Service, string, error) {
		return part(item(path, "service", services), func(s *RelayService) *Service { return &s.Service })
	})
	setting(b, "out-seal-key", "`env:NAME` or file:PATH of the key that seals the signalling sent (default: one of its own)", part(item("seal_key", "service", services), func(s *RelayService) *SealKey { return &s.SealKey }))
	appended(b, "amt", "`address` where AMT gateways ask; may be repeated", fixed("amt.listen", func(c *Relay) *[]AMTAddress { return &c.AMT.Listen }))
	bindDownstream(b, "out-", part(item("downstream", "service", services), func(s *RelayService) *Downstream { return &s.Downstream }))
}

func bindBeacon(b binder[Beacon]) {
	bindNode(b, func(c *Beacon) (*Node, *Admin, *Log) { return &c.Node, &c.Admin, &c.Log })
	setting(b, "listen", "`address` where players fetch, or off (default 127.0.0.1:8088)", fixed("http.listen", func(c *Beacon) *Listen { return &c.HTTP.Listen }))
	bindCache(b, func(c *Beacon) *Cache { return &c.Cache })
	services := func(c *Beacon) *[]Service { return &c.Services }
	bindItem(b, "service", "services", services, func(s *Service) *string { return &s.Name })
	bindService(b, func(path string) func(*editing[Beacon]) (*Service, string, error) {
		return item(path, "service", services)
	})
}

func bindCache[T Role](b binder[T], at func(*T) *Cache) {
	setting(b, "cache-memory", "most `octets` of objects in memory (default 256MiB)", fixed("cache.memory", func(c *T) *Size { return &at(c).Memory }))
	setting(b, "cache-dir", "`directory` of the disk cache", fixed("cache.disk.dir", func(c *T) *Path { return &at(c).Disk.Dir }))
	setting(b, "cache-size", "most `octets` of the disk cache (default 4GiB)", fixed("cache.disk.size", func(c *T) *Size { return &at(c).Disk.Size }))
}

func bindService[T Role](b binder[T], service func(path string) func(*editing[T]) (*Service, string, error)) {
	upstream := func(path string) func(*editing[T]) (*Upstream, string, error) {
		return part(service("upstream"+path), func(s *Service) *Upstream { return &s.Upstream })
	}
	bindSession(b, "", "that the service comes from", part(upstream(""), func(u *Upstream) *Session { return &u.Session }))
	appended(b, "parent", "`URL` of a parent's repair server; may be repeated, in order", part(upstream(".parents"), func(u *Upstream) *[]URL { return &u.Parents }))
	appended(b, "anchor", "public `key` of the service's root, or file:PATH; may be repeated, the newest last", part(upstream(".anchors"), func(u *Upstream) *[]Anchor { return &u.Anchors }))
	appended(b, "hop-anchor", "public `key` of the sender of that group, or file:PATH; may be repeated (default: as -anchor)", part(upstream(".hop_anchors"), func(u *Upstream) *[]Anchor { return &u.HopAnchors }))
	appended(b, "amt-relay", "`address` or name of an AMT relay through which the service may come; may be repeated, in order", part(upstream(".amt.relays"), func(u *Upstream) *[]AMTHost { return &u.AMT.Relays }))
	setting(b, "amt-mode", "`way` of the service: native, tunnel, auto or adaptive", part(upstream(".amt.mode"), func(u *Upstream) *AMTMode { return &u.AMT.Mode }))
	boolean(b, "driad", "look for AMT relays by the DNS", part(upstream(".amt.driad"), func(u *Upstream) *bool { return &u.AMT.DRIAD }))
	setting(b, "cache-key", "`env:NAME` or file:PATH of the key that encrypts the cached service", part(service("cache_key"), func(s *Service) *CacheKey { return &s.CacheKey }))
	boolean(b, "unsigned", "the service is a third party's and carries no seals", part(upstream(".unsigned"), func(u *Upstream) *bool { return &u.Unsigned }))
}

func bindDownstream[T Role](b binder[T], prefix string, at func(*editing[T]) (*Downstream, string, error)) {
	bindSession(b, prefix, "that the stream is sent to", part(at, func(d *Downstream) *Session { return &d.Session }))
	setting(b, prefix+"ttl", "TTL of the packets sent (default 16)", under(at, "ttl", func(d *Downstream) *int { return &d.TTL }))
	setting(b, prefix+"rate", "`pace` of the packets sent, like 20Mbit/s (default: from the measured peak)", under(at, "rate", func(d *Downstream) *Rate { return &d.Rate }))
	parsed(b, prefix+"loss", "`share` of lost packets that receivers are to bear, or off (default 0.1)", under(at, "fec", func(d *Downstream) *FEC { return &d.FEC }),
		func(f *FEC, text string) error {
			if text == "off" {
				*f = FEC{Off: true}
				return nil
			}
			f.Off = false
			return setScalar(reflect.ValueOf(&f.Loss).Elem(), text)
		})
}

func bindSession[T Role](b binder[T], prefix, what string, at func(*editing[T]) (*Session, string, error)) {
	parsed(b, prefix+"group", "`group:port` "+what, under(at, "group", func(s *Session) *Session { return s }),
		func(s *Session, text string) error {
			ap, err := netip.ParseAddrPort(text)
			if err != nil {
				return fmt.Errorf("%q is not group:port (write it like 232.1.1.1:6000)", text)
			}
			s.Group, s.Port = ap.Addr(), ap.Port()
			return nil
		})
	setting(b, prefix+"source", "`address` of the sender of that group", under(at, "source", func(s *Session) *netip.Addr { return &s.Source }))
	setting(b, prefix+"interface", "`name` of the network interface for that group", under(at, "interface", func(s *Session) *string { return &s.Interface }))
}

// bindItem binds the flag that names the channel or service of the flags behind
// it: one of the file, or else a new one.
func bindItem[T Role, I any](b binder[T], name, list string, items func(*T) *[]I, nameOf func(*I) *string) {
	b.fs.Func(name, "`name` of the "+name+" that the flags behind it are for; may be repeated", func(text string) error {
		if text == "" {
			return errors.New("a name is missing")
		}
		b.src.overrides = append(b.src.overrides, override[T]{"-" + name, func(e *editing[T]) (string, error) {
			all := items(e.doc)
			for i := range *all {
				if *nameOf(&(*all)[i]) == text {
					e.item = i
					return fmt.Sprintf("%s[%d].name", list, i), nil
				}
			}
			var fresh I
			*nameOf(&fresh) = text
			*all = append(*all, fresh)
			e.item = len(*all) - 1
			return fmt.Sprintf("%s[%d]", list, e.item), nil
		}})
		return nil
	})
}

// item is the place of a part of the named channel or service; without a name,
// that of the only one.
func item[T Role, I any](path, name string, items func(*T) *[]I) func(*editing[T]) (*I, string, error) {
	return func(e *editing[T]) (*I, string, error) {
		all, i := items(e.doc), e.item
		if i < 0 && len(*all) == 1 {
			i = 0
		}
		if i < 0 {
			return nil, "", fmt.Errorf("for which %s? put -%s NAME before it", name, name)
		}
		return &(*all)[i], fmt.Sprintf("%ss[%d].%s", name, i, path), nil
	}
}

// part goes on to a part of a value whose path has been given in full.
func part[T Role, A, B any](at func(*editing[T]) (*A, string, error), to func(*A) *B) func(*editing[T]) (*B, string, error) {
	return func(e *editing[T]) (*B, string, error) {
		a, path, err := at(e)
		if err != nil {
			return nil, "", err
		}
		return to(a), path, nil
	}
}

// under goes on to a part of a value and adds its key to the path.
func under[T Role, A, B any](at func(*editing[T]) (*A, string, error), key string, to func(*A) *B) func(*editing[T]) (*B, string, error) {
	return func(e *editing[T]) (*B, string, error) {
		b, path, err := part(at, to)(e)
		return b, join(path, key), err
	}
}

// appended binds a flag each of whose uses adds to a list. The first use in a
// load takes the place of the file's list.
func appended[T Role, V any](b binder[T], name, usage string, at func(*editing[T]) (*[]V, string, error)) {
	parsed(b, name, usage, func(e *editing[T]) (*[]V, string, error) {
		list, path, err := at(e)
		if err == nil && !e.begun[path] {
			e.begun[path] = true
			*list = nil
		}
		return list, path, err
	}, func(list *[]V, text string) error {
		var v V
		if err := setScalar(reflect.ValueOf(&v).Elem(), text); err != nil {
			return err
		}
		*list = append(*list, v)
		return nil
	})
}

// boolean binds a flag that needs no value.
func boolean[T Role](b binder[T], name, usage string, at func(*editing[T]) (*bool, string, error)) {
	b.fs.BoolFunc(name, usage, func(text string) error {
		on := text == "true" || text == "1"
		if !on && text != "false" && text != "0" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		b.src.overrides = append(b.src.overrides, override[T]{"-" + name, func(e *editing[T]) (string, error) {
			v, path, err := at(e)
			if err == nil {
				*v = on
			}
			return path, err
		}})
		return nil
	})
}
