/* The control queue: commands, the filter that they set, and nonsense. */
#include "tests/unit/suite.h"
#include "tests/unit/test_net_driver.h"

#define FEATURES                                                                                           \
	(NET_BIT(VIRTIO_NET_F_MRG_RXBUF) | NET_BIT(VIRTIO_NET_F_CTRL_VQ) | NET_BIT(VIRTIO_NET_F_CTRL_RX) | \
	 NET_BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) | NET_BIT(VIRTIO_NET_F_CTRL_MAC_ADDR))

#define NO_ANSWER 0xee

static uint64_t gpas[1024];
static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
static const uint8_t group[6] = {0x01, 0, 0x5e, 0, 0, 1};
static const uint8_t other[6] = {0x02, 0, 0, 0, 0, 9};

/* Sends class, command and data; returns the device's answer. */
static uint8_t command(struct driver *d, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint64_t gpa = driver_alloc(d, 3 + len);
	uint8_t hdr[2] = {class, cmd};
	uint8_t answer = NO_ANSWER;
	uint32_t head, used;
	guest_ram_write(d->ram, gpa, hdr, 2);
	guest_ram_write(d->ram, gpa + 2, data, len);
	guest_ram_write(d->ram, gpa + 2 + len, &answer, 1);
	struct buffer b[3] = {{gpa, 2, false}, {gpa + 2, len, false}, {gpa + 2 + len, 1, true}};
	if (!len)
		b[1] = b[2];
	ring_add(d, Q_CTRL, b, len ? 3 : 2);
	ring_kick(d, Q_CTRL);
	ck_assert(ring_get(d, Q_CTRL, &head, &used, WAIT_MS));
	guest_ram_read(d->ram, gpa + 2 + len, &answer, 1);
	return answer;
}

static uint8_t set_mode(struct driver *d, uint8_t cmd, uint8_t on)
{
	return command(d, VIRTIO_NET_CTRL_RX, cmd, &on, 1);
}

/* Whether a frame to that address arrives: the one after it, to the guest's own address, tells when to stop waiting. */
static bool arrives(struct driver *d, const uint8_t to[6], const uint8_t own[6])
{
	struct virtio_net_hdr_v1 header;
	uint8_t frame[100] = {0};
	uint8_t got[2000];
	memcpy(frame, to, 6);
	frame[20] = 1;
	peer_send(d, frame, sizeof(frame));
	memcpy(frame, own, 6);
	frame[20] = 2;
	peer_send(d, frame, sizeof(frame));
	ck_assert_int_eq(driver_receive(d, gpas, &header, got, WAIT_MS), 100);
	if (got[20] == 2)
		return false;
	ck_assert_int_eq(driver_receive(d, gpas, &header, got, WAIT_MS), 100);
	ck_assert_uint_eq(got[20], 2);
	return true;
}

static void setup(struct driver *d, uint64_t features)
{
	driver_create_stream(d);
	driver_start(d, features, RING_SIZE);
	driver_give(d, 100, 1526, gpas);
}

START_TEST(a_driver_that_sets_nothing_gets_all_frames)
{
	struct driver d;
	setup(&d, FEATURES);
	ck_assert(arrives(&d, broadcast, driver_mac));
	ck_assert(arrives(&d, group, driver_mac));
	ck_assert(arrives(&d, other, driver_mac));
	driver_destroy(&d);
}
END_TEST

START_TEST(without_promiscuity_only_own_listed_and_broadcast_frames_arrive)
{
	struct driver d;
	setup(&d, FEATURES);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert(arrives(&d, broadcast, driver_mac));
	ck_assert(!arrives(&d, group, driver_mac));
	ck_assert(!arrives(&d, other, driver_mac));
	uint8_t tables[4 + 6 + 4 + 6] = {1};
	memcpy(tables + 4, other, 6);
	tables[10] = 1;
	memcpy(tables + 14, group, 6);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, sizeof(tables)), VIRTIO_NET_OK);
	ck_assert(arrives(&d, group, driver_mac));
	ck_assert(arrives(&d, other, driver_mac));
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_NOBCAST, 1), VIRTIO_NET_OK);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_NOMULTI, 1), VIRTIO_NET_OK);
	ck_assert(!arrives(&d, broadcast, driver_mac));
	ck_assert(!arrives(&d, group, driver_mac));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_list_longer_than_ours_lets_all_of_its_kind_through)
{
	struct driver d;
	static uint8_t tables[4 + 4 + 6 * 100];
	setup(&d, FEATURES);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	tables[4] = 100;
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, sizeof(tables)), VIRTIO_NET_OK);
	ck_assert(arrives(&d, group, driver_mac));
	ck_assert(!arrives(&d, other, driver_mac));
	driver_destroy(&d);
}
END_TEST

START_TEST(a_new_address_is_used_and_shown_until_reset)
{
	struct driver d;
	uint8_t mac[6];
	setup(&d, FEATURES);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), VIRTIO_NET_OK);
	ck_assert(!arrives(&d, driver_mac, other));
	virtio_net_get_mac(d.dev, mac);
	ck_assert_mem_eq(mac, other, 6);
	driver_reset(&d);
	virtio_net_get_mac(d.dev, mac);
	ck_assert_mem_eq(mac, driver_mac, 6);
	driver_destroy(&d);
}
END_TEST

START_TEST(the_filter_survives_save_and_load)
{
	struct driver d;
	struct error err = {0};
	const void *data;
	size_t len;
	struct state_reader *r;
	uint8_t tables[4 + 6 + 4] = {1};
	setup(&d, FEATURES);
	memcpy(tables + 4, other, 6);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_OK);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, sizeof(tables)), VIRTIO_NET_OK);
	virtio_device_pause(d.dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(d.dev, w);
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	ck_assert_msg(virtio_device_load(d.dev, r, &err) == 0, "%s", err.text);
	state_reader_free(r);
	state_writer_free(w);
	virtio_device_resume(d.dev);
	ck_assert(arrives(&d, other, driver_mac));
	ck_assert(!arrives(&d, group, driver_mac));
	driver_destroy(&d);
}
END_TEST

START_TEST(commands_that_make_no_sense_are_refused_and_change_nothing)
{
	struct driver d;
	setup(&d, FEATURES);
	uint8_t two = 2;
	uint8_t huge[8] = {0xff, 0xff, 0xff, 0xff};
	uint64_t offloads = NET_BIT(VIRTIO_NET_F_GUEST_CSUM);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &two, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, NULL, 0), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, huge, 8), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_RX, 6, &two, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, huge, 8), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, huge, 3), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, huge, 5), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, broadcast, 6), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, 7, broadcast, 6), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, &offloads, 8), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, 99, 0, &offloads, 8), VIRTIO_NET_ERR);
	ck_assert(arrives(&d, other, driver_mac));
	ck_assert(!virtio_device_failed(d.dev));
	driver_destroy(&d);
}
END_TEST

START_TEST(commands_of_features_not_negotiated_are_refused)
{
	struct driver d;
	setup(&d, NET_BIT(VIRTIO_NET_F_MRG_RXBUF) | NET_BIT(VIRTIO_NET_F_CTRL_VQ));
	uint8_t tables[8] = {0};
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_PROMISC, 0), VIRTIO_NET_ERR);
	ck_assert_uint_eq(set_mode(&d, VIRTIO_NET_CTRL_RX_NOUNI, 1), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, tables, 8), VIRTIO_NET_ERR);
	ck_assert_uint_eq(command(&d, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, other, 6), VIRTIO_NET_ERR);
	driver_destroy(&d);
}
END_TEST

START_TEST(a_command_without_room_for_the_answer_breaks_the_device)
{
	struct driver d;
	setup(&d, FEATURES);
	struct buffer b = {8192, 3, false};
	ring_add(&d, Q_CTRL, &b, 1);
	ring_kick(&d, Q_CTRL);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

START_TEST(an_answer_without_a_command_breaks_the_device)
{
	struct driver d;
	setup(&d, FEATURES);
	struct buffer b = {8192, 3, true};
	ring_add(&d, Q_CTRL, &b, 1);
	ring_kick(&d, Q_CTRL);
	ck_assert(driver_sees_failure(&d));
	driver_destroy(&d);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("net_ctrl");
	TCase *c = tcase_create("ctrl");
	tcase_set_timeout(c, 60);
	tcase_add_test(c, a_driver_that_sets_nothing_gets_all_frames);
	tcase_add_test(c, without_promiscuity_only_own_listed_and_broadcast_frames_arrive);
	tcase_add_test(c, a_list_longer_than_ours_lets_all_of_its_kind_through);
	tcase_add_test(c, a_new_address_is_used_and_shown_until_reset);
	tcase_add_test(c, the_filter_survives_save_and_load);
	tcase_add_test(c, commands_that_make_no_sense_are_refused_and_change_nothing);
	tcase_add_test(c, commands_of_features_not_negotiated_are_refused);
	tcase_add_test(c, a_command_without_room_for_the_answer_breaks_the_device);
	tcase_add_test(c, an_answer_without_a_command_breaks_the_device);
	suite_add_tcase(s, c);
	return suite_run(s);
}
