package telemetry

import (
	"maps"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// family is one metric: how to read its samples out of a Status.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	each       func(s *Status, emit func(value float64, labels ...string))
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

// latencyName is the one histogram, which has no single value per label.
const (
	latencyName = "treedn_service_latency_seconds"
	latencyHelp = "What pacing (CAST) or loss (RELAY, BEACON) costs chunks or objects."
)

// perService is a family with one sample per service.
func perService[N uint64 | float64](name, help string, kind prometheus.ValueType, value func(*Service) N) family {
	return family{name, help, kind, []string{"service"}, func(s *Status, emit func(float64, ...string)) {
		for i := range s.Services {
			emit(float64(value(&s.Services[i])), s.Services[i].Name)
		}
	}}
}

// perWay is a family of services that are received.
func perWay(name, help string, kind prometheus.ValueType, labels []string, each func(service string, w *Way, emit func(float64, ...string))) family {
	return family{name, help, kind, labels, func(s *Status, emit func(float64, ...string)) {
		for i := range s.Services {
			if w := s.Services[i].Way; w != nil {
				each(s.Services[i].Name, w, emit)
			}
		}
	}}
}

// perServer is a family with one sample per HTTP server.
func perServer(name, help string, kind prometheus.ValueType, value func(*Server) uint64) family {
	return family{name, help, kind, []string{"server"}, func(s *Status, emit func(float64, ...string)) {
		s.servers(func(server string, v *Server) { emit(float64(value(v)), server) })
	}}
}

func (s *Status) servers(each func(name string, v *Server)) {
	for _, v := range []struct {
		name   string
		server *Server
	}{{"http", s.HTTP}, {"repair", s.Repair}, {"ingest", s.Ingest}} {
		if v.server != nil {
			each(v.name, v.server)
		}
	}
}

// ofCache is a family of nodes that have a cache.
func ofCache(name, help string, kind prometheus.ValueType, value func(*Cache) uint64) family {
	return family{name, help, kind, nil, func(s *Status, emit func(float64, ...string)) {
		if s.Cache != nil {
			emit(float64(value(s.Cache)))
		}
	}}
}

// perSocket is a family with one sample per membership: that of the sockets that have it, where a reception takes the place
// of another one.
func perSocket(name, help string, kind prometheus.ValueType, value func(*Socket) uint64) family {
	return family{name, help, kind, []string{"service", "source", "group"}, func(s *Status, emit func(float64, ...string)) {
		sums := make(map[[3]string]uint64)
		for i := range s.Sockets {
			k := &s.Sockets[i]
			source := "*"
			if k.Source.IsValid() {
				source = k.Source.String()
			}
			sums[[3]string{k.Service, source, k.group()}] += value(k)
		}
		for labels, n := range sums {
			emit(float64(n), labels[:]...)
		}
	}}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func families() []family {
	return append(amtFamilies(), []family{
		{"treedn_node_info", "Always 1; the labels say which node this is.", gauge, []string{"name", "role", "version"}, func(s *Status, emit func(float64, ...string)) {
			emit(1, s.Node.Name, s.Node.Role, s.Node.Version)
		}},
		{"treedn_node_start_time_seconds", "When the node started, in seconds since 1970.", gauge, nil, func(s *Status, emit func(float64, ...string)) {
			emit(float64(s.Node.Started.UnixMilli()) / 1000)
		}},
		{"treedn_node_ready", "1 if the node is ready, else 0.", gauge, nil, func(s *Status, emit func(float64, ...string)) {
			emit(truth(s.Readiness.Ready))
		}},

		{"treedn_service_state", "1 for the state that the service is in, 0 for the others.", gauge, []string{"service", "state"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				for _, st := range states {
					emit(truth(s.Services[i].State == st), s.Services[i].Name, string(st))
				}
			}
		}},
		{"treedn_service_source", "1 for the way on which the service comes now, 0 for the others.", gauge, []string{"service", "source"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				for _, k := range sourceKinds {
					emit(truth(s.Services[i].Source.Kind == k), s.Services[i].Name, string(k))
				}
			}
		}},
		perWay("treedn_service_way", "1 for the way on which multicast packets came last, 0 for the others.", gauge, []string{"service", "way"}, func(name string, w *Way, emit func(float64, ...string)) {
			for _, k := range wayKinds {
				emit(truth(w.Kind == k), name, string(k))
			}
		}),
		perWay("treedn_service_way_switches_total", "Changes between native reception and AMT relays, and between these.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.Switches), name)
		}),
		perWay("treedn_service_relays_lost_total", "AMT relays that were left since they failed.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.RelaysLost), name)
		}),
		perWay("treedn_service_tunnel_packets_total", "Multicast packets that came through AMT relays.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.TunnelPackets), name)
		}),
		perWay("treedn_service_way_dropped_packets_total", "Packets lost in the node before they were read, in sessions that were left, too.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.Dropped), name)
		}),
		perWay("treedn_service_way_rejected_packets_total", "Packets from another source, or to another group, that came natively.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.Rejected), name)
		}),
		perWay("treedn_service_way_truncated_messages_total", "Packets, or runs of them, that came natively and whose end was cut.", counter, []string{"service"}, func(name string, w *Way, emit func(float64, ...string)) {
			emit(float64(w.Truncated), name)
		}),
		perService("treedn_service_objects_total", "Objects that became complete.", counter, func(v *Service) uint64 { return v.Objects }),
		perService("treedn_service_octets_total", "Octets of objects that became complete.", counter, func(v *Service) uint64 { return v.Octets }),
		{"treedn_service_recovered_objects_total", "Complete objects that needed help, by its kind: fec, repair or fallback.", counter, []string{"service", "by"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				v := &s.Services[i]
				emit(float64(v.ObjectsFEC), v.Name, "fec")
				emit(float64(v.ObjectsRepair), v.Name, "repair")
				emit(float64(v.ObjectsFallback), v.Name, "fallback")
			}
		}},
		{"treedn_service_objects_lost_total", "Objects that were given up, by reason.", counter, []string{"service", "reason"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				for _, reason := range slices.Sorted(maps.Keys(s.Services[i].ObjectsLostBy)) {
					emit(float64(s.Services[i].ObjectsLostBy[reason]), s.Services[i].Name, reason)
				}
			}
		}},
		perService("treedn_service_objects_unsealed_total", "Objects that were given up since no seal told of them.", counter, func(v *Service) uint64 { return v.ObjectsUnsealed }),
		perService("treedn_service_objects_missing", "Objects that have begun, or are known to have been sent, and are not complete now.", gauge, func(v *Service) uint64 { return v.ObjectsMissing }),
		perService("treedn_service_packets_total", "Multicast packets received.", counter, func(v *Service) uint64 { return v.Packets }),
		perService("treedn_service_packets_lost_total", "Multicast packets known to be lost.", counter, func(v *Service) uint64 { return v.PacketsLost }),
		{"treedn_service_received_octets_total", "Octets of objects by the way on which they came: source, fec, repair or fallback.", counter, []string{"service", "by"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				v := &s.Services[i]
				emit(float64(v.SourceOctets), v.Name, "source")
				emit(float64(v.FECOctets), v.Name, "fec")
				emit(float64(v.RepairOctets), v.Name, "repair")
				emit(float64(v.FallbackOctets), v.Name, "fallback")
			}
		}},
		{"treedn_service_rejected_octets_total", "Octets that were received and not used, by reason.", counter, []string{"service", "reason"}, perReason(func(v *Service) map[string]uint64 { return v.RejectedOctets })},
		perService("treedn_service_unsigned", "1 if the service carries no seals, so that whatever comes is believed, else 0.", gauge, func(v *Service) float64 { return truth(v.Unsigned) }),
		perService("treedn_service_seals_received_total", "Datagrams with seals received, by multicast or from parents.", counter, func(v *Service) uint64 { return v.SealsReceived }),
		perService("treedn_service_seal_conflicts_total", "Genuine seals that contradicted others: a signer is broken, or its key is in two hands.", counter, func(v *Service) uint64 { return v.SealConflicts }),
		perService("treedn_service_seals_sent_total", "Datagrams with seals that the node signed.", counter, func(v *Service) uint64 { return v.SealsSent }),
		perService("treedn_service_seal_octets_sent_total", "Octets of the datagrams with seals that the node signed.", counter, func(v *Service) uint64 { return v.SealOctetsSent }),
		perService("treedn_service_packets_sent_total", "Multicast packets sent.", counter, func(v *Service) uint64 { return v.PacketsSent }),
		{"treedn_service_packets_unsent_total", "Multicast packets that the system did not take, by reason.", counter, []string{"service", "reason"}, perReason(func(v *Service) map[string]uint64 { return v.PacketsUnsent })},
		{"treedn_service_seals_unsent_total", "Datagrams with seals that the system did not take, by reason.", counter, []string{"service", "reason"}, perReason(func(v *Service) map[string]uint64 { return v.SealsUnsent })},
		perService("treedn_service_octets_sent_total", "Octets sent by multicast.", counter, func(v *Service) uint64 { return v.OctetsSent }),
		perService("treedn_service_fec_octets_sent_total", "Octets sent by multicast in repair packets.", counter, func(v *Service) uint64 { return v.FECOctetsSent }),
		{"treedn_service_rate_bits_per_second", "Moving average over about a second, by direction: in or out.", gauge, []string{"service", "direction"}, func(s *Status, emit func(float64, ...string)) {
			for i := range s.Services {
				emit(s.Services[i].RateIn, s.Services[i].Name, "in")
				emit(s.Services[i].RateOut, s.Services[i].Name, "out")
			}
		}},
		perService("treedn_service_latency_max_seconds", "Longest latency since the start.", gauge, func(v *Service) float64 { return v.Latency.Max.Seconds() }),
		{"treedn_service_limit", "A bound on what the service may take.", gauge, []string{"service", "limit"}, perLimit(func(l *Limit) uint64 { return l.Max })},
		{"treedn_service_limit_used", "How far a bound is used.", gauge, []string{"service", "limit"}, perLimit(func(l *Limit) uint64 { return l.Used })},
		{"treedn_service_limit_hits_total", "How often something was refused for a bound.", counter, []string{"service", "limit"}, perLimit(func(l *Limit) uint64 { return l.Hits })},

		ofCache("treedn_cache_objects", "Objects in the cache.", gauge, func(c *Cache) uint64 { return c.Objects }),
		{"treedn_cache_octets", "Octets in the cache, by tier: memory or disk.", gauge, []string{"tier"}, func(s *Status, emit func(float64, ...string)) {
			if c := s.Cache; c != nil {
				emit(float64(c.MemoryOctets), "memory")
				emit(float64(c.DiskOctets), "disk")
			}
		}},
		{"treedn_cache_limit_octets", "Most octets in the cache, by tier: memory or disk.", gauge, []string{"tier"}, func(s *Status, emit func(float64, ...string)) {
			if c := s.Cache; c != nil {
				emit(float64(c.MemoryLimit), "memory")
				emit(float64(c.DiskLimit), "disk")
			}
		}},
		{"treedn_cache_disk_ok", "0 if the disk tier was given up, else 1.", gauge, nil, func(s *Status, emit func(float64, ...string)) {
			if s.Cache != nil {
				emit(truth(s.Cache.DiskOK))
			}
		}},
		ofCache("treedn_cache_hits_total", "Look-ups that found the object.", counter, func(c *Cache) uint64 { return c.Hits }),
		ofCache("treedn_cache_misses_total", "Look-ups that did not find the object.", counter, func(c *Cache) uint64 { return c.Misses }),
		ofCache("treedn_cache_evictions_total", "Objects evicted for lack of room.", counter, func(c *Cache) uint64 { return c.Evictions }),

		{"treedn_http_requests_total", "Requests answered, by server (http, repair or ingest) and class of the code, or aborted.", counter, []string{"server", "code"}, func(s *Status, emit func(float64, ...string)) {
			s.servers(func(name string, v *Server) {
				for _, class := range slices.Sorted(maps.Keys(v.Requests)) {
					emit(float64(v.Requests[class]), name, class)
				}
			})
		}},
		perServer("treedn_http_active_requests", "Requests being answered now.", gauge, func(v *Server) uint64 { return v.Active }),
		perServer("treedn_http_octets_in_total", "Octets of request bodies.", counter, func(v *Server) uint64 { return v.OctetsIn }),
		perServer("treedn_http_octets_out_total", "Octets of response bodies.", counter, func(v *Server) uint64 { return v.OctetsOut }),
		{"treedn_http_limit", "A bound on what the clients of a server may take.", gauge, []string{"server", "limit"}, perServerLimit(func(l *Limit) uint64 { return l.Max })},
		{"treedn_http_limit_used", "How far a bound is used.", gauge, []string{"server", "limit"}, perServerLimit(func(l *Limit) uint64 { return l.Used })},
		{"treedn_http_limit_hits_total", "How often a client was refused or cut off for a bound.", counter, []string{"server", "limit"}, perServerLimit(func(l *Limit) uint64 { return l.Hits })},
		{"treedn_repair_symbols_total", "Repair symbols given out to children.", counter, nil, func(s *Status, emit func(float64, ...string)) {
			if s.Repair != nil {
				emit(float64(s.Repair.Symbols))
			}
		}},

		perSocket("treedn_socket_drops_total", "Packets that the system dropped for lack of buffer.", counter, func(k *Socket) uint64 { return k.Drops }),
		perSocket("treedn_socket_buffer_octets", "Receive buffer that the system granted.", gauge, func(k *Socket) uint64 { return k.Buffer }),
	}...)
}

func perReason(value func(*Service) map[string]uint64) func(*Status, func(float64, ...string)) {
	return func(s *Status, emit func(float64, ...string)) {
		for i := range s.Services {
			v := &s.Services[i]
			m := value(v)
			for _, reason := range slices.Sorted(maps.Keys(m)) {
				emit(float64(m[reason]), v.Name, reason)
			}
		}
	}
}

func perLimit(value func(*Limit) uint64) func(*Status, func(float64, ...string)) {
	return func(s *Status, emit func(float64, ...string)) {
		for i := range s.Services {
			for j := range s.Services[i].Limits {
				l := &s.Services[i].Limits[j]
				emit(float64(value(l)), s.Services[i].Name, l.Name)
			}
		}
	}
}

func perServerLimit(value func(*Limit) uint64) func(*Status, func(float64, ...string)) {
	return func(s *Status, emit func(float64, ...string)) {
		s.servers(func(name string, v *Server) {
			for i := range v.Limits {
				emit(float64(value(&v.Limits[i])), name, v.Limits[i].Name)
			}
		})
	}
}

// collector turns a Status into metrics at each scrape.
type collector struct {
	status   func() Status
	families []family
	descs    []*prometheus.Desc
	latency  *prometheus.Desc
}

func newCollector(status func() Status) *collector {
	c := &collector{status: status, families: families()}
	for _, f := range c.families {
		c.descs = append(c.descs, prometheus.NewDesc(f.name, f.help, f.labels, nil))
	}
	c.latency = prometheus.NewDesc(latencyName, latencyHelp, []string{"service"}, nil)
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
	ch <- c.latency
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.status()
	for i, f := range c.families {
		f.each(&s, func(value float64, labels ...string) {
			m, err := prometheus.NewConstMetric(c.descs[i], f.kind, value, labels...)
			if err != nil {
				m = prometheus.NewInvalidMetric(c.descs[i], err)
			}
			ch <- m
		})
	}
	for i := range s.Services {
		q := &s.Services[i].Latency
		h := make(map[float64]uint64, len(LatencyBounds))
		for j, bound := range LatencyBounds {
			h[float64(bound)/float64(time.Second)] = q.Cumulative[j]
		}
		m, err := prometheus.NewConstHistogram(c.latency, q.Count, q.Sum.Seconds(), h, s.Services[i].Name)
		if err != nil {
			m = prometheus.NewInvalidMetric(c.latency, err)
		}
		ch <- m
	}
}
