/* Watches AMT messages (RFC 7450) pass a host that has a relay, and lets them
 * pass whatever they are. What comes from gateways is seen by XDP, or by tc where
 * another program has XDP; what goes to them by tc. amtr/parse.go says the same
 * in Go. */
#include "net.h"

/* Set before the programs are loaded. */
const volatile u16 relay_port = 2268;
const volatile u64 idle = 30000000000ULL; /* nanoseconds */

enum stat {
	STAT_MALFORMED,  /* lengths that cannot be */
	STAT_FRAGMENT,   /* of which only the first has ports, and no message is whole */
	STAT_UNEXPECTED, /* types that do not go this way */
	STAT_LOST,       /* records for which the ring had no room */
	STAT_MAX,
};

enum type { DISCOVERY = 1, ADVERTISEMENT, REQUEST, QUERY, UPDATE, DATA, TEARDOWN };

struct endpoint {
	u32 addr[4]; /* IPv4 as ::ffff:a.b.c.d */
	u16 port;    /* in the order of the processor, as all numbers below */
	u16 pad;
};

struct gateway {
	u64 first, last, last_data; /* nanoseconds, CLOCK_MONOTONIC */
	u64 octets;                 /* of packets in Multicast Data */
	u64 messages[8];            /* by type; Multicast Data are those of all segments */
	struct endpoint relay;
	u32 pad;
};

struct record {
	u64 at;
	struct endpoint gateway;
	struct endpoint relay;
	u32 nonce;
	u32 length; /* of the UDP payload */
	u8 type;
	u8 flags;
	u8 pad[6];
};

struct {
	__uint(type, MAP_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct endpoint);
	__type(value, struct gateway);
} gateways SEC(".maps");

struct {
	__uint(type, MAP_RINGBUF);
	__uint(max_entries, 1 << 20);
} records SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, u32);
	__type(value, u64);
} tracked SEC(".maps");

/* For bpf2go. */
const struct record *unused_record __attribute__((unused));

INLINE void count(u32 which)
{
	u64 *n = map_lookup(&tracked, &which);

	if (n)
		(*n)++;
}

/* packet is either kind of context. */
struct packet {
	void *context;
	int xdp; /* constant, so that one of the calls below goes */
};

INLINE int load(struct packet p, u32 offset, void *to, u32 len)
{
	return p.xdp ? xdp_load_bytes(p.context, offset, to, len) : skb_load_bytes(p.context, offset, to, len);
}

INLINE void mapped(u32 *addr, u32 v4)
{
	addr[0] = addr[1] = 0;
	addr[2] = htonl(0xffff);
	addr[3] = v4;
}

/* An index that varies would need CAP_PERFMON; the compiler would make one of
 * cases that do not differ. */
#define COUNT(type, number)                                         \
	case type: {                                                \
		u64 *n = &g->messages[type];                        \
		asm volatile("# %1" : "+r"(n) : "i"(type));         \
		__sync_fetch_and_add(n, number);                    \
		break;                                              \
	}

INLINE void remember(struct record *r, u32 packets, u32 octets)
{
	struct gateway *g = map_lookup(&gateways, &r->gateway);
	u32 type = r->type & 7;
	int report = 1;

	if (!g) {
		struct gateway new = { .first = r->at, .relay = r->relay };

		map_update(&gateways, &r->gateway, &new, BPF_NOEXIST);
		g = map_lookup(&gateways, &r->gateway);
	}
	if (g) {
		if (type == DATA) {
			report = !g->last_data || r->at - g->last_data > idle;
			g->last_data = r->at;
			__sync_fetch_and_add(&g->octets, octets);
		} else if (type == TEARDOWN) {
			g->last_data = 0; /* if data goes on, that is news */
		}
		g->last = r->at;
		switch (type) {
			COUNT(DISCOVERY, 1);
			COUNT(ADVERTISEMENT, 1);
			COUNT(REQUEST, 1);
			COUNT(QUERY, 1);
			COUNT(UPDATE, 1);
			COUNT(DATA, packets);
			COUNT(TEARDOWN, 1);
		}
	}
	if (!report)
		return;
	struct record *out = ringbuf_reserve(&records, sizeof(*out), 0);
	if (!out) {
		count(STAT_LOST);
		return;
	}
	*out = *r;
	ringbuf_submit(out, 0);
}

INLINE void track(struct packet p, u32 size, int outgoing)
{
	struct record r = {};
	struct udp udp;
	u16 proto, tag[2];
	u32 offset = sizeof(struct eth), packets = 1, octets = 0, fragment = 0;
	u8 b[12];
	union {
		struct ipv4 v4;
		struct ipv6 v6;
	} ip;
	struct endpoint from = {}, to = {};

	if (load(p, 12, &proto, 2))
		return;
	for (int i = 0; i < 2; i++) { /* IEEE 802.1Q and 802.1ad */
		if (proto != htons(ETH_VLAN) && proto != htons(ETH_QINQ))
			break;
		if (load(p, offset, tag, 4))
			return;
		proto = tag[1];
		offset += 4;
	}
	if (offset > size)
		return;
	size -= offset; /* of the IP packet */
	if (proto == htons(ETH_IPV4)) {
		if (load(p, offset, &ip.v4, sizeof(ip.v4)) || ip.v4.version_ihl >> 4 != 4 || ip.v4.protocol != IPPROTO_UDP)
			return;
		u32 header = (ip.v4.version_ihl & 15) * 4, total = ntohs(ip.v4.total);

		if (header < sizeof(ip.v4))
			return;
		if (ip.v4.fragment & htons(0x1fff)) {
			count(STAT_FRAGMENT);
			return;
		}
		fragment = ip.v4.fragment & htons(0x2000);
		if (size > total)
			size = total; /* the rest is padding */
		if (size < header)
			return;
		size -= header;
		offset += header;
		mapped(from.addr, ip.v4.src);
		mapped(to.addr, ip.v4.dst);
	} else if (proto == htons(ETH_IPV6)) {
		if (load(p, offset, &ip.v6, sizeof(ip.v6)) || ntohl(ip.v6.version_class_flow) >> 28 != 6)
			return;
		if (ip.v6.next == IPPROTO_FRAGMENT) {
			count(STAT_FRAGMENT);
			return;
		}
		if (ip.v6.next != IPPROTO_UDP)
			return;
		offset += sizeof(ip.v6);
		size -= sizeof(ip.v6);
		if (size > ntohs(ip.v6.payload))
			size = ntohs(ip.v6.payload);
		for (int i = 0; i < 4; i++) {
			from.addr[i] = ip.v6.src[i];
			to.addr[i] = ip.v6.dst[i];
		}
	} else {
		return;
	}
	if (load(p, offset, &udp, sizeof(udp)))
		return;
	from.port = ntohs(udp.src);
	to.port = ntohs(udp.dst);
	if ((outgoing ? from.port : to.port) != relay_port)
		return;
	if (fragment) {
		count(STAT_FRAGMENT);
		return;
	}
	u32 length = ntohs(udp.len);
	if (length < sizeof(udp) + 8 || length > size) {
		count(STAT_MALFORMED);
		return;
	}
	length -= sizeof(udp);
	offset += sizeof(udp);
	for (int i = 0; i < 12; i++)
		b[i] = 0;
	if (load(p, offset, b, 8) || (length >= 12 && load(p, offset + 8, b + 8, 4))) {
		count(STAT_MALFORMED);
		return;
	}
	if (b[0] >> 4) {
		count(STAT_MALFORMED);
		return;
	}
	r.type = b[0];
	r.flags = b[1];
	if (outgoing ? r.type != ADVERTISEMENT && r.type != QUERY && r.type != DATA :
		       r.type != DISCOVERY && r.type != REQUEST && r.type != UPDATE && r.type != TEARDOWN) {
		count(STAT_UNEXPECTED);
		return;
	}
	r.gateway = outgoing ? to : from;
	r.relay = outgoing ? from : to;
	switch (r.type) {
	case DISCOVERY:
	case REQUEST:
	case ADVERTISEMENT:
		r.nonce = (u32)b[4] << 24 | b[5] << 16 | b[6] << 8 | b[7];
		if (r.type != ADVERTISEMENT || length == 12 || length == 24)
			break;
		count(STAT_MALFORMED);
		return;
	case QUERY:
	case UPDATE:
	case TEARDOWN:
		r.nonce = (u32)b[8] << 24 | b[9] << 16 | b[10] << 8 | b[11];
		if (length >= (r.type == TEARDOWN ? 30 : 12))
			break;
		count(STAT_MALFORMED);
		return;
	case DATA: {
		/* One that the device is to cut up (UDP_SEGMENT) has the size of its
		 * segments in the first. */
		u32 inner = 0;

		if (b[2] >> 4 == 4)
			inner = b[4] << 8 | b[5];
		else if (b[2] >> 4 == 6)
			inner = 40 + (b[6] << 8 | b[7]);
		if (inner < 20 || inner + 2 > length) {
			count(STAT_MALFORMED);
			return;
		}
		packets = (length + inner + 1) / (inner + 2);
		octets = length - 2 * packets;
		break;
	}
	}
	if (r.type == TEARDOWN) {
		/* It is about an endpoint that the gateway had before. */
		struct {
			u16 port;
			u16 addr[8];
		} old;

		if (load(p, offset + 12, &old, sizeof(old)))
			return;
		for (int i = 0; i < 4; i++)
			__builtin_memcpy(&r.gateway.addr[i], &old.addr[2 * i], 4);
		r.gateway.port = ntohs(old.port);
		if (!r.gateway.addr[0] && !r.gateway.addr[1] && !r.gateway.addr[2] && (ntohl(r.gateway.addr[3]) >> 24))
			r.gateway.addr[2] = htonl(0xffff);
	}
	r.length = length;
	r.at = ktime_ns();
	remember(&r, packets, octets);
}

SEC("xdp")
int from_gateways(struct xdp_md *xdp)
{
	track((struct packet){ xdp, 1 }, xdp_length(xdp), 0);
	return XDP_PASS;
}

SEC("tc")
int from_gateways_tc(struct sk_buff *skb)
{
	track((struct packet){ skb, 0 }, skb->len, 0);
	return -1; /* TC_ACT_UNSPEC, TCX_NEXT: others decide */
}

SEC("tc")
int to_gateways(struct sk_buff *skb)
{
	track((struct packet){ skb, 0 }, skb->len, 1);
	return -1;
}
