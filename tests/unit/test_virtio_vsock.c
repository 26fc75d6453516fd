/* vsock: connections both ways between a model driver and real unix sockets, flow control, ends of all kinds, and hostile packets. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/virtio_driver.h"
#include "virtio/vsock.h"

#define RAM_SIZE (4u << 20)
#define SIZE 32
#define RX_BUFFER 4096u
#define QUEUE_GPA(n) (0x1000u + 0x1000u * (n))
#define RX_GPA(slot) (0x100000u + RX_BUFFER * (slot))
#define TX_GPA 0x200000u
#define EVENT_GPA 0x300000u
#define VERSION_1 (1ull << 32)
#define EVENT_IDX (1ull << 29)
#define CID 42
#define BUFFER (128u << 10) /* the device's, for each connection */

enum { RX, TX, EVENT };

static uint64_t seed;
static struct guest_ram *ram;
static struct virtio_device *dev;
static struct driver_queue queues[3];
static char dir[32], path[64];
static bool with_buffers = true;

static void create_at(int listen_fd)
{
	const struct virtio_vsock_params params = {.name = "vsock0", .guest_cid = CID, .uds_path = path, .listen_fd = listen_fd};
	struct error err = {0};
	ck_assert_msg(virtio_vsock_create(&params, ram, &dev, &err) == 0, "%s", err.text);
}

static void offer_rx(uint16_t slot)
{
	driver_desc(&queues[RX], slot, RX_GPA(slot), RX_BUFFER, DRIVER_WRITE, 0);
	driver_offer(&queues[RX], slot);
	virtio_device_kick(dev, RX);
}

static void bring_up(void)
{
	driver_negotiate(dev, VERSION_1 | EVENT_IDX);
	for (unsigned i = 0; i < 3; i++) {
		driver_queue_init(&queues[i], ram, QUEUE_GPA(i), SIZE);
		driver_enable_queue(dev, i, &queues[i]);
	}
	driver_ok(dev);
	for (uint16_t slot = 0; with_buffers && slot < SIZE; slot++)
		offer_rx(slot);
}

static void set_up(void)
{
	const struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, NULL), 0);
	strcpy(dir, "/tmp/test_vsock_XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	with_buffers = true;
	create_at(-1);
	bring_up();
}

static void tear_down(void)
{
	virtio_device_destroy(dev);
	ck_assert_int_eq(access(path, F_OK), -1);
	rmdir(dir);
	guest_ram_destroy(ram);
}

/* --- the host's end --- */

static struct sockaddr_un address_of(const char *suffix)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof(address.sun_path), "%s%s", path, suffix);
	return address;
}

static int host_connect(void)
{
	const struct sockaddr_un address = address_of("");
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	const struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static int host_listen(uint32_t port)
{
	char suffix[16];
	snprintf(suffix, sizeof(suffix), "_%u", port);
	const struct sockaddr_un address = address_of(suffix);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(address.sun_path);
	ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

static int host_accept(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	ck_assert_int_eq(poll(&p, 1, 10000), 1);
	int fd = accept(listener, NULL, NULL);
	const struct timeval limit = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	return fd;
}

static void host_unlisten(int listener, uint32_t port)
{
	char suffix[16];
	snprintf(suffix, sizeof(suffix), "_%u", port);
	const struct sockaddr_un address = address_of(suffix);
	close(listener);
	unlink(address.sun_path);
}

static void host_expect(int fd, const char *text)
{
	char got[64] = {0};
	size_t len = strlen(text), have = 0;
	while (have < len) {
		ssize_t n = read(fd, got + have, len - have);
		ck_assert_int_gt(n, 0);
		have += (size_t)n;
	}
	ck_assert(memcmp(got, text, len) == 0);
}

static void host_expect_end(int fd)
{
	char byte;
	ck_assert_int_le(read(fd, &byte, 1), 0);
	ck_assert_int_ne(errno, EAGAIN);
}

/* --- the guest's end --- */

struct packet {
	struct virtio_vsock_hdr hdr;
	uint8_t data[RX_BUFFER];
};

static void raw_send(const void *bytes, uint32_t len)
{
	guest_ram_write(ram, TX_GPA, bytes, len);
	driver_desc(&queues[TX], 0, TX_GPA, len, 0, 0);
	driver_offer(&queues[TX], 0);
	virtio_device_kick(dev, TX);
}

static void guest_send(const struct virtio_vsock_hdr *hdr, const void *data)
{
	static uint8_t bytes[sizeof(*hdr) + 2 * BUFFER];
	memcpy(bytes, hdr, sizeof(*hdr));
	if (hdr->len)
		memcpy(bytes + sizeof(*hdr), data, hdr->len);
	raw_send(bytes, (uint32_t)sizeof(*hdr) + hdr->len);
	uint32_t id, len;
	ck_assert(driver_wait(&queues[TX], &id, &len));
}

static struct virtio_vsock_hdr header(uint32_t guest_port, uint32_t host_port, uint16_t op)
{
	return (struct virtio_vsock_hdr){
		.src_cid = CID,
		.dst_cid = 2,
		.src_port = guest_port,
		.dst_port = host_port,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = op,
		.buf_alloc = 65536,
	};
}

static void guest_op(uint32_t guest_port, uint32_t host_port, uint16_t op, uint32_t flags)
{
	struct virtio_vsock_hdr hdr = header(guest_port, host_port, op);
	hdr.flags = flags;
	guest_send(&hdr, NULL);
}

static void guest_says(uint32_t guest_port, uint32_t host_port, const char *text)
{
	struct virtio_vsock_hdr hdr = header(guest_port, host_port, VIRTIO_VSOCK_OP_RW);
	hdr.len = (uint32_t)strlen(text);
	guest_send(&hdr, text);
}

static bool guest_try_receive(struct packet *packet)
{
	uint32_t id, len;
	if (!driver_take(&queues[RX], &id, &len))
		return false;
	ck_assert_uint_ge(len, sizeof(packet->hdr));
	guest_ram_read(ram, RX_GPA(id), &packet->hdr, sizeof(packet->hdr));
	ck_assert_uint_eq(len, sizeof(packet->hdr) + packet->hdr.len);
	if (packet->hdr.len)
		guest_ram_read(ram, RX_GPA(id) + sizeof(packet->hdr), packet->data, packet->hdr.len);
	ck_assert_uint_eq(packet->hdr.dst_cid, CID);
	offer_rx((uint16_t)id);
	return true;
}

static void guest_receive(struct packet *packet)
{
	long long end = driver_now_ms() + 15000;
	while (!guest_try_receive(packet)) {
		ck_assert_int_lt(driver_now_ms(), end);
		usleep(100);
	}
}

static struct virtio_vsock_hdr guest_expect(uint16_t op)
{
	static struct packet packet;
	guest_receive(&packet);
	ck_assert_uint_eq(packet.hdr.op, op);
	return packet.hdr;
}

static void guest_hears(uint32_t guest_port, const char *text)
{
	static struct packet packet;
	size_t have = 0;
	while (have < strlen(text)) {
		guest_receive(&packet);
		ck_assert_uint_eq(packet.hdr.op, VIRTIO_VSOCK_OP_RW);
		ck_assert_uint_eq(packet.hdr.dst_port, guest_port);
		ck_assert(memcmp(packet.data, text + have, packet.hdr.len) == 0);
		have += packet.hdr.len;
	}
	ck_assert_uint_eq(have, strlen(text));
}

static void guest_quiet(void)
{
	static struct packet packet;
	usleep(20000);
	ck_assert(!guest_try_receive(&packet));
}

/* A connection that the host began; returns its socket and port. */
static int open_from_host(uint32_t guest_port, uint32_t *host_port)
{
	int fd = host_connect();
	char line[32];
	int n = snprintf(line, sizeof(line), "CONNECT %u\n", guest_port);
	ck_assert_int_eq(write(fd, line, (size_t)n), n);
	struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	ck_assert_uint_eq(hdr.src_cid, 2);
	ck_assert_uint_eq(hdr.dst_port, guest_port);
	*host_port = hdr.src_port;
	guest_op(guest_port, *host_port, VIRTIO_VSOCK_OP_RESPONSE, 0);
	snprintf(line, sizeof(line), "OK %u\n", *host_port);
	host_expect(fd, line);
	return fd;
}

/* One that the guest began. */
static int open_from_guest(uint32_t guest_port, uint32_t host_port, int listener)
{
	guest_op(guest_port, host_port, VIRTIO_VSOCK_OP_REQUEST, 0);
	guest_expect(VIRTIO_VSOCK_OP_RESPONSE);
	return host_accept(listener);
}

/* --- connecting --- */

START_TEST(the_guest_learns_its_cid)
{
	uint64_t cid;
	virtio_device_config_read(dev, 0, &cid, sizeof(cid));
	ck_assert_uint_eq(cid, CID);
}
END_TEST

START_TEST(a_host_client_connects_and_talks)
{
	uint32_t port;
	int fd = open_from_host(1234, &port);
	ck_assert_int_eq(write(fd, "hello", 5), 5);
	guest_hears(1234, "hello");
	guest_says(1234, port, "hi there");
	host_expect(fd, "hi there");
	close(fd);
	ck_assert_uint_eq(guest_expect(VIRTIO_VSOCK_OP_SHUTDOWN).flags, 3);
	guest_op(1234, port, VIRTIO_VSOCK_OP_RST, 0);
	guest_quiet();
}
END_TEST

START_TEST(what_a_client_says_right_after_its_line_is_not_lost)
{
	int fd = host_connect();
	ck_assert_int_eq(write(fd, "CON", 3), 3);
	usleep(10000);
	ck_assert_int_eq(write(fd, "NECT 7\nearly", 12), 12);
	struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	guest_quiet();
	guest_op(7, hdr.src_port, VIRTIO_VSOCK_OP_RESPONSE, 0);
	guest_hears(7, "early");
	close(fd);
}
END_TEST

START_TEST(clients_that_speak_otherwise_are_closed)
{
	static const char *const bad[] = {
		"GET / HTTP/1.0\n",
		"CONNECT\n",
		"CONNECT \n",
		"CONNECT x\n",
		"CONNECT -1\n",
		"CONNECT 4294967295\n",
		"CONNECT 99999999999\n",
		"CONNECT 5 6\n",
		"connect 5\n",
		"CONNECT 5;\n",
		"\n",
		"CONNECT                                    5\n",
		"0123456789012345678901234567890123456789",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int fd = host_connect();
		ck_assert_int_eq(write(fd, bad[i], strlen(bad[i])), (ssize_t)strlen(bad[i]));
		host_expect_end(fd);
		close(fd);
	}
	int fd = host_connect();
	close(fd); /* without a word */
	guest_quiet();
	open_from_host(5, &(uint32_t){0});
}
END_TEST

START_TEST(a_client_whose_port_nobody_serves_is_closed)
{
	int fd = host_connect();
	ck_assert_int_eq(write(fd, "CONNECT 99\n", 11), 11);
	struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	guest_op(99, hdr.src_port, VIRTIO_VSOCK_OP_RST, 0);
	host_expect_end(fd);
	close(fd);
}
END_TEST

START_TEST(the_guest_connects_to_a_server_on_the_host)
{
	int listener = host_listen(52);
	int fd = open_from_guest(1111, 52, listener);
	guest_says(1111, 52, "question");
	host_expect(fd, "question");
	ck_assert_int_eq(write(fd, "answer", 6), 6);
	guest_hears(1111, "answer");
	close(fd);
	guest_expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	host_unlisten(listener, 52);
}
END_TEST

START_TEST(the_guest_is_reset_when_no_server_is_there)
{
	guest_op(1111, 53, VIRTIO_VSOCK_OP_REQUEST, 0);
	struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_RST);
	ck_assert(hdr.src_port == 53 && hdr.dst_port == 1111 && hdr.src_cid == 2);
}
END_TEST

/* --- ending --- */

START_TEST(a_half_closed_host_still_hears)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	ck_assert_int_eq(write(fd, "last words", 10), 10);
	shutdown(fd, SHUT_WR);
	guest_hears(5, "last words");
	ck_assert_uint_eq(guest_expect(VIRTIO_VSOCK_OP_SHUTDOWN).flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(5, port, "reply");
	host_expect(fd, "reply");
	guest_op(5, port, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	host_expect_end(fd);
	guest_expect(VIRTIO_VSOCK_OP_RST);
	close(fd);
}
END_TEST

START_TEST(a_half_closed_guest_still_hears)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	guest_says(5, port, "done");
	guest_op(5, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	host_expect(fd, "done");
	host_expect_end(fd);
	ck_assert_int_eq(write(fd, "ok", 2), 2);
	guest_hears(5, "ok");
	close(fd);
	guest_expect(VIRTIO_VSOCK_OP_SHUTDOWN);
}
END_TEST

START_TEST(a_guest_that_closes_leaves_its_last_bytes_to_a_slow_host)
{
	int listener = host_listen(60);
	int fd = open_from_guest(1, 60, listener);
	/* More than the socket takes, so that some is left in the device. */
	static char bulk[BUFFER];
	memset(bulk, 'b', sizeof(bulk));
	size_t sent = 0;
	for (unsigned i = 0; i < 3; i++) {
		struct virtio_vsock_hdr hdr = header(1, 60, VIRTIO_VSOCK_OP_RW);
		hdr.len = 100000;
		guest_send(&hdr, bulk);
		sent += hdr.len;
	}
	guest_op(1, 60, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
	if (_i)
		guest_op(1, 60, VIRTIO_VSOCK_OP_RST, 0);
	size_t got = 0;
	for (;;) {
		static char bytes[65536];
		ssize_t n = read(fd, bytes, sizeof(bytes));
		ck_assert_int_ge(n, 0);
		if (n == 0)
			break;
		got += (size_t)n;
	}
	ck_assert_uint_eq(got, sent);
	close(fd);
	host_unlisten(listener, 60);
}
END_TEST

START_TEST(a_host_that_is_gone_resets_a_guest_that_talks_on)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	close(fd);
	guest_expect(VIRTIO_VSOCK_OP_SHUTDOWN);
	guest_says(5, port, "anybody there?");
	guest_expect(VIRTIO_VSOCK_OP_RST);
}
END_TEST

/* --- flow control --- */

START_TEST(the_guest_gets_no_more_than_it_has_room_for)
{
	static struct packet packet;
	int listener = host_listen(61);
	struct virtio_vsock_hdr request = header(1, 61, VIRTIO_VSOCK_OP_REQUEST);
	request.buf_alloc = 10;
	guest_send(&request, NULL);
	guest_expect(VIRTIO_VSOCK_OP_RESPONSE);
	int fd = host_accept(listener);
	ck_assert_int_eq(write(fd, "0123456789abcdef", 16), 16);
	guest_hears(1, "0123456789");
	guest_expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	guest_quiet();
	struct virtio_vsock_hdr update = header(1, 61, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	update.buf_alloc = 10;
	update.fwd_cnt = 4;
	guest_send(&update, NULL);
	guest_hears(1, "abcd");
	guest_expect(VIRTIO_VSOCK_OP_CREDIT_REQUEST);
	/* Numbers that make no sense are no credit. */
	update.fwd_cnt = 1000;
	guest_send(&update, NULL);
	guest_quiet();
	update.fwd_cnt = 16;
	guest_send(&update, NULL);
	guest_quiet();
	update.fwd_cnt = 14;
	guest_send(&update, NULL);
	guest_receive(&packet);
	ck_assert(packet.hdr.len == 2 && memcmp(packet.data, "ef", 2) == 0);
	close(fd);
	host_unlisten(listener, 61);
}
END_TEST

START_TEST(a_guest_that_exceeds_its_credit_is_reset)
{
	static char bulk[2 * BUFFER];
	uint32_t port;
	int fd = open_from_host(5, &port);
	struct virtio_vsock_hdr hdr = header(5, port, VIRTIO_VSOCK_OP_RW);
	hdr.len = BUFFER + 1;
	guest_send(&hdr, bulk);
	guest_expect(VIRTIO_VSOCK_OP_RST);
	close(fd);
}
END_TEST

START_TEST(a_guest_hears_of_room_before_it_has_to_ask)
{
	static char bulk[BUFFER];
	uint32_t port;
	int fd = open_from_host(5, &port);
	struct virtio_vsock_hdr hdr = header(5, port, VIRTIO_VSOCK_OP_RW);
	hdr.len = BUFFER;
	guest_send(&hdr, bulk);
	static char bytes[BUFFER];
	size_t got = 0;
	while (got < BUFFER) {
		ssize_t n = read(fd, bytes, sizeof(bytes));
		ck_assert_int_gt(n, 0);
		got += (size_t)n;
	}
	struct virtio_vsock_hdr update;
	do {
		update = guest_expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE);
		ck_assert_uint_eq(update.buf_alloc, BUFFER);
	} while (update.fwd_cnt <= BUFFER / 2);
	guest_op(5, port, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
	ck_assert_uint_eq(guest_expect(VIRTIO_VSOCK_OP_CREDIT_UPDATE).fwd_cnt, BUFFER);
	close(fd);
}
END_TEST

START_TEST(packets_wait_until_the_guest_offers_buffers)
{
	virtio_device_set_status(dev, 0);
	with_buffers = false;
	bring_up();
	int fd = host_connect();
	ck_assert_int_eq(write(fd, "CONNECT 5\n", 10), 10);
	/* Many resets are owed, too: more than the device remembers. */
	for (uint32_t i = 0; i < 60; i++)
		guest_op(1000 + i, 9, VIRTIO_VSOCK_OP_RW, 0);
	for (uint32_t i = 60; i < 80; i++) {
		struct virtio_vsock_hdr hdr = header(1000 + i, 9, VIRTIO_VSOCK_OP_RW);
		uint16_t slot = (uint16_t)(i - 60);
		guest_ram_write(ram, TX_GPA + 64 * slot, &hdr, sizeof(hdr));
		driver_desc(&queues[TX], slot, TX_GPA + 64 * slot, sizeof(hdr), 0, 0);
		driver_offer(&queues[TX], slot);
		virtio_device_kick(dev, TX);
	}
	usleep(20000);
	ck_assert_msg(queues[TX].avail_idx != driver_used_idx(&queues[TX]), "the last packets wait");
	for (uint16_t slot = 0; slot < SIZE; slot++)
		offer_rx(slot);
	unsigned resets = 0, requests = 0;
	while (resets < 80 || requests < 1) {
		static struct packet packet;
		guest_receive(&packet);
		resets += packet.hdr.op == VIRTIO_VSOCK_OP_RST;
		requests += packet.hdr.op == VIRTIO_VSOCK_OP_REQUEST;
	}
	ck_assert_uint_eq(driver_used_idx(&queues[TX]), queues[TX].avail_idx);
	close(fd);
}
END_TEST

/* Bytes both ways on several connections at once, all of them right. */
#define STREAMS 3
#define TOTAL 300000u

static uint8_t byte_at(unsigned stream, size_t at)
{
	return (uint8_t)((at * 13 >> 4) + stream);
}

struct stream {
	int fd;
	uint32_t port, guest_port;
	size_t guest_sent, host_got, host_sent, guest_got;
	uint32_t device_forwarded, guest_told;
};

static void stream_host_step(struct stream *s, unsigned n, struct dice *dice)
{
	static uint8_t bytes[20000];
	if (dice_roll(dice, 3) == 0) {
		ssize_t got = recv(s->fd, bytes, 1 + dice_roll(dice, sizeof(bytes)), MSG_DONTWAIT);
		for (ssize_t i = 0; i < got; i++)
			ck_assert_uint_eq(bytes[i], byte_at(n, s->host_got + (size_t)i));
		if (got > 0)
			s->host_got += (size_t)got;
	}
	if (s->host_sent < TOTAL && dice_roll(dice, 3) == 0) {
		size_t len = 1 + dice_roll(dice, sizeof(bytes));
		if (len > TOTAL - s->host_sent)
			len = TOTAL - s->host_sent;
		for (size_t i = 0; i < len; i++)
			bytes[i] = byte_at(n, s->host_sent + i);
		ssize_t sent = send(s->fd, bytes, len, MSG_DONTWAIT);
		if (sent > 0)
			s->host_sent += (size_t)sent;
	}
}

static void stream_guest_step(struct stream *s, unsigned n, struct dice *dice)
{
	static uint8_t bytes[30000];
	uint32_t room = BUFFER - (uint32_t)(s->guest_sent - s->device_forwarded);
	uint32_t len = 1 + dice_roll(dice, sizeof(bytes));
	if (len > room)
		len = room;
	if (len > TOTAL - s->guest_sent)
		len = (uint32_t)(TOTAL - s->guest_sent);
	bool tell = s->guest_got - s->guest_told > 20000;
	if (!len && !tell)
		return;
	struct virtio_vsock_hdr hdr = header(s->guest_port, s->port, len ? VIRTIO_VSOCK_OP_RW : VIRTIO_VSOCK_OP_CREDIT_UPDATE);
	hdr.len = len;
	hdr.fwd_cnt = s->guest_told = (uint32_t)s->guest_got;
	for (uint32_t i = 0; i < len; i++)
		bytes[i] = byte_at(n, s->guest_sent + i);
	guest_send(&hdr, bytes);
	s->guest_sent += len;
}

START_TEST(streams_both_ways_arrive_whole)
{
	struct dice dice = {seed + (uint64_t)_i};
	struct stream streams[STREAMS] = {0};
	for (unsigned n = 0; n < STREAMS; n++) {
		streams[n].guest_port = 100 + n;
		streams[n].fd = open_from_host(100 + n, &streams[n].port);
	}
	long long end = driver_now_ms() + 50000;
	for (;;) {
		bool done = true;
		for (unsigned n = 0; n < STREAMS; n++) {
			stream_host_step(&streams[n], n, &dice);
			stream_guest_step(&streams[n], n, &dice);
			done &= streams[n].host_got == TOTAL && streams[n].guest_got == TOTAL;
		}
		static struct packet packet;
		while (guest_try_receive(&packet)) {
			ck_assert_uint_ge(packet.hdr.dst_port, 100);
			ck_assert_uint_lt(packet.hdr.dst_port, 100 + STREAMS);
			struct stream *s = &streams[packet.hdr.dst_port - 100];
			ck_assert_uint_eq(packet.hdr.src_port, s->port);
			ck_assert(packet.hdr.op == VIRTIO_VSOCK_OP_RW || packet.hdr.op == VIRTIO_VSOCK_OP_CREDIT_UPDATE ||
				  packet.hdr.op == VIRTIO_VSOCK_OP_CREDIT_REQUEST);
			s->device_forwarded = packet.hdr.fwd_cnt;
			for (uint32_t i = 0; i < packet.hdr.len; i++)
				ck_assert_uint_eq(packet.data[i], byte_at(packet.hdr.dst_port - 100, s->guest_got + i));
			s->guest_got += packet.hdr.len;
			ck_assert_uint_le(s->guest_got - s->guest_told, 65536);
		}
		if (done)
			break;
		ck_assert_int_lt(driver_now_ms(), end);
		if (dice_roll(&dice, 100) == 0) {
			virtio_device_pause(dev);
			virtio_device_resume(dev);
		}
	}
	for (unsigned n = 0; n < STREAMS; n++)
		close(streams[n].fd);
}
END_TEST

/* --- hostile packets --- */

START_TEST(packets_that_belong_to_no_connection_are_reset)
{
	static const uint16_t ops[] = {VIRTIO_VSOCK_OP_INVALID,
				       VIRTIO_VSOCK_OP_RESPONSE,
				       VIRTIO_VSOCK_OP_SHUTDOWN,
				       VIRTIO_VSOCK_OP_RW,
				       VIRTIO_VSOCK_OP_CREDIT_UPDATE,
				       VIRTIO_VSOCK_OP_CREDIT_REQUEST,
				       8,
				       0xffff};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		guest_op(7, 8, ops[i], 0);
		struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_RST);
		ck_assert(hdr.src_port == 8 && hdr.dst_port == 7);
	}
	guest_op(7, 8, VIRTIO_VSOCK_OP_RST, 0);
	guest_quiet();
}
END_TEST

START_TEST(packets_of_a_wrong_cid_or_type_are_dropped_or_reset)
{
	struct virtio_vsock_hdr hdr = header(7, 8, VIRTIO_VSOCK_OP_REQUEST);
	hdr.src_cid = CID + 1;
	guest_send(&hdr, NULL);
	guest_quiet();
	hdr = header(7, 8, VIRTIO_VSOCK_OP_REQUEST);
	hdr.dst_cid = 3;
	guest_send(&hdr, NULL);
	ck_assert_uint_eq(guest_expect(VIRTIO_VSOCK_OP_RST).src_cid, 3);
	hdr = header(7, 8, VIRTIO_VSOCK_OP_REQUEST);
	hdr.type = VIRTIO_VSOCK_TYPE_SEQPACKET;
	guest_send(&hdr, NULL);
	ck_assert_uint_eq(guest_expect(VIRTIO_VSOCK_OP_RST).type, VIRTIO_VSOCK_TYPE_SEQPACKET);
}
END_TEST

START_TEST(ops_out_of_turn_reset_the_connection)
{
	static const uint16_t ops[] = {VIRTIO_VSOCK_OP_INVALID, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RESPONSE, 99};
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		uint32_t port;
		int fd = open_from_host(5, &port);
		guest_op(5, port, ops[i], 0);
		guest_expect(VIRTIO_VSOCK_OP_RST);
		host_expect_end(fd);
		close(fd);
	}
}
END_TEST

START_TEST(data_before_a_response_resets_the_connection)
{
	int fd = host_connect();
	ck_assert_int_eq(write(fd, "CONNECT 5\n", 10), 10);
	struct virtio_vsock_hdr hdr = guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	guest_says(5, hdr.src_port, "too early");
	guest_expect(VIRTIO_VSOCK_OP_RST);
	host_expect_end(fd);
	close(fd);
}
END_TEST

START_TEST(data_after_a_shutdown_resets_the_connection)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	guest_op(5, port, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
	guest_says(5, port, "still here");
	guest_expect(VIRTIO_VSOCK_OP_RST);
	close(fd);
}
END_TEST

START_TEST(a_packet_longer_than_its_buffers_fails_the_device)
{
	struct virtio_vsock_hdr hdr = header(5, 6, VIRTIO_VSOCK_OP_RW);
	hdr.len = _i ? UINT32_MAX : 1;
	raw_send(&hdr, sizeof(hdr));
	ck_assert(driver_wait_failed(dev));
	bring_up();
	uint32_t port;
	close(open_from_host(5, &port));
}
END_TEST

START_TEST(a_packet_without_a_whole_header_fails_the_device)
{
	struct virtio_vsock_hdr hdr = header(5, 6, VIRTIO_VSOCK_OP_RW);
	raw_send(&hdr, sizeof(hdr) - 1);
	ck_assert(driver_wait_failed(dev));
}
END_TEST

START_TEST(a_receive_buffer_without_room_for_a_header_fails_the_device)
{
	virtio_device_set_status(dev, 0);
	with_buffers = false;
	bring_up();
	driver_desc(&queues[RX], 0, RX_GPA(0), sizeof(struct virtio_vsock_hdr), DRIVER_WRITE, 0);
	driver_offer(&queues[RX], 0);
	guest_op(5, 6, VIRTIO_VSOCK_OP_RW, 0);
	ck_assert(driver_wait_failed(dev));
}
END_TEST

START_TEST(clients_of_a_failed_device_wait_for_its_reset)
{
	driver_publish(&queues[TX], 999);
	virtio_device_kick(dev, TX);
	ck_assert(driver_wait_failed(dev));
	int fd = host_connect();
	ck_assert_int_eq(write(fd, "CONNECT 5\n", 10), 10);
	usleep(20000);
	bring_up();
	guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	close(fd);
}
END_TEST

START_TEST(more_connections_than_the_limit_are_reset_and_leave_room_again)
{
	enum { MANY = 530, LIMIT = 512 };
	static int fds[MANY];
	int listener = host_listen(70);
	unsigned opened = 0, refused = 0;
	for (uint32_t i = 0; i < MANY; i++) {
		static struct packet packet;
		guest_op(10000 + i, 70, VIRTIO_VSOCK_OP_REQUEST, 0);
		guest_receive(&packet);
		if (packet.hdr.op == VIRTIO_VSOCK_OP_RESPONSE)
			fds[opened++] = host_accept(listener);
		else
			refused++;
	}
	ck_assert_uint_eq(opened, LIMIT);
	ck_assert_uint_eq(refused, MANY - LIMIT);
	int waiting = host_connect();
	ck_assert_int_eq(write(waiting, "CONNECT 5\n", 10), 10);
	guest_quiet();
	guest_op(10000, 70, VIRTIO_VSOCK_OP_RST, 0);
	guest_expect(VIRTIO_VSOCK_OP_REQUEST);
	close(waiting);
	for (unsigned i = 0; i < opened; i++)
		close(fds[i]);
	host_unlisten(listener, 70);
}
END_TEST

START_TEST(random_packets_do_no_harm)
{
	struct dice dice = {seed + (uint64_t)_i};
	int listener = host_listen(3);
	static uint8_t bulk[5000];
	int fds[16];
	unsigned nr_fds = 0;
	for (unsigned i = 0; i < 4000; i++) {
		static struct packet packet;
		struct virtio_vsock_hdr hdr = header(dice_roll(&dice, 4), dice_roll(&dice, 6), (uint16_t)dice_roll(&dice, 9));
		if (dice_roll(&dice, 3) == 0)
			hdr.dst_port = (1u << 30) + dice_roll(&dice, 20);
		hdr.len = dice_roll(&dice, 2) ? dice_roll(&dice, sizeof(bulk)) : 0;
		hdr.flags = dice_roll(&dice, 5);
		hdr.buf_alloc = dice_roll(&dice, 3) ? dice_roll(&dice, 100000) : UINT32_MAX;
		hdr.fwd_cnt = dice_roll(&dice, 3) ? dice_roll(&dice, 10000) : UINT32_MAX;
		guest_send(&hdr, bulk);
		if (dice_roll(&dice, 40) == 0) {
			int fd = host_connect();
			ck_assert_int_eq(write(fd, "CONNECT 2\nxyz", 13), 13);
			if (nr_fds == 16)
				close(fds[--nr_fds]);
			fds[nr_fds++] = fd;
		}
		int fd = -1;
		struct pollfd p = {.fd = listener, .events = POLLIN};
		if (poll(&p, 1, 0) == 1)
			fd = accept(listener, NULL, NULL);
		if (fd >= 0) {
			if (nr_fds == 16)
				close(fds[--nr_fds]);
			fds[nr_fds++] = fd;
			ck_assert_int_ge(send(fd, bulk, 100, MSG_DONTWAIT | MSG_NOSIGNAL), -1);
		}
		while (dice_roll(&dice, 5) && guest_try_receive(&packet))
			;
		if (dice_roll(&dice, 500) == 0)
			bring_up();
	}
	ck_assert(!virtio_device_failed(dev));
	while (nr_fds)
		close(fds[--nr_fds]);
	host_unlisten(listener, 3);
}
END_TEST

/* --- life --- */

START_TEST(a_reset_of_the_device_closes_all_connections)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	virtio_device_set_status(dev, 0);
	host_expect_end(fd);
	close(fd);
}
END_TEST

START_TEST(connections_survive_a_pause)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	virtio_device_pause(dev);
	ck_assert_int_eq(write(fd, "meanwhile", 9), 9);
	guest_quiet();
	virtio_device_resume(dev);
	guest_hears(5, "meanwhile");
	close(fd);
}
END_TEST

START_TEST(after_a_load_the_guest_learns_that_connections_are_gone)
{
	uint32_t port;
	int fd = open_from_host(5, &port);
	driver_desc(&queues[EVENT], 0, EVENT_GPA, 8, DRIVER_WRITE, 0);
	driver_offer(&queues[EVENT], 0);
	virtio_device_pause(dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(dev, w);
	const void *data;
	size_t size;
	ck_assert_int_eq(state_writer_end(w, &data, &size), 0);
	virtio_device_destroy(dev);
	host_expect_end(fd);
	close(fd);

	create_at(-1);
	virtio_device_pause(dev);
	struct state_reader *r;
	struct error err = {0};
	ck_assert_int_eq(state_reader_open(data, size, &r, NULL), 0);
	ck_assert_msg(virtio_device_load(dev, r, &err) == 0, "%s", err.text);
	virtio_device_resume(dev);
	uint32_t id, len, event;
	ck_assert(driver_wait(&queues[EVENT], &id, &len));
	ck_assert_uint_eq(len, 4);
	guest_ram_read(ram, EVENT_GPA, &event, sizeof(event));
	ck_assert_uint_eq(event, VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	guest_says(5, port, "hello?");
	guest_expect(VIRTIO_VSOCK_OP_RST);
	fd = open_from_host(6, &port);
	close(fd);
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

START_TEST(a_listener_may_be_given_and_is_not_unlinked)
{
	virtio_device_destroy(dev);
	const struct sockaddr_un address = address_of("");
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (const struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(listener, 4), 0);
	create_at(listener);
	bring_up();
	uint32_t port;
	close(open_from_host(5, &port));
	virtio_device_destroy(dev);
	dev = NULL;
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);
}
END_TEST

START_TEST(a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not)
{
	struct virtio_device *other;
	const struct virtio_vsock_params params = {.name = "vsock9", .guest_cid = 9, .uds_path = path, .listen_fd = -1};
	struct error err = {0};
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -EADDRINUSE);
	ck_assert(strstr(err.text, path) != NULL);
	virtio_device_destroy(dev);

	int file = open(path, O_CREAT | O_WRONLY, 0600);
	close(file);
	dev = NULL;
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -EADDRINUSE);
	ck_assert_int_eq(access(path, F_OK), 0);
	unlink(path);

	const struct sockaddr_un address = address_of("");
	int dead = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(dead, (const struct sockaddr *)&address, sizeof(address)), 0);
	close(dead);
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &dev, &err), 0);
}
END_TEST

START_TEST(absurd_parameters_are_refused)
{
	static const uint64_t cids[] = {0, 1, 2, UINT32_MAX, 1ull << 32, UINT64_MAX};
	struct virtio_device *other;
	struct error err = {0};
	for (size_t i = 0; i < sizeof(cids) / sizeof(cids[0]); i++) {
		const struct virtio_vsock_params params = {
			.name = "v", .guest_cid = cids[i], .uds_path = "/tmp/x", .listen_fd = -1};
		ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -EINVAL);
	}
	char longer[120];
	memset(longer, 'l', sizeof(longer));
	longer[97] = '\0';
	struct virtio_vsock_params params = {.name = "v", .guest_cid = 3, .uds_path = longer, .listen_fd = -1};
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -ENAMETOOLONG);
	params.uds_path = "";
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -EINVAL);
	params.uds_path = "/nonexistent/directory/s";
	ck_assert_int_eq(virtio_vsock_create(&params, ram, &other, &err), -ENOENT);
}
END_TEST

int main(void)
{
	seed = dice_seed();
	Suite *suite = suite_create("virtio_vsock");
	TCase *tc = tcase_create("vsock");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_guest_learns_its_cid);
	tcase_add_test(tc, a_host_client_connects_and_talks);
	tcase_add_test(tc, what_a_client_says_right_after_its_line_is_not_lost);
	tcase_add_test(tc, clients_that_speak_otherwise_are_closed);
	tcase_add_test(tc, a_client_whose_port_nobody_serves_is_closed);
	tcase_add_test(tc, the_guest_connects_to_a_server_on_the_host);
	tcase_add_test(tc, the_guest_is_reset_when_no_server_is_there);
	tcase_add_test(tc, a_half_closed_host_still_hears);
	tcase_add_test(tc, a_half_closed_guest_still_hears);
	tcase_add_loop_test(tc, a_guest_that_closes_leaves_its_last_bytes_to_a_slow_host, 0, 2);
	tcase_add_test(tc, a_host_that_is_gone_resets_a_guest_that_talks_on);
	tcase_add_test(tc, the_guest_gets_no_more_than_it_has_room_for);
	tcase_add_test(tc, a_guest_that_exceeds_its_credit_is_reset);
	tcase_add_test(tc, a_guest_hears_of_room_before_it_has_to_ask);
	tcase_add_test(tc, packets_wait_until_the_guest_offers_buffers);
	tcase_add_loop_test(tc, streams_both_ways_arrive_whole, 0, 2);
	tcase_add_test(tc, packets_that_belong_to_no_connection_are_reset);
	tcase_add_test(tc, packets_of_a_wrong_cid_or_type_are_dropped_or_reset);
	tcase_add_test(tc, ops_out_of_turn_reset_the_connection);
	tcase_add_test(tc, data_before_a_response_resets_the_connection);
	tcase_add_test(tc, data_after_a_shutdown_resets_the_connection);
	tcase_add_loop_test(tc, a_packet_longer_than_its_buffers_fails_the_device, 0, 2);
	tcase_add_test(tc, a_packet_without_a_whole_header_fails_the_device);
	tcase_add_test(tc, a_receive_buffer_without_room_for_a_header_fails_the_device);
	tcase_add_test(tc, clients_of_a_failed_device_wait_for_its_reset);
	tcase_add_test(tc, more_connections_than_the_limit_are_reset_and_leave_room_again);
	tcase_add_loop_test(tc, random_packets_do_no_harm, 0, 2);
	tcase_add_test(tc, a_reset_of_the_device_closes_all_connections);
	tcase_add_test(tc, connections_survive_a_pause);
	tcase_add_test(tc, after_a_load_the_guest_learns_that_connections_are_gone);
	tcase_add_test(tc, a_listener_may_be_given_and_is_not_unlinked);
	tcase_add_test(tc, a_stale_socket_is_replaced_and_a_live_one_or_a_file_is_not);
	tcase_add_test(tc, absurd_parameters_are_refused);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (failed)
		printf("to repeat: PAGODA_SEED=%llu\n", (unsigned long long)seed);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
