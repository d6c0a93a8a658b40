//go:build ignore

/* Looks at AMT messages of a relay on this machine: those that come in by XDP,
 * those that go out by tcx. Control messages are handed to user space by a ring;
 * data, which only go out, are counted here. Everything passes. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORT bpf_htons(2268)
#define HEAD 30 /* octets of a message: a whole Teardown */
#define DATA 6
#define LINEAR 128 /* octets of a frame that are looked at, at most */
#define OFFSET bpf_htons(0x1fff)

struct endpoint {
	__u8 address[16]; /* IPv4 as ::ffff:a.b.c.d */
	__u16 port;       /* of this machine's order */
	__u16 zero;
};

struct data {
	__u64 packets, octets;
};

struct event {
	__u64 time; /* ns of the monotonic clock */
	struct endpoint gateway;
	__u16 length;
	__u8 outgoing, copied;
	__u8 head[HEAD];
	__u8 pad[2];
};

const struct event *unused_event __attribute__((unused));

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct endpoint);
	__type(value, struct data);
} counted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost SEC(".maps"); /* events for which the ring had no room */

static __always_inline void look(void *data, void *end, __u8 outgoing, __u32 segments, __u32 frame)
{
	struct ethhdr *eth = data;
	struct endpoint gateway = {};
	struct udphdr *udp;
	void *at = eth + 1;

	if (at > end)
		return;
	__be16 proto = eth->h_proto;
	for (int tags = 0; tags < 2; tags++) {
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		if (at + 4 > end)
			return;
		proto = *(__be16 *)(at + 2);
		at += 4;
	}
	if (proto == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = at;
		if ((void *)(ip + 1) > end || ip->protocol != IPPROTO_UDP || ip->frag_off & OFFSET || ip->ihl < 5)
			return;
		at += ip->ihl * 4;
		gateway.address[10] = gateway.address[11] = 0xff;
		__builtin_memcpy(gateway.address + 12, outgoing ? &ip->daddr : &ip->saddr, 4);
	} else if (proto == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = at;
		if ((void *)(ip + 1) > end || ip->nexthdr != IPPROTO_UDP)
			return;
		at += sizeof *ip;
		__builtin_memcpy(gateway.address, outgoing ? &ip->daddr : &ip->saddr, 16);
	} else {
		return;
	}
	udp = at;
	if ((void *)(udp + 1) > end || (outgoing ? udp->source : udp->dest) != PORT)
		return;
	gateway.port = bpf_ntohs(outgoing ? udp->dest : udp->source);
	__u8 *message = (void *)(udp + 1);
	if ((void *)(message + 1) > end)
		return;
	__u32 length = bpf_ntohs(udp->len) - sizeof *udp;

	if (*message == DATA && outgoing) {
		if (segments > 1) /* joined: the length is that of all, each with a header */
			length = frame - (__u32)((void *)message - data);
		else
			segments = 1;
		struct data *d = bpf_map_lookup_elem(&counted, &gateway);
		if (!d) {
			struct data zero = {};
			bpf_map_update_elem(&counted, &gateway, &zero, BPF_NOEXIST);
			d = bpf_map_lookup_elem(&counted, &gateway);
			if (!d)
				return;
		}
		__sync_fetch_and_add(&d->packets, segments);
		__sync_fetch_and_add(&d->octets, length - 2 * segments);
		return;
	}
	struct event *e = bpf_ringbuf_reserve(&events, sizeof *e, 0);
	if (!e) {
		__u32 zero = 0;
		__u64 *n = bpf_map_lookup_elem(&lost, &zero);
		if (n)
			*n += 1;
		return;
	}
	e->time = bpf_ktime_get_ns();
	e->gateway = gateway;
	e->length = length;
	e->outgoing = outgoing;
	__u8 copied = 0;
	for (int i = 0; i < HEAD; i++) {
		e->head[i] = 0;
		if ((void *)(message + i + 1) <= end) {
			e->head[i] = message[i];
			copied = i + 1;
		}
	}
	e->copied = copied;
	e->pad[0] = e->pad[1] = 0;
	bpf_ringbuf_submit(e, 0);
}

SEC("xdp")
int amt_incoming(struct xdp_md *ctx)
{
	look((void *)(long)ctx->data, (void *)(long)ctx->data_end, 0, 1, ctx->data_end - ctx->data);
	return XDP_PASS;
}

SEC("tc")
int amt_outgoing(struct __sk_buff *skb)
{
	/* Of joined datagrams only the headers may lie in one piece. */
	__u32 wanted = skb->len < LINEAR ? skb->len : LINEAR;
	if (skb->data_end - skb->data < wanted)
		bpf_skb_pull_data(skb, wanted);
	look((void *)(long)skb->data, (void *)(long)skb->data_end, 1, skb->gso_segs, skb->len);
	return TC_ACT_UNSPEC; /* on to the next program */
}

char __license[] SEC("license") = "Apache-2.0";
