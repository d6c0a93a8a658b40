/* One multicast packet in, one AMT Multicast Data message (RFC 7450 section
 * 5.1.6) to each tunnel of its channel out, without leaving the driver.
 *
 * fan_out runs once for each packet that arrives. It makes room for the outer
 * headers, leaves a note in that room, and redirects the packet to a device map
 * in which every entry is the same device: the kernel makes one copy for each
 * entry. make_copy is the program of those entries. It runs once for each copy,
 * just before the copy is given to the device, and turns the note into the
 * headers of one tunnel. commit runs when the device has said how many of up to
 * 16 copies it took, and counts them.
 *
 * make_copy is not told which entry it runs for, and it runs late: the copies of
 * one packet wait in a queue together with those of the next. But that queue
 * belongs to one processor and keeps its order. So the note has a number that
 * tells the packets of a processor apart, and make_copy counts the copies of
 * each number. */
#include "net.h"

#define HEADROOM 64 /* Ethernet, IPv6, UDP, AMT */
#define HEADROOM4 44
#define MAGIC 0x414d5458
#define PENDING 64 /* copies that a device is given at once: 16 up to now */

/* Set before the programs are loaded. */
const volatile u32 injected; /* packets come from user space: nobody wants those passed on */
const volatile u32 exact;    /* commit runs */

/* For user space to look at without a system call. */
struct {
	u64 overflow; /* copies that a device did not take */
	u64 seen;     /* packets that fan_out ran for */
} shared;

enum stat {
	STAT_PACKETS,   /* copied */
	STAT_UNKNOWN,   /* of no channel */
	STAT_MALFORMED, /* no IP packet, or not all of it */
	STAT_ODD,       /* fragments, IPv4 options, IPv6 extension headers */
	STAT_TOO_BIG,   /* for a tunnel of the channel */
	STAT_FAILED,    /* no room for the headers, no device map */
	STAT_COPIES,    /* the device took them */
	STAT_LOST,      /* the device did not */
	STAT_STRAY,     /* copies of tunnels that have gone */
	STAT_MAX,
};

struct channel_key {
	u32 src[4]; /* IPv4 as ::ffff:a.b.c.d */
	u32 dst[4];
	u32 pass; /* a channel of very many tunnels has several, each with some of them */
};

struct channel {
	u32 first; /* of its entries in members */
	u32 count;
	u32 mtu; /* of the smallest tunnel */
	u32 pad;
};

struct tunnel {
	u32 header[HEADROOM / 4]; /* Ethernet, IP, UDP and AMT; lengths and checksums are 0 */
	u32 sum;                  /* of the pseudo header, ports and AMT header */
	u32 ip_sum;               /* of the IPv4 header */
	u16 family;               /* 4, 6, or 0 for none */
	u16 ecn;                  /* the ECN field is copied (RFC 9601) */
	u32 pad;
};

struct counts {
	u64 packets;
	u64 octets; /* of the inner packets */
	u64 lost;   /* packets */
};

struct note {
	struct eth eth; /* harmless if it ever gets out */
	u16 length;     /* of the packet */
	u32 magic;
	u32 first;
	u32 count;
	u32 sum; /* of the packet */
	u32 ecn;
	u32 pad;
	u64 number;
	u32 unused[4];
};
_Static_assert(sizeof(struct note) == HEADROOM, "a note has the size of the headers");

struct cursor {
	u64 given;  /* number of the last note */
	u64 number; /* of the last note that was read */
	u32 next;   /* copy of it */
	u32 pending;
	u32 tunnels[PENDING];
	u32 lengths[PENDING];
};

struct {
	__uint(type, MAP_HASH);
	__uint(max_entries, 1);
	__type(key, struct channel_key);
	__type(value, struct channel);
} channels SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u32);
} members SEC(".maps");

struct {
	__uint(type, MAP_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct tunnel);
} tunnels SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct counts);
} counters SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct cursor);
} cursors SEC(".maps");

struct {
	__uint(type, MAP_PERCPU_ARRAY);
	__uint(max_entries, STAT_MAX);
	__type(key, u32);
	__type(value, u64);
} stats SEC(".maps");

struct fan {
	__uint(type, MAP_DEVMAP);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 8);
};

/* By the number of copies: a device map with so many entries. */
struct {
	__uint(type, MAP_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, u32);
	__array(values, struct fan);
} fans SEC(".maps");

INLINE void add(u32 which, u64 number)
{
	u64 *n = map_lookup(&stats, &which);

	if (n)
		*n += number;
}

INLINE void count(u32 which)
{
	add(which, 1);
}

INLINE int leave(u32 why)
{
	count(why);
	return injected ? XDP_DROP : XDP_PASS;
}

#define CHUNK 256

/* sum_of adds up the octets from an offset on as 16-bit words. It copies them
 * first: pointers into a packet that are not at a fixed place need CAP_PERFMON. */
INLINE u32 sum_of(struct xdp_md *xdp, u32 offset, u32 length)
{
	u8 b[CHUNK] __attribute__((aligned(8)));
	u32 sum = 0;

	for (int i = 0; i < 16; i++) { /* 4096 octets; pages are no larger */
		if (length < CHUNK)
			break;
		if (xdp_load_bytes(xdp, offset, b, CHUNK))
			return 0;
		sum = csum_diff(0, 0, b, CHUNK, sum);
		offset += CHUNK;
		length -= CHUNK;
	}
	if (length) {
		/* From 1 to CHUNK - 1, in a way that every verifier follows. */
		u32 last = length - 1;

		asm volatile("" : "+r"(last));
		last = (last & (CHUNK - 1)) + 1;
		for (u32 k = 0; k < CHUNK / 8; k++)
			((volatile u64 *)b)[k] = 0;
		if (xdp_load_bytes(xdp, offset, b, last))
			return 0;
		sum = csum_diff(0, 0, b, CHUNK, sum);
	}
	return fold(sum);
}

SEC("xdp")
int fan_out(struct xdp_md *xdp)
{
	void *data = (void *)(u64)xdp->data, *end = (void *)(u64)xdp->data_end;
	struct channel_key key = {};
	struct eth *eth = data;
	u32 length, ecn, zero = 0;

	if (injected)
		__sync_fetch_and_add(&shared.seen, 1);
	if ((void *)(eth + 1) > end)
		return leave(STAT_MALFORMED);
	if (eth->proto == htons(ETH_IPV4)) {
		struct ipv4 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
			return leave(STAT_MALFORMED);
		if (ip->version_ihl != 0x45 || ip->fragment & htons(0x3fff))
			return leave(STAT_ODD);
		length = ntohs(ip->total);
		if (length < sizeof(*ip) || fold((u32)csum_diff(0, 0, (void *)ip, sizeof(*ip), 0)) != 0xffff)
			return leave(STAT_MALFORMED);
		key.src[2] = key.dst[2] = htonl(0xffff);
		key.src[3] = ip->src;
		key.dst[3] = ip->dst;
		ecn = ip->tos & 3;
	} else if (eth->proto == htons(ETH_IPV6)) {
		struct ipv6 *ip = (void *)(eth + 1);

		if ((void *)(ip + 1) > end || (ntohl(ip->version_class_flow) >> 28) != 6)
			return leave(STAT_MALFORMED);
		if (ip->next == IPPROTO_HOPOPTS || ip->next == IPPROTO_FRAGMENT)
			return leave(STAT_ODD);
		length = sizeof(*ip) + ntohs(ip->payload);
		for (int i = 0; i < 4; i++) {
			key.src[i] = ip->src[i];
			key.dst[i] = ip->dst[i];
		}
		ecn = ntohl(ip->version_class_flow) >> 20 & 3;
	} else {
		return leave(STAT_UNKNOWN);
	}
	/* A difference of pointers would need CAP_PERFMON. */
	int padding = (int)xdp_length(xdp) - (int)sizeof(*eth) - (int)length;
	if (padding < 0)
		return leave(STAT_MALFORMED);
	if (injected) /* user space says so in the source address */
		key.pass = eth->src[4] << 8 | eth->src[5];

	struct channel *c = map_lookup(&channels, &key);
	if (!c)
		return leave(STAT_UNKNOWN);
	if (length > c->mtu)
		return leave(STAT_TOO_BIG);
	struct note note = { .length = length, .magic = MAGIC, .first = c->first, .count = c->count, .ecn = ecn };
	u32 copies = note.count;
	void *fan = map_lookup(&fans, &copies);
	struct cursor *cursor = map_lookup(&cursors, &zero);
	if (!fan || !cursor)
		return leave(STAT_FAILED);

	/* What follows the packet is padding of Ethernet. */
	if (padding > 0 && adjust_tail(xdp, -padding))
		return leave(STAT_FAILED);
	if (adjust_head(xdp, -(HEADROOM - (int)sizeof(struct eth))))
		return leave(STAT_FAILED);
	data = (void *)(u64)xdp->data;
	end = (void *)(u64)xdp->data_end;
	if (data + HEADROOM > end) {
		count(STAT_FAILED);
		return XDP_DROP;
	}
	note.eth.dst[0] = note.eth.src[0] = 2;
	note.eth.proto = htons(ETH_LOCAL);
	note.sum = sum_of(xdp, HEADROOM, length);
	note.number = ++cursor->given;
	*(struct note *)data = note;
	count(STAT_PACKETS);
	return redirect_map(fan, 0, BPF_F_BROADCAST);
}

INLINE void account(u32 id, u32 length, int sent)
{
	struct counts *n = map_lookup(&counters, &id);

	if (!n)
		return;
	if (sent) {
		n->packets++;
		n->octets += length;
	} else {
		n->lost++;
	}
}

SEC("xdp/devmap")
int make_copy(struct xdp_md *xdp)
{
	void *data = (void *)(u64)xdp->data, *end = (void *)(u64)xdp->data_end;
	struct note *note = data;
	u32 zero = 0;

	if (data + HEADROOM > end || note->magic != MAGIC || note->eth.proto != htons(ETH_LOCAL))
		return XDP_PASS; /* of another program that sends by this device */
	struct cursor *cursor = map_lookup(&cursors, &zero);
	if (!cursor)
		return XDP_DROP;
	if (cursor->number != note->number) {
		cursor->number = note->number;
		cursor->next = 0;
	}
	u32 copy = cursor->next++;
	u32 at = note->first + copy;
	u32 *id = copy < note->count ? map_lookup(&members, &at) : 0;
	struct tunnel *t = id ? map_lookup(&tunnels, id) : 0;
	if (!t || !t->family) {
		count(STAT_STRAY);
		return XDP_DROP;
	}
	u32 length = note->length;
	u64 sum = note->sum;
	u32 ecn = t->ecn ? note->ecn : 0;

	if (t->family == 4) {
		if (adjust_head(xdp, HEADROOM - HEADROOM4)) {
			count(STAT_FAILED);
			return XDP_DROP;
		}
		data = (void *)(u64)xdp->data;
		end = (void *)(u64)xdp->data_end;
		if (data + HEADROOM4 > end)
			return XDP_DROP;
#pragma unroll
		for (int i = 0; i < HEADROOM4 / 4; i++)
			((u32 *)data)[i] = t->header[i];
		struct ipv4 *ip = data + sizeof(struct eth);
		struct udp *udp = (void *)(ip + 1);
		u16 len = htons(sizeof(*udp) + 2 + length);

		ip->tos = ecn;
		ip->total = htons(sizeof(*ip) + sizeof(*udp) + 2 + length);
		ip->check = ~fold((u64)t->ip_sum + ip->total + htons(ecn));
		udp->len = len;
		u16 check = ~fold(sum + t->sum + len + len);
		udp->check = check ? check : 0xffff;
	} else {
#pragma unroll
		for (int i = 0; i < HEADROOM / 4; i++)
			((u32 *)data)[i] = t->header[i];
		struct ipv6 *ip = data + sizeof(struct eth);
		struct udp *udp = (void *)(ip + 1);
		u16 len = htons(sizeof(*udp) + 2 + length);

		ip->version_class_flow = htonl(6u << 28 | ecn << 20);
		ip->payload = len;
		udp->len = len;
		u16 check = ~fold(sum + t->sum + len + len);
		udp->check = check ? check : 0xffff;
	}

	u32 n = cursor->pending;
	if (exact && n < PENDING) {
		cursor->tunnels[n] = *id;
		cursor->lengths[n] = length;
		cursor->pending = n + 1;
	} else {
		account(*id, length, 1);
		count(STAT_COPIES);
	}
	return XDP_PASS; /* on to the device */
}

struct commit {
	struct cursor *cursor;
	u32 sent;
};

static long commit_one(u64 i, struct commit *c)
{
	if (i >= PENDING)
		return 1;
	account(c->cursor->tunnels[i], c->cursor->lengths[i], i < c->sent);
	return 0;
}

/* xdp_devmap_xmit(from, to, sent, drops, err) follows make_copy for the copies
 * that a device was given, on the same processor. A device takes them in order. */
SEC("raw_tracepoint/xdp_devmap_xmit")
int commit(struct raw_args *args)
{
	u32 zero = 0;
	struct cursor *cursor = map_lookup(&cursors, &zero);

	if (!cursor || !cursor->pending)
		return 0;
	u32 n = cursor->pending;
	s32 sent = (s32)args->arg[2];
	if (sent < 0)
		sent = 0;
	if ((u32)sent > n)
		sent = n;
	struct commit c = { .cursor = cursor, .sent = sent };
	loop(n, commit_one, &c, 0);
	add(STAT_COPIES, sent);
	if (unlikely((u32)sent < n)) {
		add(STAT_LOST, n - sent);
		__sync_fetch_and_add(&shared.overflow, n - sent);
	}
	cursor->pending = 0;
	return 0;
}
