package authority

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/treedn/treedn/driad/amtrelay"
	"github.com/treedn/treedn/driad/dns"
)

// Zone is a zone of the reverse tree, or of that of plain names.
type Zone struct {
	// Name is that of the top, such as 95.25.69.in-addr.arpa.
	Name dns.Name
	// For is the name in the reverse tree whose place Name takes, where Name is not in
	// that tree: 2.0.192.in-addr.arpa for the zone 0/26.2.0.192.in-addr.arpa to which
	// CNAME records of the former lead (RFC 2317), or what a DNAME record leads from.
	// Default: Name.
	For dns.Name
	// NameServers are those of the zone; the first is its primary.
	NameServers []dns.Name
	// Mailbox is that of who is responsible, with a dot for the @. Default:
	// hostmaster in the zone of the primary.
	Mailbox dns.Name
	// TTL of the relays and NegativeTTL of what does not exist. Default: 5 min and 1
	// min. Both are whole seconds.
	TTL, NegativeTTL time.Duration
}

// Config configures an [Authority].
type Config struct {
	Zones []Zone
	// MaxRecords bounds the relays of an answer, of which those of the lowest
	// precedence are taken first. Default: 8.
	MaxRecords int
	// MaxUDP bounds answers by UDP. Default: 1,232 octets.
	MaxUDP int
	// Serial is that of the SOA records to begin with; it grows with each SetRelays that
	// changes something. Default: 1, and the seconds since 1970 when a [Server] begins,
	// so that it is greater after a restart, without which secondaries would go on with
	// what they have.
	Serial uint32
	// Transfer are the networks of those who may have whole zones, by AXFR or IXFR
	// (RFC 5936, 1995). Default: nobody.
	Transfer []netip.Prefix
	// Rate bounds the answers by UDP of the same content to clients of one prefix, /24
	// or /56, per second, after a Burst. Default: 20 and 40; negative: no bound.
	Rate, Burst int
}

// ErrConfig is matched by errors about the configuration.
var ErrConfig = errors.New("authority: invalid configuration")

// Stats counts what an [Authority] did.
type Stats struct {
	Queries   uint64
	Answers   uint64 // with records
	Negative  uint64 // NXDOMAIN and no data
	Refused   uint64
	Malformed uint64 // form errors, and what was no query
	Truncated uint64
	Limited   uint64 // by the rate
	Transfers uint64 // of whole zones
}

type counters struct {
	queries, answers, negative, refused, malformed, truncated, limited, transfers atomic.Uint64
}

// Authority answers queries. Its methods are safe for concurrent use.
type Authority struct {
	config  Config
	zones   []zone // the longest names first
	table   atomic.Pointer[table]
	limiter *limiter
	stats   counters

	set     sync.Mutex // guards below; held by SetRelays
	relays  []Relay
	changed chan struct{} // closed and replaced when they change
}

type zone struct {
	Zone
	ttl, negative uint32
	source        amtrelay.Source
	moved         bool // Name is not For
}

// sourceOf returns what a name in the zone stands for.
func (z *zone) sourceOf(n *dns.Name) (s amtrelay.Source, ok bool) {
	if !z.moved {
		s, ok = amtrelay.ParseSource(n)
	} else if n.Equal(&z.Name) {
		s, ok = z.source, true
	} else if reverse, err := n.Substitute(&z.Name, &z.For); err == nil {
		s, ok = amtrelay.ParseSource(&reverse)
	}
	return s, ok && s.Plain == z.source.Plain
}

// New returns an authority without relays.
func New(config Config) (*Authority, error) {
	if config.MaxRecords <= 0 {
		config.MaxRecords = 8
	}
	if config.MaxUDP <= 0 {
		config.MaxUDP = dns.UDPSize
	}
	config.MaxUDP = min(max(config.MaxUDP, minUDP), 4096)
	for _, p := range config.Transfer {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("%w: transfer to %v", ErrConfig, p)
		}
	}
	a := &Authority{config: config, changed: make(chan struct{})}
	config.Serial = max(config.Serial, 1)
	if config.Rate >= 0 {
		if config.Rate == 0 {
			config.Rate = 20
		}
		if config.Burst <= 0 {
			config.Burst = 2 * config.Rate
		}
		a.limiter = newLimiter(config.Rate, config.Burst)
	}
	for _, z := range config.Zones {
		c := zone{Zone: z}
		if c.For.IsRoot() {
			c.For = z.Name
		}
		c.moved = !c.For.Equal(&z.Name)
		var ok bool
		if c.source, ok = amtrelay.ParseSource(&c.For); !ok || c.source.Below {
			return nil, fmt.Errorf("%w: zone %s is not in the reverse tree", ErrConfig, c.For)
		}
		if longest := z.Name.Len() - c.For.Len() + maxReverse; c.moved && longest > dns.MaxNameLen {
			return nil, fmt.Errorf("%w: zone %s: names in it would be of %d octets", ErrConfig, z.Name, longest)
		}
		if len(z.NameServers) == 0 {
			return nil, fmt.Errorf("%w: zone %s has no name servers", ErrConfig, z.Name)
		}
		if c.Mailbox.IsRoot() {
			m, err := parent(z.NameServers[0]).Under("hostmaster")
			if err != nil {
				return nil, fmt.Errorf("%w: zone %s: %w", ErrConfig, z.Name, err)
			}
			c.Mailbox = m
		}
		c.ttl, c.negative = seconds(z.TTL, 300), seconds(z.NegativeTTL, 60)
		a.zones = append(a.zones, c)
	}
	slices.SortStableFunc(a.zones, func(x, y zone) int { return y.Name.Len() - x.Name.Len() })
	t, err := compile(config.Serial, nil)
	if err != nil {
		return nil, err
	}
	a.table.Store(t)
	return a, nil
}

func seconds(d time.Duration, or uint32) uint32 {
	if d <= 0 {
		return or
	}
	return uint32(min(max(d/time.Second, 1), 1<<31-1))
}

// parent returns the name without its first label.
func parent(n dns.Name) *dns.Name {
	b := n.AppendTo(nil)
	var p dns.Name
	if len(b) > 1 {
		_, _ = p.Unmarshal(b[1+b[0]:])
	}
	return &p
}

// SetRelays replaces the relays. Queries see either the old or the new ones. If they are
// the same, nothing changes. The error matches [ErrRelays]: also a relay that would never be
// in an answer, since it has no Coverage or a prefix there meets no zone, is one.
func (a *Authority) SetRelays(relays []Relay) error {
	a.set.Lock()
	defer a.set.Unlock()
	if slices.EqualFunc(relays, a.relays, func(x, y Relay) bool { return reflect.DeepEqual(x, y) }) {
		return nil
	}
	list := make([]Relay, len(relays))
	for i, r := range relays {
		r.Coverage, r.Clients = slices.Clone(r.Coverage), slices.Clone(r.Clients)
		list[i] = r
		if err := a.published(i, &list[i]); err != nil {
			return err
		}
	}
	t, err := compile(a.table.Load().serial+1, list)
	if err != nil {
		return err
	}
	a.relays = list
	a.table.Store(t)
	close(a.changed)
	a.changed = make(chan struct{})
	return nil
}

// published checks that there are names for what a relay serves.
func (a *Authority) published(i int, r *Relay) error {
	if len(r.Coverage) == 0 {
		return fmt.Errorf("%w: relay %d, %v, serves nothing: it has no Coverage", ErrRelays, i, r.Record)
	}
	for _, p := range r.Coverage {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("%w: relay %d, %v: prefix %v", ErrRelays, i, r.Record, p)
		}
		if !slices.ContainsFunc(a.zones, func(z zone) bool { return z.source.Prefix.Overlaps(p) }) {
			return fmt.Errorf("%w: relay %d, %v: prefix %v is outside of every zone", ErrRelays, i, r.Record, p)
		}
	}
	return nil
}

// begin sets the serial by the time, once, if the configuration does not.
func (a *Authority) begin(now time.Time) {
	a.set.Lock()
	defer a.set.Unlock()
	if a.config.Serial != 0 {
		return
	}
	t := *a.table.Load()
	t.serial = uint32(now.Unix())
	a.config.Serial = t.serial
	a.table.Store(&t)
}

// next returns a channel that is closed when the relays change.
func (a *Authority) next() <-chan struct{} {
	a.set.Lock()
	defer a.set.Unlock()
	return a.changed
}

// Stats returns the counters.
func (a *Authority) Stats() Stats {
	s := &a.stats
	return Stats{s.queries.Load(), s.answers.Load(), s.negative.Load(), s.refused.Load(), s.malformed.Load(), s.truncated.Load(), s.limited.Load(), s.transfers.Load()}
}

// maxReverse is the length of the longest name of an address, in octets: that of a plain
// one of IPv6, with a wildcard in front.
const maxReverse = 80

// minUDP is the longest answer to who says nothing of EDNS (RFC 1035 section 2.3.4).
const minUDP = 512

// soaTimes are refresh, retry and expire, for secondaries.
var soaTimes = [3]uint32{7200, 900, 1209600}

// appendSOA appends the data of the zone's SOA record.
func (z *zone) appendSOA(b []byte, m *dns.Builder, serial uint32) []byte {
	b = m.AppendName(b, &z.NameServers[0])
	b = m.AppendName(b, &z.Mailbox)
	b = binary.BigEndian.AppendUint32(b, serial)
	for _, t := range soaTimes {
		b = binary.BigEndian.AppendUint32(b, t)
	}
	return binary.BigEndian.AppendUint32(b, z.negative)
}

// zoneOf returns the zone that a name is in.
func (a *Authority) zoneOf(n *dns.Name) *zone {
	for i := range a.zones {
		if n.In(&a.zones[i].Name) {
			return &a.zones[i]
		}
	}
	return nil
}
