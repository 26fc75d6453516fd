/*
 * The network device on a real tap, in a network namespace that each test makes for itself. The host's end is a packet socket on the
 * tap interface, which speaks the same headers; and for checksums the kernel's own UDP.
 */
#include "tests/unit/suite.h"
#include "tests/unit/test_net_driver.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if_arp.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "virtio/net_tap.h"

#define MERGEABLE NET_BIT(VIRTIO_NET_F_MRG_RXBUF)
#define TSO4                                                                                               \
	(NET_BIT(VIRTIO_NET_F_CSUM) | NET_BIT(VIRTIO_NET_F_GUEST_CSUM) | NET_BIT(VIRTIO_NET_F_HOST_TSO4) | \
	 NET_BIT(VIRTIO_NET_F_GUEST_TSO4))

#define HOST_IP "10.11.12.1"
#define GUEST_IP "10.11.12.2"
#define PORT 4711

static uint64_t gpas[1024];
static uint8_t got[NET_FRAME_MAX];
/* Two bytes in, so that what lies behind the 14 of Ethernet is aligned. */
static _Alignas(8) uint8_t frame_memory[2 + NET_FRAME_MAX];
static uint8_t *const frame = frame_memory + 2;

struct host {
	int tap, udp, packet;
	int index;
	uint8_t mac[6];
};

static void set_address(int s, struct ifreq *ifr, unsigned long request, const char *address)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&ifr->ifr_addr;
	memset(in, 0, sizeof(*in));
	in->sin_family = AF_INET;
	ck_assert_int_eq(inet_pton(AF_INET, address, &in->sin_addr), 1);
	ck_assert_int_eq(ioctl(s, request, ifr), 0);
}

/* A namespace with one tap, up, with an address, and a neighbour that is the guest. */
static void host_open(struct host *h, short flags)
{
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	struct ifreq ifr = {.ifr_name = "tap0", .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | flags)};
	h->tap = open("/dev/net/tun", O_RDWR);
	ck_assert_int_ge(h->tap, 0);
	ck_assert_int_eq(ioctl(h->tap, TUNSETIFF, &ifr), 0);
	h->udp = socket(AF_INET, SOCK_DGRAM, 0);
	set_address(h->udp, &ifr, SIOCSIFADDR, HOST_IP);
	set_address(h->udp, &ifr, SIOCSIFNETMASK, "255.255.255.0");
	ck_assert_int_eq(ioctl(h->udp, SIOCGIFHWADDR, &ifr), 0);
	memcpy(h->mac, ifr.ifr_hwaddr.sa_data, 6);
	ck_assert_int_eq(ioctl(h->udp, SIOCGIFINDEX, &ifr), 0);
	h->index = ifr.ifr_ifindex;
	ifr.ifr_flags = IFF_UP;
	ck_assert_int_eq(ioctl(h->udp, SIOCSIFFLAGS, &ifr), 0);

	struct arpreq arp = {.arp_flags = ATF_COM | ATF_PERM, .arp_dev = "tap0"};
	struct sockaddr_in *in = (struct sockaddr_in *)&arp.arp_pa;
	in->sin_family = AF_INET;
	inet_pton(AF_INET, GUEST_IP, &in->sin_addr);
	arp.arp_ha.sa_family = ARPHRD_ETHER;
	memcpy(arp.arp_ha.sa_data, driver_mac, 6);
	ck_assert_int_eq(ioctl(h->udp, SIOCSARP, &arp), 0);

	struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	ck_assert_int_eq(bind(h->udp, (struct sockaddr *)&local, sizeof(local)), 0);
	struct timeval limit = {.tv_sec = WAIT_MS / 1000};
	setsockopt(h->udp, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));

	h->packet = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP));
	int on = 1;
	ck_assert_int_eq(setsockopt(h->packet, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	setsockopt(h->packet, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = h->index};
	ck_assert_int_eq(bind(h->packet, (struct sockaddr *)&ll, sizeof(ll)), 0);
}

static void open_all(struct host *h, struct driver *d, short flags)
{
	struct net_backend *backend;
	struct error err = {0};
	host_open(h, flags);
	ck_assert_msg(net_tap_create(h->tap, &backend, &err) == 0, "%s", err.text);
	driver_create(d, backend);
}

static void close_all(struct host *h, struct driver *d)
{
	driver_destroy(d);
	close(h->udp);
	close(h->packet);
}

static uint16_t sum(uint32_t start, const void *data, size_t len)
{
	const uint8_t *p = data;
	for (size_t i = 0; i < len; i++)
		start += (uint32_t)p[i] << (i & 1 ? 0 : 8);
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)start;
}

/* Ethernet and IPv4 for that payload of IP; the pseudo header's sum for its checksum. Returns the frame's length. */
static size_t make_ip(const uint8_t to[6], const uint8_t from[6], const char *source, const char *destination, uint8_t protocol,
		      size_t payload, uint16_t *pseudo)
{
	struct iphdr *ip = (struct iphdr *)(frame + 14);
	memcpy(frame, to, 6);
	memcpy(frame + 6, from, 6);
	frame[12] = 8;
	frame[13] = 0;
	memset(ip, 0, sizeof(*ip));
	ip->version = 4;
	ip->ihl = 5;
	ip->ttl = 64;
	ip->protocol = protocol;
	ip->tot_len = htons((uint16_t)(20 + payload));
	inet_pton(AF_INET, source, &ip->saddr);
	inet_pton(AF_INET, destination, &ip->daddr);
	ip->check = htons((uint16_t)~sum(0, ip, 20));
	*pseudo = sum((uint32_t)protocol + (uint32_t)payload, &ip->saddr, 8);
	return 34 + payload;
}

static size_t make_udp_from_guest(const struct host *h, const char *text)
{
	struct udphdr *udp = (struct udphdr *)(frame + 34);
	uint16_t pseudo;
	size_t len = strlen(text);
	size_t total = make_ip(h->mac, driver_mac, GUEST_IP, HOST_IP, IPPROTO_UDP, 8 + len, &pseudo);
	udp->source = htons(PORT);
	udp->dest = htons(PORT);
	udp->len = htons((uint16_t)(8 + len));
	udp->check = htons(pseudo); /* partial: the rest is for whoever sees NEEDS_CSUM */
	memcpy(frame + 42, text, len);
	return total;
}

/* A long TCP segment with the header that asks to cut it into pieces of 1000 bytes. */
static size_t make_tcp(const uint8_t to[6], const uint8_t from[6], const char *source, const char *destination, size_t len,
		       struct virtio_net_hdr_v1 *header)
{
	struct tcphdr *tcp = (struct tcphdr *)(frame + 34);
	uint16_t pseudo;
	size_t total = make_ip(to, from, source, destination, IPPROTO_TCP, 20 + len, &pseudo);
	memset(tcp, 0, sizeof(*tcp));
	tcp->source = htons(1);
	tcp->dest = htons(2);
	tcp->doff = 5;
	tcp->ack = 1;
	tcp->check = htons(pseudo);
	for (size_t i = 0; i < len; i++)
		frame[54 + i] = (uint8_t)(i * 13 + i / 256);
	*header = (struct virtio_net_hdr_v1){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 54,
		.gso_size = 1000,
		.csum_start = 34,
		.csum_offset = 16,
	};
	return total;
}

static void host_says(const struct host *h, const char *text)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	inet_pton(AF_INET, GUEST_IP, &to.sin_addr);
	ck_assert_int_eq(sendto(h->udp, text, strlen(text), 0, (struct sockaddr *)&to, sizeof(to)), (ssize_t)strlen(text));
}

/* The next frame to UDP port PORT, skipping what the kernel says unasked. */
static ssize_t guest_hears(struct driver *d, struct virtio_net_hdr_v1 *header)
{
	for (;;) {
		ssize_t len = driver_receive(d, gpas, header, got, WAIT_MS);
		ck_assert_int_gt(len, 0);
		if (len > 42 && got[12] == 8 && got[13] == 0 && got[23] == IPPROTO_UDP && !memcmp(got + 36, "\x12\x67", 2))
			return len;
	}
}

START_TEST(a_datagram_with_a_partial_checksum_reaches_the_hosts_socket)
{
	struct host h;
	struct driver d;
	char text[100] = "";
	struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, TSO4, RING_SIZE);
	driver_send(&d, &header, frame, make_udp_from_guest(&h, "hello, host"));
	ck_assert_int_eq(recv(h.udp, text, sizeof(text), 0), 11);
	ck_assert_str_eq(text, "hello, host");
	close_all(&h, &d);
}
END_TEST

START_TEST(the_hosts_datagram_comes_with_a_partial_checksum_only_if_negotiated)
{
	struct host h;
	struct driver d;
	struct virtio_net_hdr_v1 header;
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, MERGEABLE | NET_BIT(VIRTIO_NET_F_GUEST_CSUM), RING_SIZE);
	driver_give(&d, 100, 1526, gpas);
	host_says(&h, "hello, guest");
	ssize_t len = guest_hears(&d, &header);
	ck_assert_int_eq(len, 42 + 12);
	ck_assert_uint_eq(header.flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	ck_assert_uint_eq(header.csum_start, 34);
	ck_assert_uint_eq(header.csum_offset, 6);
	ck_assert_mem_eq(got + 42, "hello, guest", 12);

	driver_reset(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 100, 1526, gpas);
	host_says(&h, "hello, guest");
	len = guest_hears(&d, &header);
	ck_assert_uint_eq(header.flags, 0);
	/* A right checksum makes the sum over pseudo header and datagram all ones. */
	uint32_t pseudo = sum(IPPROTO_UDP + (uint32_t)len - 34, got + 26, 8);
	ck_assert_uint_eq(sum(pseudo, got + 34, (size_t)len - 34), 0xffff);
	close_all(&h, &d);
}
END_TEST

START_TEST(a_long_segment_from_the_host_arrives_whole_if_negotiated_and_else_in_pieces)
{
	struct host h;
	struct driver d;
	struct virtio_net_hdr_v1 header, received;
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, MERGEABLE | TSO4, RING_SIZE);
	driver_give(&d, 200, 1526, gpas);
	size_t len = make_tcp(driver_mac, h.mac, HOST_IP, GUEST_IP, 20000, &header);
	struct iovec iov[2] = {{&header, 10}, {frame, len}};
	ck_assert_int_eq(writev(h.packet, iov, 2), (ssize_t)(10 + len));
	do {
		ck_assert_int_gt(driver_receive(&d, gpas, &received, got, WAIT_MS), 0);
	} while (got[23] != IPPROTO_TCP || got[12] != 8);
	ck_assert_mem_eq(got + 54, frame + 54, 20000);
	ck_assert_uint_eq(received.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(received.gso_size, 1000);
	ck_assert_uint_eq(received.num_buffers, (12 + len + 1525) / 1526);

	driver_reset(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 200, 1526, gpas);
	ck_assert_int_eq(writev(h.packet, iov, 2), (ssize_t)(10 + len));
	for (unsigned pieces = 0; pieces < 20;) {
		ssize_t part = driver_receive(&d, gpas, &received, got, WAIT_MS);
		ck_assert_int_gt(part, 0);
		if (got[23] != IPPROTO_TCP || got[12] != 8)
			continue;
		ck_assert_int_eq(part, 54 + 1000);
		ck_assert_uint_eq(received.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		ck_assert_uint_eq(received.flags, 0);
		ck_assert_mem_eq(got + 54, frame + 54 + 1000 * pieces, 1000);
		pieces++;
	}
	close_all(&h, &d);
}
END_TEST

START_TEST(a_long_segment_from_the_guest_reaches_the_host_whole)
{
	struct host h;
	struct driver d;
	struct virtio_net_hdr_v1 header;
	struct virtio_net_hdr seen;
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, MERGEABLE | TSO4, RING_SIZE);
	size_t len = make_tcp(h.mac, driver_mac, GUEST_IP, HOST_IP, 30000, &header);
	driver_send(&d, &header, frame, len);
	struct iovec iov[2] = {{&seen, sizeof(seen)}, {got, sizeof(got)}};
	ssize_t total;
	do {
		total = readv(h.packet, iov, 2);
		ck_assert_int_gt(total, 10);
	} while (memcmp(got + 6, driver_mac, 6) != 0);
	ck_assert_int_eq(total, (ssize_t)(10 + len));
	ck_assert_uint_eq(seen.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(seen.gso_size, 1000);
	ck_assert_mem_eq(got, frame, len);
	close_all(&h, &d);
}
END_TEST

START_TEST(the_driver_can_turn_offloads_off_while_it_runs)
{
	struct host h;
	struct driver d;
	struct virtio_net_hdr_v1 header, received;
	uint32_t head, used;
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, MERGEABLE | TSO4 | NET_BIT(VIRTIO_NET_F_CTRL_VQ) | NET_BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS), RING_SIZE);
	driver_give(&d, 200, 1526, gpas);
	uint8_t command[10] = {VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET};
	uint64_t gpa = driver_alloc(&d, 11);
	guest_ram_write(d.ram, gpa, command, 10);
	struct buffer b[2] = {{gpa, 10, false}, {gpa + 10, 1, true}};
	ring_add(&d, Q_CTRL, b, 2);
	ring_kick(&d, Q_CTRL);
	ck_assert(ring_get(&d, Q_CTRL, &head, &used, WAIT_MS));
	ck_assert_uint_eq(*(uint8_t *)driver_at(&d, gpa + 10, 1), VIRTIO_NET_OK);
	virtio_device_pause(d.dev); /* they stay off across a pause */
	virtio_device_resume(d.dev);
	size_t len = make_tcp(driver_mac, h.mac, HOST_IP, GUEST_IP, 5000, &header);
	struct iovec iov[2] = {{&header, 10}, {frame, len}};
	ck_assert_int_eq(writev(h.packet, iov, 2), (ssize_t)(10 + len));
	do {
		ck_assert_int_gt(driver_receive(&d, gpas, &received, got, WAIT_MS), 0);
	} while (got[23] != IPPROTO_TCP || got[12] != 8);
	ck_assert_uint_eq(received.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	close_all(&h, &d);
}
END_TEST

START_TEST(a_tap_without_headers_carries_frames_and_offers_no_offloads)
{
	struct host h;
	struct driver d;
	struct virtio_net_hdr_v1 header = {0};
	char text[100] = "";
	open_all(&h, &d, 0);
	ck_assert_uint_eq(d.dev->features_offered & (NET_HOST_OFFLOADS | NET_GUEST_OFFLOADS), 0);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 100, 1526, gpas);
	size_t len = make_udp_from_guest(&h, "no header");
	frame[40] = frame[41] = 0; /* no checksum at all */
	driver_send(&d, &header, frame, len);
	ck_assert_int_eq(recv(h.udp, text, sizeof(text), 0), 9);
	ck_assert_str_eq(text, "no header");
	host_says(&h, "none back");
	ck_assert_int_eq(guest_hears(&d, &header), 42 + 9);
	ck_assert_mem_eq(got + 42, "none back", 9);
	close_all(&h, &d);
}
END_TEST

START_TEST(hostile_headers_leave_the_tap_and_its_kernel_alone)
{
	unsigned seed = driver_seed();
	struct host h;
	struct driver d;
	char text[100] = "";
	open_all(&h, &d, IFF_VNET_HDR);
	driver_start(&d, d.dev->features_offered, RING_SIZE);
	uint64_t start = d.next_gpa;
	for (unsigned i = 0; i < 3000; i++) {
		struct virtio_net_hdr_v1 header;
		uint8_t *bytes = (uint8_t *)&header;
		d.next_gpa = start;
		size_t len = make_udp_from_guest(&h, "hostile, with some bytes so that segmentation has something to cut");
		for (size_t j = 0; j < sizeof(header); j++)
			bytes[j] = rand_r(&seed) % 2 ? 0 : (uint8_t)rand_r(&seed);
		driver_send(&d, &header, frame, rand_r(&seed) % 4 ? len : (size_t)rand_r(&seed) % len);
	}
	ck_assert(!virtio_device_failed(d.dev));
	while (recv(h.udp, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	struct virtio_net_hdr_v1 header = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6};
	memset(text, 0, sizeof(text));
	driver_send(&d, &header, frame, make_udp_from_guest(&h, "still here"));
	ck_assert_int_eq(recv(h.udp, text, sizeof(text), 0), 10);
	ck_assert_str_eq(text, "still here");
	close_all(&h, &d);
}
END_TEST

START_TEST(other_descriptors_are_refused_with_a_sentence)
{
	struct net_backend *backend;
	struct error err = {0};
	int fds[2];
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(net_tap_create(fds[0], &backend, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "no tap"));
	ck_assert_int_eq(net_tap_create(999, &backend, &err), -EBADF);
	ck_assert_ptr_nonnull(strstr(err.text, "not open"));
	ck_assert_int_eq(unshare(CLONE_NEWNET), 0);
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	int fd = open("/dev/net/tun", O_RDWR);
	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	ck_assert_int_eq(net_tap_create(fd, &backend, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "IFF_TAP"));
	close(fd);
}
END_TEST

/* Whether this user may make a namespace with a tap, tried in a child so that we stay where we are. */
static bool may_make_taps(void)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI};
		int fd = open("/dev/net/tun", O_RDWR);
		_exit(fd < 0 || unshare(CLONE_NEWNET) || ioctl(fd, TUNSETIFF, &ifr));
	}
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(void)
{
	if (!may_make_taps()) {
		printf("skipped: network namespaces and /dev/net/tun need root\n");
		return 0;
	}
	Suite *s = suite_create("net_tap");
	TCase *c = tcase_create("tap");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_datagram_with_a_partial_checksum_reaches_the_hosts_socket);
	tcase_add_test(c, the_hosts_datagram_comes_with_a_partial_checksum_only_if_negotiated);
	tcase_add_test(c, a_long_segment_from_the_host_arrives_whole_if_negotiated_and_else_in_pieces);
	tcase_add_test(c, a_long_segment_from_the_guest_reaches_the_host_whole);
	tcase_add_test(c, the_driver_can_turn_offloads_off_while_it_runs);
	tcase_add_test(c, a_tap_without_headers_carries_frames_and_offers_no_offloads);
	tcase_add_test(c, hostile_headers_leave_the_tap_and_its_kernel_alone);
	tcase_add_test(c, other_descriptors_are_refused_with_a_sentence);
	suite_add_tcase(s, c);
	return suite_run(s);
}
