//go:build ignore

/* Copies packets of multicast channels to AMT gateways without leaving the
 * kernel. The first program runs on the interface that the channels come in by:
 * it encapsulates a packet once (RFC 7450 section 5.1.6) and broadcasts it to a
 * map whose entries all name the interface that leads to the gateways. The second
 * program is attached to each entry and so runs once for every copy: it writes the
 * destination of that copy.
 *
 * A copy does not know which of the entries it is for. The copies of a packet
 * come in one sequence on one processor, though, and there are as many as the
 * channel has gateways. So a counter that goes round, one for each channel and
 * processor, gives each copy of a packet another gateway. What it needs travels
 * with the copy, where its addresses and ports will be. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define OUTER 30 /* octets: IP, UDP and the header of Multicast Data */
#define MAX_SLOTS 1024
#define NO_CHECKSUM 1
#define FRAGMENTED bpf_htons(0x3fff)
#define DONT_FRAGMENT bpf_htons(0x4000)

struct channel_key {
	__be32 source, group;
};

struct channel {
	__u32 slot;  /* of its map of devices and its counter */
	__u32 base;  /* its first copy */
	__u32 count; /* of its copies */
	__u32 mtu;   /* the largest packet that fits all of its tunnels */
};

struct copy {
	__u8 to[ETH_ALEN], from[ETH_ALEN];
	__be32 daddr, saddr;
	__be16 dport, sport;
	__u8 ecn; /* the ECN field is copied */
	__u8 pad[7];
	__u64 packets, octets;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SLOTS);
	__type(key, struct channel_key);
	__type(value, struct channel);
} channels SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* set when it is loaded */
	__type(key, __u32);
	__type(value, struct copy);
} copies SEC(".maps");

struct devices {
	__uint(type, BPF_MAP_TYPE_DEVMAP_HASH);
	__uint(max_entries, 1); /* the next power of two of the copies */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bpf_devmap_val));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__array(values, struct devices);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SLOTS);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

/* What became of packets of channels, by index. */
enum { TAKEN, TOO_BIG, ODD, STATS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STATS);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&stats, &what);

	if (n)
		*n += 1;
}

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

SEC("xdp")
int amt_encapsulate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof *eth;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;

	struct channel_key key = {ip->saddr, ip->daddr};
	struct channel *ch = bpf_map_lookup_elem(&channels, &key);
	if (!ch)
		return XDP_PASS;
	__u32 total = bpf_ntohs(ip->tot_len), frame = end - data;

	/* Options, fragments and other protocols are for the way through user space,
	 * and so are packets that do not fit. */
	if (ip->ihl != 5 || ip->version != 4 || ip->frag_off & FRAGMENTED || ip->protocol != IPPROTO_UDP ||
	    total < sizeof *ip + sizeof *udp || frame < sizeof *eth + total ||
	    bpf_ntohs(udp->len) != total - sizeof *ip) {
		count(ODD);
		return XDP_PASS;
	}
	if (total > ch->mtu) {
		count(TOO_BIG);
		return XDP_PASS;
	}
	void *map = bpf_map_lookup_elem(&slots, &ch->slot);
	if (!map)
		return XDP_PASS;

	/* The checksum of the inner packet makes its UDP datagram and the pseudo-header
	 * add up to all ones, and its IP header adds up to all ones: so the sum of the
	 * whole packet is the complement of its pseudo-header's. */
	__u64 inner = (__u64)ip->saddr + ip->daddr + bpf_htons(IPPROTO_UDP) + udp->len;
	__u16 sum = ~fold(inner);
	__u8 ecn = ip->tos & 3, summed = udp->check != 0;
	__u32 slot = ch->slot, base = ch->base, n = ch->count;

	if (frame > sizeof *eth + total && bpf_xdp_adjust_tail(ctx, (int)(sizeof *eth + total) - (int)frame))
		return XDP_PASS; /* what follows the packet is the link's padding */
	if (bpf_xdp_adjust_head(ctx, -OUTER))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	ip = data + sizeof *eth;
	udp = (void *)(ip + 1);
	__u8 *amt = (void *)(udp + 1);
	if ((void *)(amt + 2) > end)
		return XDP_ABORTED;

	__u16 length = total + sizeof *udp + 2;
	eth->h_proto = bpf_htons(ETH_P_IP);
	*(__u8 *)ip = 0x45;
	ip->tos = ecn;
	ip->tot_len = bpf_htons(length + sizeof *ip);
	ip->id = summed ? 0 : NO_CHECKSUM;
	ip->frag_off = DONT_FRAGMENT;
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = slot;
	ip->daddr = base;
	udp->source = n & 0xffff;
	udp->dest = n >> 16;
	udp->len = bpf_htons(length);
	/* What is the same in all copies: the rest of the pseudo-header, the lengths,
	 * type 6 of AMT and the packet. */
	udp->check = fold((__u64)sum + bpf_htons(IPPROTO_UDP) + 2 * (__u64)udp->len + bpf_htons(0x0600));
	amt[0] = 6;
	amt[1] = 0;
	count(TAKEN);
	return bpf_redirect_map(map, 0, BPF_F_BROADCAST);
}

SEC("xdp/devmap")
int amt_address(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof *eth;
	struct udphdr *udp = (void *)(ip + 1);

	if ((void *)(udp + 1) > end)
		return XDP_DROP;
	__u32 slot = ip->saddr, n = udp->source | (__u32)udp->dest << 16;
	__u32 *turn = bpf_map_lookup_elem(&turns, &slot);
	if (!turn)
		return XDP_DROP;
	__u32 i = *turn;
	if (i >= n)
		i = 0;
	*turn = i + 1;
	i += ip->daddr;
	struct copy *c = bpf_map_lookup_elem(&copies, &i);
	if (!c)
		return XDP_DROP;

	__builtin_memcpy(eth->h_dest, c->to, ETH_ALEN);
	__builtin_memcpy(eth->h_source, c->from, ETH_ALEN);
	__u8 summed = ip->id == 0;
	if (!c->ecn)
		ip->tos = 0;
	ip->id = 0;
	ip->saddr = c->saddr;
	ip->daddr = c->daddr;
	udp->source = c->sport;
	udp->dest = c->dport;
	__u64 addresses = (__u64)c->saddr + c->daddr;
	__u16 check = ~fold((__u64)udp->check + addresses + c->sport + c->dport);
	if (check == 0)
		check = 0xffff;
	udp->check = summed ? check : 0;
	__u64 header = addresses + ip->tot_len + DONT_FRAGMENT + bpf_htons(0x4500 | ip->tos) + bpf_htons(64 << 8 | IPPROTO_UDP);
	ip->check = ~fold(header);

	__sync_fetch_and_add(&c->packets, 1);
	__sync_fetch_and_add(&c->octets, bpf_ntohs(ip->tot_len) - OUTER);
	return XDP_PASS; /* on to the interface */
}

char __license[] SEC("license") = "Apache-2.0";
