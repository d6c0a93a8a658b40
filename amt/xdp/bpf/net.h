/* Headers of packets; all fields in network order. */
#pragma once

#include "bpf.h"

enum {
	ETH_IPV4 = 0x0800,
	ETH_IPV6 = 0x86dd,
	ETH_VLAN = 0x8100,
	ETH_QINQ = 0x88a8,
	ETH_LOCAL = 0x88b5, /* IEEE 802 local experimental */
	IPPROTO_HOPOPTS = 0,
	IPPROTO_UDP = 17,
	IPPROTO_FRAGMENT = 44,
};

struct eth {
	u8 dst[6];
	u8 src[6];
	u16 proto;
} __attribute__((packed));

struct ipv4 {
	u8 version_ihl;
	u8 tos;
	u16 total;
	u16 id;
	u16 fragment;
	u8 ttl;
	u8 protocol;
	u16 check;
	u32 src;
	u32 dst;
} __attribute__((packed));

struct ipv6 {
	u32 version_class_flow;
	u16 payload;
	u8 next;
	u8 hop_limit;
	u32 src[4];
	u32 dst[4];
} __attribute__((packed));

struct udp {
	u16 src;
	u16 dst;
	u16 len;
	u16 check;
} __attribute__((packed));

/* fold makes an Internet checksum, not yet inverted, of a sum. */
INLINE u16 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (u16)sum;
}
