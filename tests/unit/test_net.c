/* The network device on a stream backend: what a driver, honest or not, sees. */
#include "tests/unit/suite.h"
#include "tests/unit/test_net_driver.h"

#include <sys/resource.h>

#define PLAIN 0ull
#define MERGEABLE NET_BIT(VIRTIO_NET_F_MRG_RXBUF)

static const struct virtio_net_hdr_v1 no_header;
static uint8_t frame[NET_FRAME_MAX], got[NET_FRAME_MAX];
static uint64_t gpas[1024];

static struct virtio_net_stats stats_of(struct driver *d)
{
	struct virtio_net_stats stats;
	virtio_net_get_stats(d->dev, &stats);
	return stats;
}

/* --- frames --- */

START_TEST(a_frame_from_the_guest_reaches_the_peer_without_its_header)
{
	struct driver d;
	driver_create_stream(&d);
	driver_start(&d, PLAIN, RING_SIZE);
	fill_frame(frame, 100, 1);
	driver_send(&d, &no_header, frame, 100);
	ck_assert_uint_eq(peer_receive(&d, got), 100);
	ck_assert_mem_eq(frame, got, 100);
	struct virtio_net_stats stats = stats_of(&d);
	ck_assert_uint_eq(stats.tx_packets, 1);
	ck_assert_uint_eq(stats.tx_bytes, 100);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_frame_from_the_peer_reaches_the_guest_in_one_buffer)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, PLAIN, RING_SIZE);
	driver_give(&d, 4, 1526, gpas);
	fill_frame(frame, 1514, 2);
	peer_send(&d, frame, 1514);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 1514);
	ck_assert_mem_eq(frame, got, 1514);
	ck_assert_uint_eq(header.num_buffers, 1);
	ck_assert_uint_eq(header.flags, 0);
	ck_assert_uint_eq(header.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	ck_assert_uint_ge(d.interrupts[Q_RX], 1);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_long_frame_is_spread_over_small_mergeable_buffers)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 100, 64, gpas);
	fill_frame(frame, 5000, 3);
	peer_send(&d, frame, 5000);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 5000);
	ck_assert_mem_eq(frame, got, 5000);
	ck_assert_uint_eq(header.num_buffers, (5012 + 63) / 64);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_header_may_be_scattered_over_single_bytes_both_ways)
{
	struct driver d;
	struct buffer b[13];
	uint32_t head, len;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	uint64_t rx = driver_alloc(&d, 2000);
	uint64_t tx = driver_alloc(&d, 2000);
	for (unsigned i = 0; i < 12; i++)
		b[i] = (struct buffer){rx + i, 1, true};
	b[12] = (struct buffer){rx + 12, 1600, true};
	ring_add(&d, Q_RX, b, 13);
	ring_kick(&d, Q_RX);
	fill_frame(frame, 300, 4);
	peer_send(&d, frame, 300);
	ck_assert(ring_get(&d, Q_RX, &head, &len, WAIT_MS));
	ck_assert_uint_eq(len, 312);
	ck_assert_mem_eq(driver_at(&d, rx + 12, 300), frame, 300);
	ck_assert_uint_eq(((struct virtio_net_hdr_v1 *)driver_at(&d, rx, 12))->num_buffers, 1);

	guest_ram_write(d.ram, tx + 12, frame, 300);
	for (unsigned i = 0; i < 12; i++)
		b[i] = (struct buffer){tx + i, 1, false};
	b[11].len = 7; /* the header's last byte and the frame's first six */
	b[12] = (struct buffer){tx + 18, 294, false};
	ring_add(&d, Q_TX, b, 13);
	ring_kick(&d, Q_TX);
	ck_assert_uint_eq(peer_receive(&d, got), 300);
	ck_assert_mem_eq(frame, got, 300);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_frame_longer_than_all_buffers_waits_until_the_guest_gives_more)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 3, 1000, gpas);
	fill_frame(frame, 9000, 5);
	peer_send(&d, frame, 9000);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, 30), -1);
	driver_give(&d, 3, 1000, gpas);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, 30), -1);
	driver_give(&d, 10, 1000, gpas);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 9000);
	ck_assert_mem_eq(frame, got, 9000);
	ck_assert_uint_eq(stats_of(&d).rx_dropped, 0);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_frame_that_a_full_ring_cannot_hold_is_dropped_and_the_next_one_arrives)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, 16);
	driver_give(&d, 16, 100, gpas);
	fill_frame(frame, 9000, 6);
	peer_send(&d, frame, 9000);
	fill_frame(frame, 700, 7);
	peer_send(&d, frame, 700);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 700);
	ck_assert_mem_eq(frame, got, 700);
	ck_assert_uint_eq(stats_of(&d).rx_dropped, 1);
	driver_destroy(&d);
}
END_TEST

START_TEST(without_merging_a_frame_too_long_for_its_buffer_is_dropped_and_the_buffer_kept)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, PLAIN, RING_SIZE);
	driver_give(&d, 4, 500, gpas);
	fill_frame(frame, 489, 8);
	peer_send(&d, frame, 489);
	fill_frame(frame, 488, 9);
	peer_send(&d, frame, 488);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 488);
	ck_assert_mem_eq(frame, got, 488);
	ck_assert_uint_eq(stats_of(&d).rx_dropped, 1);
	driver_destroy(&d);
}
END_TEST

START_TEST(the_largest_frame_passes_both_ways)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 60, 1536, gpas);
	fill_frame(frame, NET_FRAME_MAX, 10);
	peer_send(&d, frame, NET_FRAME_MAX);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), NET_FRAME_MAX);
	ck_assert_mem_eq(frame, got, NET_FRAME_MAX);
	driver_send(&d, &no_header, frame, NET_FRAME_MAX);
	ck_assert_uint_eq(peer_receive(&d, got), NET_FRAME_MAX);
	ck_assert_mem_eq(frame, got, NET_FRAME_MAX);
	driver_destroy(&d);
}
END_TEST

START_TEST(no_processor_time_is_spent_while_the_guest_gives_no_buffers)
{
	struct driver d;
	struct rusage before, after;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	fill_frame(frame, 100, 11);
	for (unsigned i = 0; i < 100; i++)
		peer_send(&d, frame, 100);
	pause_ms(50);
	getrusage(RUSAGE_SELF, &before);
	pause_ms(300);
	getrusage(RUSAGE_SELF, &after);
	long spent_us =
		(after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec - before.ru_stime.tv_sec) * 1000000 +
		after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec - before.ru_stime.tv_usec;
	ck_assert_int_lt(spent_us, 100000);
	struct virtio_net_hdr_v1 header;
	driver_give(&d, 100, 200, gpas);
	for (unsigned i = 0; i < 100; i++)
		ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 100);
	driver_destroy(&d);
}
END_TEST

START_TEST(the_guest_need_not_kick_for_buffers_while_it_has_some)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE | NET_BIT(VIRTIO_RING_F_EVENT_IDX), RING_SIZE);
	driver_give(&d, 100, 1526, gpas);
	fill_frame(frame, 100, 12);
	peer_send(&d, frame, 100);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 100);
	uint16_t before = d.rings[Q_RX].avail_idx;
	struct buffer b = {driver_alloc(&d, 1526), 1526, true};
	gpas[ring_add(&d, Q_RX, &b, 1)] = b.gpa;
	ck_assert(!ring_kick_if_wanted(&d, Q_RX, before));
	driver_destroy(&d);
}
END_TEST

START_TEST(frames_wait_in_the_ring_while_the_socket_is_full_and_then_arrive_in_order)
{
	struct driver d;
	driver_create_stream(&d);
	driver_start(&d, PLAIN, RING_SIZE);
	uint64_t header = driver_alloc(&d, 12);
	unsigned nr = 120; /* 7 MiB: more than socket and backend take */
	guest_ram_write(d.ram, header, &no_header, 12);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t gpa = driver_alloc(&d, 60000);
		fill_frame(frame, 60000, i);
		guest_ram_write(d.ram, gpa, frame, 60000);
		struct buffer b[2] = {{header, 12, false}, {gpa, 60000, false}};
		ring_add(&d, Q_TX, b, 2);
	}
	ring_kick(&d, Q_TX);
	pause_ms(100);
	ck_assert_uint_lt(__atomic_load_n(&d.rings[Q_TX].vring.used->idx, __ATOMIC_ACQUIRE), nr);
	for (unsigned i = 0; i < nr; i++) {
		fill_frame(frame, 60000, i);
		ck_assert_uint_eq(peer_receive(&d, got), 60000);
		ck_assert_mem_eq(frame, got, 60000);
	}
	uint32_t head, len;
	for (unsigned i = 0; i < nr; i++)
		ck_assert(ring_get(&d, Q_TX, &head, &len, WAIT_MS));
	ck_assert_uint_eq(stats_of(&d).tx_packets, nr);
	driver_destroy(&d);
}
END_TEST

/* --- link, pause, state --- */

START_TEST(without_link_frames_are_dropped_both_ways_and_the_guest_is_told)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	uint16_t status = 99;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE | NET_BIT(VIRTIO_NET_F_STATUS), RING_SIZE);
	driver_give(&d, 20, 1526, gpas);
	virtio_net_set_link(d.dev, false);
	ck_assert_uint_eq(d.config_interrupts, 1);
	virtio_device_config_read(d.dev, 6, &status, 2);
	ck_assert_uint_eq(status, 0);
	fill_frame(frame, 200, 13);
	peer_send(&d, frame, 200);
	driver_send(&d, &no_header, frame, 200);
	ck_assert(peer_has_nothing(&d));
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, 20), -1);
	ck_assert_uint_eq(stats_of(&d).tx_dropped, 1);
	ck_assert_uint_eq(stats_of(&d).rx_dropped, 1);
	virtio_net_set_link(d.dev, true);
	virtio_device_config_read(d.dev, 6, &status, 2);
	ck_assert_uint_eq(status, VIRTIO_NET_S_LINK_UP);
	peer_send(&d, frame, 200);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 200);
	driver_destroy(&d);
}
END_TEST

START_TEST(when_the_peer_goes_the_link_goes_down_and_the_guest_goes_on)
{
	struct driver d;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 20, 1526, gpas);
	close(d.peer);
	d.peer = -1;
	for (unsigned i = 0; i < WAIT_MS && virtio_net_link_up(d.dev); i++)
		pause_ms(1);
	ck_assert(!virtio_net_link_up(d.dev));
	fill_frame(frame, 200, 14);
	driver_send(&d, &no_header, frame, 200);
	ck_assert(!virtio_device_failed(d.dev));
	driver_reset(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_send(&d, &no_header, frame, 200);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_pause_gives_held_buffers_back_and_loses_no_frame)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 50, 1526, gpas);
	for (unsigned i = 0; i < 40; i++) {
		fill_frame(frame, 1000 + i, i);
		peer_send(&d, frame, 1000 + i);
		if (i % 5 == 0) {
			virtio_device_pause(d.dev);
			ck_assert_uint_eq(d.dev->queues[Q_RX].last_avail, d.dev->queues[Q_RX].used_idx);
			virtio_device_resume(d.dev);
		}
	}
	for (unsigned i = 0; i < 40; i++) {
		fill_frame(frame, 1000 + i, i);
		ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 1000 + (int)i);
		ck_assert_mem_eq(frame, got, 1000 + i);
	}
	driver_destroy(&d);
}
END_TEST

START_TEST(a_frame_that_waits_for_buffers_survives_a_pause)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 2, 1000, gpas);
	fill_frame(frame, 4000, 15);
	peer_send(&d, frame, 4000);
	pause_ms(20);
	virtio_device_pause(d.dev);
	virtio_device_resume(d.dev);
	driver_give(&d, 10, 1000, gpas);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 4000);
	ck_assert_mem_eq(frame, got, 4000);
	driver_destroy(&d);
}
END_TEST

START_TEST(saved_state_loads_into_a_new_device_that_goes_on)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	const void *data;
	size_t len;
	struct error err = {0};
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 50, 1526, gpas);
	fill_frame(frame, 500, 16);
	peer_send(&d, frame, 500);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 500);
	virtio_device_pause(d.dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(d.dev, w);
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);

	/* The same machine again, with another peer. */
	int pair[2];
	struct net_backend *backend;
	struct state_reader *r;
	virtio_device_destroy(d.dev);
	close(d.peer);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(net_stream_create(pair[0], "stream", &backend, &err), 0);
	struct virtio_net_params params = {
		.name = "virtio-net0", .mac = {2}, .queue_size = RING_SIZE, .mtu = 1500, .backend = backend};
	ck_assert_int_eq(virtio_net_create(&params, d.ram, &d.dev, &err), 0);
	d.dev->transport = &d.transport;
	d.peer = pair[1];
	virtio_device_pause(d.dev);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	ck_assert_msg(virtio_device_load(d.dev, r, &err) == 0, "%s", err.text);
	state_reader_free(r);
	state_writer_free(w);
	virtio_device_resume(d.dev);
	uint8_t mac[6];
	virtio_net_get_mac(d.dev, mac);
	ck_assert_mem_eq(mac, driver_mac, 6);
	fill_frame(frame, 600, 17);
	peer_send(&d, frame, 600);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 600);
	ck_assert_mem_eq(frame, got, 600);
	driver_destroy(&d);
}
END_TEST

/* --- a hostile guest --- */

static void send_one_chain(struct driver *d, unsigned queue, const struct buffer *b, unsigned nr)
{
	driver_create_stream(d);
	driver_start(d, MERGEABLE, RING_SIZE);
	ring_add(d, queue, b, nr);
	ring_kick(d, queue);
}

START_TEST(a_transmit_chain_too_short_for_a_header_breaks_the_device)
{
	struct driver d;
	struct buffer b = {8192, 11, false};
	send_one_chain(&d, Q_TX, &b, 1);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_writable_buffer_in_a_transmit_chain_breaks_the_device)
{
	struct driver d;
	struct buffer b[2] = {{8192, 100, false}, {8192, 100, true}};
	send_one_chain(&d, Q_TX, b, 2);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_receive_buffer_too_short_for_a_header_breaks_the_device)
{
	struct driver d;
	struct buffer b = {8192, 11, true};
	send_one_chain(&d, Q_RX, &b, 1);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_readable_buffer_in_a_receive_chain_breaks_the_device)
{
	struct driver d;
	struct buffer b[2] = {{8192, 100, false}, {8192, 100, true}};
	send_one_chain(&d, Q_RX, b, 2);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_buffer_outside_memory_breaks_the_device_and_a_reset_mends_it)
{
	struct driver d;
	struct virtio_net_hdr_v1 header;
	struct buffer b = {RAM_SIZE - 4, 100, true};
	send_one_chain(&d, Q_RX, &b, 1);
	ck_assert(driver_sees_failure(&d));
	driver_reset(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 4, 1526, gpas);
	fill_frame(frame, 100, 18);
	peer_send(&d, frame, 100);
	ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), 100);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_jump_of_the_available_index_breaks_the_device)
{
	struct driver d;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	__atomic_store_n(&d.rings[Q_TX].vring.avail->idx, RING_SIZE + 1, __ATOMIC_RELEASE);
	ring_kick(&d, Q_TX);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_broken_device_stays_quiet_when_kicked_and_fed)
{
	struct driver d;
	struct buffer b = {8192, 11, false};
	send_one_chain(&d, Q_TX, &b, 1);
	ck_assert(driver_sees_failure(&d));
	driver_give(&d, 4, 1526, gpas);
	fill_frame(frame, 100, 19);
	peer_send(&d, frame, 100);
	pause_ms(20);
	ck_assert_uint_eq(d.rings[Q_RX].vring.used->idx, 0);
	driver_destroy(&d);
}
END_TEST

START_TEST(headers_that_ask_for_what_was_not_negotiated_cost_only_their_frame)
{
	struct driver d;
	struct virtio_net_hdr_v1 csum = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	struct virtio_net_hdr_v1 gso = {.gso_type = VIRTIO_NET_HDR_GSO_TCPV4, .gso_size = 1448, .hdr_len = 54};
	driver_create_stream(&d);
	driver_start(&d, PLAIN, RING_SIZE);
	fill_frame(frame, 100, 20);
	driver_send(&d, &csum, frame, 100);
	driver_send(&d, &gso, frame, 100);
	driver_send(&d, &no_header, frame, 13); /* less than an Ethernet header */
	driver_send(&d, &no_header, frame, 0);
	ck_assert_uint_eq(stats_of(&d).tx_dropped, 4);
	driver_send(&d, &no_header, frame, 100);
	ck_assert_uint_eq(peer_receive(&d, got), 100);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_peer_that_announces_an_absurd_length_loses_the_link)
{
	struct driver d;
	driver_create_stream(&d);
	driver_start(&d, MERGEABLE, RING_SIZE);
	driver_give(&d, 20, 1526, gpas);
	ck_assert_int_eq(send(d.peer, "\xff\xff\xff\xff", 4, 0), 4);
	for (unsigned i = 0; i < WAIT_MS && virtio_net_link_up(d.dev); i++)
		pause_ms(1);
	ck_assert(!virtio_net_link_up(d.dev));
	driver_destroy(&d);
}
END_TEST

START_TEST(writes_to_config_space_change_nothing)
{
	struct driver d;
	uint8_t mac[6];
	driver_create_stream(&d);
	virtio_device_config_write(d.dev, 0, "\x02\x02\x02\x02\x02\x02", 6);
	virtio_net_get_mac(d.dev, mac);
	ck_assert_mem_eq(mac, driver_mac, 6);
	driver_destroy(&d);
}
END_TEST

START_TEST(impossible_parameters_are_refused_with_a_sentence)
{
	int pair[2];
	struct net_backend *backend;
	struct virtio_device *dev;
	struct guest_ram *ram;
	struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	struct error err = {0};
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(net_stream_create(pair[0], "stream", &backend, &err), 0);
	struct virtio_net_params params = {.name = "n", .mac = {1}, .queue_size = 256, .backend = backend};
	ck_assert_int_eq(virtio_net_create(&params, ram, &dev, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "mac="));
	params.mac[0] = 2;
	params.mtu = 67;
	ck_assert_int_eq(virtio_net_create(&params, ram, &dev, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "mtu"));
	params.mtu = 0;
	params.queue_size = 100;
	ck_assert_int_eq(virtio_net_create(&params, ram, &dev, &err), -EINVAL);
	ck_assert_int_eq(net_stream_create(STDIN_FILENO, "stream", &backend, &err), -EINVAL);
	net_backend_destroy(params.backend);
	close(pair[1]);
	guest_ram_destroy(ram);
}
END_TEST

/* --- what the host lacks --- */

START_TEST(a_device_made_while_descriptors_run_out_is_whole_or_not_there)
{
	int pair[2];
	struct net_backend *backend;
	struct virtio_device *dev;
	struct guest_ram *ram;
	struct guest_ram_region region = {.gpa = 0, .size = RAM_SIZE};
	struct error err = {0};
	struct rlimit limit;
	ck_assert_int_eq(guest_ram_create(&region, 1, &ram, &err), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(net_stream_create(pair[0], "stream", &backend, &err), 0);
	struct virtio_net_params params = {.name = "n", .mac = {2}, .queue_size = 256, .backend = backend};
	getrlimit(RLIMIT_NOFILE, &limit);
	int first = dup(pair[1]);
	close(first);
	int ret = -1;
	for (unsigned more = 0; ret != 0; more++) {
		ck_assert_uint_lt(more, 20);
		struct rlimit low = {.rlim_cur = (rlim_t)first + more, .rlim_max = limit.rlim_max};
		setrlimit(RLIMIT_NOFILE, &low);
		ret = virtio_net_create(&params, ram, &dev, &err);
		setrlimit(RLIMIT_NOFILE, &limit);
		if (more < 3) {
			ck_assert_int_eq(ret, -EMFILE);
			ck_assert_ptr_nonnull(strstr(err.text, "ulimit -n"));
		}
		int next = dup(pair[1]);
		close(next);
		if (ret)
			ck_assert_int_eq(next, first);
	}
	virtio_device_destroy(dev);
	close(pair[1]);
	guest_ram_destroy(ram);
}
END_TEST

static int refuse_offloads(struct net_backend *b, uint64_t features)
{
	(void)b;
	(void)features;
	return -EBADF;
}

START_TEST(a_backend_that_refuses_the_offloads_fails_the_device_not_the_host)
{
	struct driver d;
	int pair[2];
	struct net_backend *backend;
	struct error err = {0};
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_int_eq(net_stream_create(pair[0], "stream", &backend, &err), 0);
	struct net_backend_ops ops = *backend->ops;
	ops.set_offloads = refuse_offloads;
	backend->ops = &ops;
	driver_create(&d, backend);
	d.peer = pair[1];
	virtio_device_set_status(d.dev, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_device_ack_features(d.dev, 1, 1);
	virtio_device_set_status(d.dev, VIRTIO_CONFIG_S_FEATURES_OK);
	virtio_device_set_status(d.dev, VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(virtio_device_failed(d.dev));
	driver_destroy(&d);
}
END_TEST

/* --- random --- */

#define ROUNDS 400

/* Both directions at once, ring and buffer shapes at random; every frame arrives whole, once and in order. */
START_TEST(random_frames_arrive_whole_and_in_order_both_ways)
{
	unsigned seed = driver_seed() + (unsigned)_i;
	struct driver d;
	struct virtio_net_hdr_v1 header;
	bool mergeable = _i & 1;
	unsigned ring_size = _i & 2 ? RING_SIZE : 64;
	uint64_t features = (mergeable ? MERGEABLE : 0) | (_i & 4 ? NET_BIT(VIRTIO_RING_F_EVENT_IDX) : 0);
	driver_create_stream(&d);
	driver_start(&d, features, ring_size);
	uint64_t start = d.next_gpa;
	for (unsigned i = 0; i < ROUNDS; i++) {
		d.next_gpa = start;
		unsigned nr_in = (unsigned)rand_r(&seed) % 4;
		unsigned nr_out = (unsigned)rand_r(&seed) % 4;
		size_t longest = rand_r(&seed) % 3 ? 1514 : 9000;
		size_t len_in[4];
		size_t need = 0;
		for (unsigned j = 0; j < nr_in; j++) {
			len_in[j] = 14 + (size_t)rand_r(&seed) % (longest - 14);
			need += len_in[j];
			fill_frame(frame, len_in[j], i * 4 + j);
			peer_send(&d, frame, len_in[j]);
		}
		/* Buffers come at random moments, before or after the frames went into the socket. */
		uint32_t buffer_len = mergeable ? 1000 + (uint32_t)rand_r(&seed) % 3000 : 9100;
		unsigned nr_buffers = mergeable ? (unsigned)(need / buffer_len) + 2 * nr_in : nr_in;
		uint16_t before = d.rings[Q_RX].avail_idx;
		for (unsigned j = 0; j < nr_buffers; j++) {
			struct buffer b = {driver_alloc(&d, buffer_len), buffer_len, true};
			gpas[ring_add(&d, Q_RX, &b, 1)] = b.gpa;
		}
		if (nr_buffers)
			ring_kick_if_wanted(&d, Q_RX, before);
		uint64_t sent_header = driver_alloc(&d, 12);
		guest_ram_write(d.ram, sent_header, &no_header, 12);
		for (unsigned j = 0; j < nr_out; j++) {
			uint32_t len = 14 + (uint32_t)rand_r(&seed) % 9000;
			uint32_t cut = 1 + (uint32_t)rand_r(&seed) % (len - 1);
			uint64_t gpa = driver_alloc(&d, len);
			fill_frame(frame, len, i * 4 + j);
			guest_ram_write(d.ram, gpa, frame, len);
			struct buffer b[3] = {{sent_header, 12, false}, {gpa, cut, false}, {gpa + cut, len - cut, false}};
			before = d.rings[Q_TX].avail_idx;
			ring_add(&d, Q_TX, b, 3);
			ring_kick_if_wanted(&d, Q_TX, before);
			ck_assert_uint_eq(peer_receive(&d, got), len);
			ck_assert_mem_eq(frame, got, len);
			uint32_t head, used;
			ck_assert(ring_get(&d, Q_TX, &head, &used, WAIT_MS));
		}
		for (unsigned j = 0; j < nr_in; j++) {
			fill_frame(frame, len_in[j], i * 4 + j);
			ck_assert_int_eq(driver_receive(&d, gpas, &header, got, WAIT_MS), (ssize_t)len_in[j]);
			ck_assert_mem_eq(frame, got, len_in[j]);
		}
		if (rand_r(&seed) % 16 == 0) {
			virtio_device_pause(d.dev);
			virtio_device_resume(d.dev);
		}
		/* Buffers left over would be overwritten by the next round: start it with an empty ring. */
		driver_reset(&d);
		d.next_gpa = 4096;
		driver_start(&d, features, ring_size);
	}
	driver_destroy(&d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net");
	TCase *c = tcase_create("frames");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_frame_from_the_guest_reaches_the_peer_without_its_header);
	tcase_add_test(c, a_frame_from_the_peer_reaches_the_guest_in_one_buffer);
	tcase_add_test(c, a_long_frame_is_spread_over_small_mergeable_buffers);
	tcase_add_test(c, a_header_may_be_scattered_over_single_bytes_both_ways);
	tcase_add_test(c, a_frame_longer_than_all_buffers_waits_until_the_guest_gives_more);
	tcase_add_test(c, a_frame_that_a_full_ring_cannot_hold_is_dropped_and_the_next_one_arrives);
	tcase_add_test(c, without_merging_a_frame_too_long_for_its_buffer_is_dropped_and_the_buffer_kept);
	tcase_add_test(c, the_largest_frame_passes_both_ways);
	tcase_add_test(c, no_processor_time_is_spent_while_the_guest_gives_no_buffers);
	tcase_add_test(c, the_guest_need_not_kick_for_buffers_while_it_has_some);
	tcase_add_test(c, frames_wait_in_the_ring_while_the_socket_is_full_and_then_arrive_in_order);
	tcase_add_loop_test(c, random_frames_arrive_whole_and_in_order_both_ways, 0, 8);
	suite_add_tcase(s, c);
	c = tcase_create("life");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, without_link_frames_are_dropped_both_ways_and_the_guest_is_told);
	tcase_add_test(c, when_the_peer_goes_the_link_goes_down_and_the_guest_goes_on);
	tcase_add_test(c, a_pause_gives_held_buffers_back_and_loses_no_frame);
	tcase_add_test(c, a_frame_that_waits_for_buffers_survives_a_pause);
	tcase_add_test(c, saved_state_loads_into_a_new_device_that_goes_on);
	tcase_add_test(c, impossible_parameters_are_refused_with_a_sentence);
	tcase_add_test(c, a_device_made_while_descriptors_run_out_is_whole_or_not_there);
	tcase_add_test(c, a_backend_that_refuses_the_offloads_fails_the_device_not_the_host);
	suite_add_tcase(s, c);
	c = tcase_create("hostile");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_transmit_chain_too_short_for_a_header_breaks_the_device);
	tcase_add_test(c, a_writable_buffer_in_a_transmit_chain_breaks_the_device);
	tcase_add_test(c, a_receive_buffer_too_short_for_a_header_breaks_the_device);
	tcase_add_test(c, a_readable_buffer_in_a_receive_chain_breaks_the_device);
	tcase_add_test(c, a_buffer_outside_memory_breaks_the_device_and_a_reset_mends_it);
	tcase_add_test(c, a_jump_of_the_available_index_breaks_the_device);
	tcase_add_test(c, a_broken_device_stays_quiet_when_kicked_and_fed);
	tcase_add_test(c, headers_that_ask_for_what_was_not_negotiated_cost_only_their_frame);
	tcase_add_test(c, a_peer_that_announces_an_absurd_length_loses_the_link);
	tcase_add_test(c, writes_to_config_space_change_nothing);
	suite_add_tcase(s, c);
	return suite_run(s);
}
