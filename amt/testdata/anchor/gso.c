/* What sending to many gateways costs at least: sendmmsg with UDP_SEGMENT from
 * one buffer, as tightly as it can be written. Destinations come on standard
 * input, one "address port" a line.
 *
 *   gso SIZE SEGMENTS ROUNDS
 *
 * prints the processor time for one datagram in nanoseconds, that of the cheapest
 * of ROUNDS rounds. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
enum { MOST = 1 << 16, BATCH = 1024 };

static struct mmsghdr messages[MOST];
static struct sockaddr_in names[MOST];
static struct {
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(uint16_t))];
	};
} control;

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int size = atoi(argv[1]), segments = atoi(argv[2]), rounds = atoi(argv[3]);
	char *data = aligned_alloc(4096, ((size_t)size * segments + 4095) & ~4095ul), text[64];
	memset(data, 7, (size_t)size * segments);
	struct iovec part = {data, (size_t)size * segments};
	control.header.cmsg_level = IPPROTO_UDP;
	control.header.cmsg_type = UDP_SEGMENT;
	control.header.cmsg_len = CMSG_LEN(sizeof(uint16_t));
	*(uint16_t *)CMSG_DATA(&control.header) = size;
	int n = 0, port;
	while (n < MOST && scanf("%63s %d", text, &port) == 2) {
		names[n].sin_family = AF_INET;
		names[n].sin_port = htons(port);
		inet_pton(AF_INET, text, &names[n].sin_addr);
		messages[n].msg_hdr = (struct msghdr){&names[n], sizeof names[n], &part, 1, &control, sizeof control.space, 0};
		n++;
	}
	int fd = socket(AF_INET, SOCK_DGRAM, 0), probe = IP_PMTUDISC_PROBE, buffer = 4 << 20;
	struct sockaddr_in self = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &probe, sizeof probe);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
	if (fd < 0 || bind(fd, (struct sockaddr *)&self, sizeof self) != 0)
		return 1;
	double best = 0;
	for (int r = 0; r < rounds; r++) {
		struct timespec from, to;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
		for (int i = 0; i < n;) {
			int sent = sendmmsg(fd, messages + i, n - i < BATCH ? n - i : BATCH, 0);
			if (sent <= 0)
				return 1;
			i += sent;
		}
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
		double ns = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
		if (!r || ns < best)
			best = ns;
	}
	printf("%.2f\n", best / n / segments);
	return 0;
}
