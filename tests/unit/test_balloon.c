/*
 * The balloon at the level of its queues: what a driver gives up is gone and counted, whatever order it comes in; statistics, reports and hints
 * do what the standard says; and a driver that lies, stalls or is not there harms nobody but itself.
 */
#include <check.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "balloon/balloon.h"
#include "balloon/pfn_runs.h"
#include "memmgr/memmgr.h"
#include "memmgr/uffd.h"
#include "tests/unit/suite.h"
#include "tests/unit/virtio_driver.h"

#define PAGE 4096ull
#define RAM_PAGES 8192u /* 32 MiB: two regions that touch within a chunk of 2 MiB */
#define FIRST_REGION_PAGES 4000u
#define RINGS 0x1000
#define ARRAY 0x20000  /* page numbers */
#define BUFFER 0x80000 /* statistics, commands */
#define GIVEN 1024u    /* the first page that tests give up */
#define VERSION_1 (1ull << 32)
#define BIT(feature) (1ull << (feature))
#define ALL_FEATURES \
	(VERSION_1 | BIT(VIRTIO_BALLOON_F_STATS_VQ) | BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | BIT(VIRTIO_BALLOON_F_REPORTING))

enum { INFLATE, DEFLATE, STATS, HINT, REPORT, NR_QUEUES, QUEUE_SIZE = 16 };

static struct guest_ram *ram;
static struct memmgr *mm;
static struct virtio_device *dev;
static struct driver_queue queues[NR_QUEUES];
static atomic_uint nr_changes;

static void memory_failed(struct memmgr_owner *owner, enum memmgr_failure failure, const char *detail)
{
	(void)owner, (void)failure, (void)detail;
}

static void memory_recovered(struct memmgr_owner *owner)
{
	(void)owner;
}

static void count_change(struct balloon_owner *owner)
{
	(void)owner;
	atomic_fetch_add(&nr_changes, 1);
}

static struct memmgr_owner memory_owner = {memory_failed, memory_recovered};
static struct balloon_owner owner = {count_change};

static void create(const struct balloon_params *more)
{
	struct balloon_params params = *more;
	struct error err = {0};
	params.name = "balloon0";
	params.mm = mm;
	params.owner = &owner;
	ck_assert_msg(virtio_balloon_create(&params, ram, &dev, &err) == 0, "%s", err.text);
}

static const struct balloon_params everything = {.deflate_on_oom = true, .reporting = true, .hinting = true};

static void set_up(void)
{
	static const struct guest_ram_region regions[] = {{.gpa = 0, .size = FIRST_REGION_PAGES * PAGE},
							  {.gpa = FIRST_REGION_PAGES * PAGE,
							   .size = (RAM_PAGES - FIRST_REGION_PAGES) * PAGE}};
	struct memmgr_params params = {.ram = NULL, .owner = &memory_owner, .swap_fd = -1};
	ck_assert_int_eq(guest_ram_create(regions, 2, &ram, NULL), 0);
	params.ram = ram;
	memmgr_settings_init(&params.settings);
	ck_assert_int_eq(memmgr_create(&params, &mm, NULL), 0);
	dev = NULL;
	atomic_store(&nr_changes, 0);
}

static void tear_down(void)
{
	virtio_device_destroy(dev);
	memmgr_destroy(mm);
	guest_ram_destroy(ram);
}

/* numbers: which virtqueue is for which of the queues, -1: none. */
static void bring_up_as(uint64_t features, const int numbers[NR_QUEUES])
{
	driver_negotiate(dev, features);
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		driver_queue_init(&queues[i], ram, RINGS + i * 0x1000, QUEUE_SIZE);
		if (numbers[i] >= 0)
			driver_enable_queue(dev, (unsigned)numbers[i], &queues[i]);
	}
	driver_ok(dev);
	ck_assert(!virtio_device_failed(dev));
}

static void bring_up(uint64_t features)
{
	static const int numbers[NR_QUEUES] = {0, 1, 2, 3, 4};
	bring_up_as(features, numbers);
}

static void write_page(uint32_t page)
{
	uint64_t value = 0x123456789abcdefull ^ page;
	for (unsigned i = 0; i < PAGE / 8; i++)
		guest_ram_write(ram, page * PAGE + i * 8, &value, 8);
}

static bool is_zero(uint32_t page)
{
	static const uint8_t zeros[PAGE];
	uint8_t bytes[PAGE];
	ck_assert_int_eq(guest_ram_read(ram, page * PAGE, bytes, PAGE), 0);
	return !memcmp(bytes, zeros, PAGE);
}

static bool is_there(uint32_t page)
{
	unsigned char there = 0;
	ck_assert_int_eq(mincore(guest_ram_at(ram, page * PAGE, PAGE), PAGE, &there), 0);
	return there & 1;
}

static uint64_t ballooned(void)
{
	struct memmgr_stats stats;
	memmgr_get_stats(mm, &stats);
	return stats.balloon_pages;
}

static struct balloon_info info_now(void)
{
	struct balloon_info info;
	virtio_balloon_get_info(dev, &info);
	return info;
}

static void kick(unsigned queue)
{
	virtio_device_kick(dev, queue);
}

static void expect_answer(unsigned queue)
{
	uint32_t id, len;
	ck_assert_msg(driver_wait(&queues[queue], &id, &len), "queue %u does not answer", queue);
	ck_assert_uint_eq(len, 0);
}

/* Offers page numbers as one request. */
static void offer_pfns(unsigned queue, const uint32_t *pfns, uint32_t nr)
{
	guest_ram_write(ram, ARRAY, pfns, nr * sizeof(*pfns));
	driver_desc(&queues[queue], 0, ARRAY, nr * (uint32_t)sizeof(*pfns), 0, 0);
	driver_offer(&queues[queue], 0);
	kick(queue);
}

static void send_pfns(unsigned queue, const uint32_t *pfns, uint32_t nr)
{
	offer_pfns(queue, pfns, nr);
	expect_answer(queue);
}

static void send_range(unsigned queue, uint32_t first, uint32_t nr)
{
	uint32_t pfns[8192];
	for (uint32_t i = 0; i < nr; i++)
		pfns[i] = first + i;
	send_pfns(queue, pfns, nr);
}

/* --- inflate and deflate --- */

START_TEST(pages_are_given_up_and_taken_back)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	for (uint32_t i = 0; i < 600; i++)
		write_page(GIVEN + i);
	send_range(INFLATE, GIVEN, 512);
	ck_assert_uint_eq(ballooned(), 512);
	ck_assert(!is_there(GIVEN) && !is_there(GIVEN + 511) && is_there(GIVEN + 512));
	ck_assert(!is_zero(GIVEN + 512));
	send_range(DEFLATE, GIVEN, 256);
	ck_assert_uint_eq(ballooned(), 256);
	ck_assert(is_zero(GIVEN) && is_zero(GIVEN + 300));
	struct balloon_info info = info_now();
	ck_assert(info.has_driver && info.inflated == 512 && info.deflated == 256 && info.spared == 0);
}
END_TEST

START_TEST(pages_come_in_any_order_and_more_than_once)
{
	struct dice dice = {dice_seed()};
	uint32_t pfns[2000];
	static bool given[RAM_PAGES];
	memset(given, 0, sizeof(given));
	create(&everything);
	bring_up(ALL_FEATURES);
	/* Over the border of the two regions, too. */
	for (uint32_t i = 0; i < 4000; i++)
		write_page(GIVEN + i);
	for (unsigned round = 0; round < 20; round++) {
		uint32_t nr = 1 + dice_roll(&dice, 2000), start = GIVEN + dice_roll(&dice, 2000);
		for (uint32_t i = 0; i < nr; i++) {
			pfns[i] = _i == 0   ? start + i /* upwards */
				  : _i == 1 ? start + nr - 1 - i
					    : GIVEN + dice_roll(&dice, 4000);
			given[pfns[i]] = true;
		}
		send_pfns(INFLATE, pfns, nr);
	}
	uint32_t nr_given = 0;
	for (uint32_t page = GIVEN; page < GIVEN + 4000; page++) {
		nr_given += given[page];
		ck_assert_int_eq(given[page], !is_there(page));
	}
	ck_assert_uint_eq(ballooned(), nr_given);
	for (uint32_t page = GIVEN; page < GIVEN + 4000; page++)
		ck_assert_int_eq(given[page], is_zero(page));
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

START_TEST(a_guest_without_a_memory_manager_has_a_balloon)
{
	struct memmgr *kept = mm;
	mm = NULL;
	create(&everything);
	mm = kept;
	bring_up(ALL_FEATURES);
	for (uint32_t i = 0; i < 600; i++)
		write_page(GIVEN + i);
	send_range(INFLATE, GIVEN, 512);
	ck_assert(!is_there(GIVEN + 5) && is_zero(GIVEN + 5) && !is_zero(GIVEN + 512));
	send_range(DEFLATE, GIVEN, 512);
}
END_TEST

START_TEST(a_long_request_is_done_to_its_end)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	for (uint32_t page = GIVEN; page < RAM_PAGES; page++)
		write_page(page);
	send_range(INFLATE, GIVEN, RAM_PAGES - GIVEN);
	ck_assert_uint_eq(ballooned(), RAM_PAGES - GIVEN);
	/* As is one of several buffers, cut where they please. */
	uint32_t pfns[600];
	for (uint32_t i = 0; i < 600; i++)
		pfns[i] = GIVEN + i;
	guest_ram_write(ram, ARRAY, pfns, sizeof(pfns));
	driver_desc(&queues[DEFLATE], 0, ARRAY, 5, DRIVER_NEXT, 1);
	driver_desc(&queues[DEFLATE], 1, ARRAY + 5, sizeof(pfns) - 5, 0, 0);
	driver_offer(&queues[DEFLATE], 0);
	kick(DEFLATE);
	expect_answer(DEFLATE);
	ck_assert_uint_eq(ballooned(), RAM_PAGES - GIVEN - 600);
}
END_TEST

START_TEST(memory_that_a_device_may_hold_is_waited_for)
{
	struct iovec iov = {.iov_base = guest_ram_at(ram, GIVEN * PAGE, PAGE), .iov_len = PAGE};
	struct guest_ram_pins pins;
	uint32_t id, len, pfn = GIVEN + 3;
	create(&everything);
	bring_up(ALL_FEATURES);
	write_page(pfn);
	guest_ram_pin(ram, &iov, 1, &pins);
	offer_pfns(INFLATE, &pfn, 1);
	if (_i == 0) {
		/* It ends soon. */
		usleep(20000);
		ck_assert(!driver_take(&queues[INFLATE], &id, &len));
		guest_ram_unpin(ram, &pins);
		expect_answer(INFLATE);
		ck_assert(is_zero(pfn));
		ck_assert_uint_eq(info_now().spared, 0);
	} else {
		/* It never does: the guest goes on, and keeps the page. */
		expect_answer(INFLATE);
		ck_assert(!is_zero(pfn));
		ck_assert_uint_eq(info_now().spared, 1);
		ck_assert_uint_eq(ballooned(), 0);
		guest_ram_unpin(ram, &pins);
	}
}
END_TEST

START_TEST(a_request_that_waits_survives_a_pause)
{
	struct iovec iov = {.iov_base = guest_ram_at(ram, GIVEN * PAGE, PAGE), .iov_len = PAGE};
	struct guest_ram_pins pins;
	uint32_t id, len, pfn = GIVEN;
	create(&everything);
	bring_up(ALL_FEATURES);
	write_page(pfn);
	guest_ram_pin(ram, &iov, 1, &pins);
	offer_pfns(INFLATE, &pfn, 1);
	usleep(10000);
	virtio_device_pause(dev);
	guest_ram_unpin(ram, &pins);
	usleep(20000);
	ck_assert(!driver_take(&queues[INFLATE], &id, &len));
	virtio_device_resume(dev);
	expect_answer(INFLATE);
	ck_assert(is_zero(pfn));
}
END_TEST

/* --- config space --- */

static uint32_t config_word(uint32_t offset)
{
	uint32_t value;
	virtio_device_config_read(dev, offset, &value, 4);
	return value;
}

START_TEST(the_guest_learns_its_target_and_tells_how_far_it_is)
{
	uint32_t actual = 100, lie = 7;
	create(&everything);
	bring_up(ALL_FEATURES);
	virtio_balloon_set_target(dev, 300);
	ck_assert_uint_eq(config_word(0), 300);
	virtio_device_config_write(dev, 4, &actual, 4);
	ck_assert_uint_eq(info_now().actual_pages, 100);
	ck_assert_uint_eq(atomic_load(&nr_changes), 1);
	virtio_device_config_write(dev, 4, &actual, 4);
	ck_assert_uint_eq(atomic_load(&nr_changes), 1);
	/* What is not the driver's to say it does not change. */
	virtio_device_config_write(dev, 0, &lie, 4);
	virtio_device_config_write(dev, 8, &lie, 4);
	ck_assert_uint_eq(config_word(0), 300);
	ck_assert_uint_eq(config_word(8), 0);
	ck_assert_uint_eq(atomic_load(&nr_changes), 1);
}
END_TEST

START_TEST(a_guest_that_begins_anew_has_an_empty_balloon)
{
	uint32_t actual = 512;
	create(&everything);
	bring_up(ALL_FEATURES);
	virtio_balloon_set_target(dev, 512);
	send_range(INFLATE, GIVEN, 512);
	virtio_device_config_write(dev, 4, &actual, 4);
	bring_up(ALL_FEATURES);
	ck_assert_uint_eq(ballooned(), 0);
	ck_assert_uint_eq(config_word(4), 0);
	struct balloon_info info = info_now();
	ck_assert(info.actual_pages == 0 && info.target_pages == 512 && !info.has_stats);
	ck_assert_uint_eq(atomic_load(&nr_changes), 2);
}
END_TEST

START_TEST(without_a_driver_there_is_a_device_all_the_same)
{
	struct error err = {0};
	create(&everything);
	virtio_balloon_set_target(dev, 5);
	virtio_balloon_set_polling(dev, 1);
	ck_assert(!info_now().has_driver);
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), -ENODEV);
	virtio_device_pause(dev);
	virtio_device_resume(dev);
	virtio_device_reset(dev);
}
END_TEST

/* --- statistics --- */

static void put_stat(uint8_t *at, uint16_t tag, uint64_t value)
{
	memcpy(at, &tag, 2);
	memcpy(at + 2, &value, 8);
}

static void offer_stats(uint64_t base)
{
	uint8_t bytes[(BALLOON_NR_STATS + 2) * 10 + 3] = {0};
	for (unsigned i = 0; i < BALLOON_NR_STATS; i++) /* backwards, and without one */
		put_stat(bytes + (BALLOON_NR_STATS - 1 - i) * 10, (uint16_t)(i == BALLOON_STAT_CACHES ? 777 : i), base + i);
	put_stat(bytes + BALLOON_NR_STATS * 10, 99, 1);
	put_stat(bytes + (BALLOON_NR_STATS + 1) * 10, 0xffff, 1);
	guest_ram_write(ram, BUFFER, bytes, sizeof(bytes));
	driver_desc(&queues[STATS], 0, BUFFER, sizeof(bytes), 0, 0);
	driver_offer(&queues[STATS], 0);
	kick(STATS);
}

static void expect_stats(uint64_t base)
{
	long long end = driver_now_ms() + 10000;
	struct balloon_info info = info_now();
	while (!(info.has_stats && info.stats.values[BALLOON_STAT_DIRECT_RECLAIM] == base + BALLOON_STAT_DIRECT_RECLAIM)) {
		ck_assert_msg(driver_now_ms() < end, "no statistics");
		usleep(1000);
		info = info_now();
	}
	for (unsigned i = 0; i < BALLOON_NR_STATS; i++) {
		ck_assert_int_eq(balloon_stats_has(&info.stats, (enum balloon_stat)i), i != BALLOON_STAT_CACHES);
		if (i != BALLOON_STAT_CACHES)
			ck_assert_uint_eq(info.stats.values[i], base + i);
	}
	ck_assert_int_ge(info.stats_time, time(NULL) - 10);
}

START_TEST(statistics_of_every_tag_are_read)
{
	uint32_t id, len;
	create(&everything);
	bring_up(ALL_FEATURES);
	offer_stats(1000);
	expect_stats(1000);
	/* The buffer is kept until the next ones are wanted: now. */
	ck_assert(!driver_take(&queues[STATS], &id, &len));
	virtio_balloon_set_polling(dev, 1);
	expect_answer(STATS);
	offer_stats(5000);
	expect_stats(5000);
	expect_answer(STATS);
	virtio_balloon_set_polling(dev, 0);
	ck_assert_uint_eq(info_now().poll_seconds, 0);
}
END_TEST

START_TEST(statistics_survive_a_pause_with_their_time)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	offer_stats(1000);
	expect_stats(1000);
	virtio_device_pause(dev);
	/* Were the buffer read once more, this would be seen. */
	uint8_t garbage[20] = {0};
	guest_ram_write(ram, BUFFER, garbage, sizeof(garbage));
	virtio_device_resume(dev);
	virtio_balloon_set_polling(dev, 1);
	expect_answer(STATS);
	expect_stats(1000);
}
END_TEST

START_TEST(short_and_odd_statistics_are_taken_as_they_are)
{
	struct balloon_stats stats;
	uint8_t bytes[25] = {0};
	put_stat(bytes, BALLOON_STAT_MEMFREE, 1);
	put_stat(bytes + 10, BALLOON_STAT_MEMFREE, 2);
	balloon_stats_parse(bytes, 25, &stats);
	ck_assert_uint_eq(stats.present, 1u << BALLOON_STAT_MEMFREE);
	ck_assert_uint_eq(stats.values[BALLOON_STAT_MEMFREE], 2);
	balloon_stats_parse(bytes, 9, &stats);
	ck_assert_uint_eq(stats.present, 0);
	balloon_stats_parse(NULL, 0, &stats);
	ck_assert_uint_eq(stats.present, 0);
	ck_assert_str_eq(balloon_stat_fields[BALLOON_STAT_OOM_KILL].name, "oom-kills");
	ck_assert_str_eq(balloon_stat_fields[BALLOON_STAT_DIRECT_RECLAIM].name, "direct-reclaims");
}
END_TEST

/* --- reports and hints --- */

static void offer_pages(unsigned queue, uint64_t gpa, uint32_t len)
{
	driver_desc(&queues[queue], 0, gpa, len, DRIVER_WRITE, 0);
	driver_offer(&queues[queue], 0);
	kick(queue);
}

START_TEST(reported_pages_are_dropped)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	for (uint32_t i = 0; i < 1100; i++)
		write_page(GIVEN + i);
	offer_pages(REPORT, GIVEN * PAGE, 1024 * PAGE);
	expect_answer(REPORT);
	ck_assert(!is_there(GIVEN) && !is_there(GIVEN + 1023));
	ck_assert(is_zero(GIVEN) && !is_zero(GIVEN + 1024));
	ck_assert_uint_eq(ballooned(), 0);
	ck_assert_uint_eq(info_now().reported, 1024);
	/* Only whole pages. */
	offer_pages(REPORT, (GIVEN + 1030) * PAGE + 8, 3 * PAGE);
	expect_answer(REPORT);
	ck_assert(!is_zero(GIVEN + 1030) && is_zero(GIVEN + 1031) && is_zero(GIVEN + 1032) && !is_zero(GIVEN + 1033));
	offer_pages(REPORT, (GIVEN + 1040) * PAGE + 8, 100);
	expect_answer(REPORT);
	ck_assert(!is_zero(GIVEN + 1040));
}
END_TEST

START_TEST(pages_that_are_poisoned_are_dropped_only_if_zeroes_are_right)
{
	uint32_t poison = _i ? 0xaaaaaaaa : 0;
	create(&everything);
	driver_negotiate(dev, ALL_FEATURES | BIT(VIRTIO_BALLOON_F_PAGE_POISON));
	for (unsigned i = 0; i < NR_QUEUES; i++) {
		driver_queue_init(&queues[i], ram, RINGS + i * 0x1000, QUEUE_SIZE);
		driver_enable_queue(dev, i, &queues[i]);
	}
	virtio_device_config_write(dev, 12, &poison, 4);
	driver_ok(dev);
	write_page(GIVEN);
	offer_pages(REPORT, GIVEN * PAGE, PAGE);
	expect_answer(REPORT);
	ck_assert_int_eq(is_zero(GIVEN), !_i);
	ck_assert_uint_eq(info_now().reported, !_i);
	/* The balloon's pages are written anew when they are taken back. */
	write_page(GIVEN + 1);
	send_range(INFLATE, GIVEN + 1, 1);
	ck_assert(is_zero(GIVEN + 1));
}
END_TEST

static void send_command(uint32_t id)
{
	guest_ram_write(ram, BUFFER, &id, 4);
	driver_desc(&queues[HINT], 0, BUFFER, 4, 0, 0);
	driver_offer(&queues[HINT], 0);
	kick(HINT);
	expect_answer(HINT);
}

START_TEST(hinted_pages_are_taken_and_keep_what_they_hold)
{
	struct error err = {0};
	struct memmgr_stats stats;
	create(&everything);
	bring_up(ALL_FEATURES);
	for (uint32_t i = 0; i < 1024; i++)
		write_page(GIVEN + i);
	/* Unasked for, and from another round: not taken. */
	offer_pages(HINT, GIVEN * PAGE, 512 * PAGE);
	expect_answer(HINT);
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), 0);
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), -EBUSY);
	uint32_t id = config_word(8);
	ck_assert_uint_ge(id, 2);
	send_command(id + 1);
	offer_pages(HINT, GIVEN * PAGE, 512 * PAGE);
	expect_answer(HINT);
	ck_assert_uint_eq(info_now().hinted, 0);
	send_command(id);
	offer_pages(HINT, GIVEN * PAGE, 512 * PAGE);
	expect_answer(HINT);
	ck_assert_uint_eq(info_now().hinted, 512);
	memmgr_get_stats(mm, &stats);
	ck_assert_uint_eq(stats.compressed_pages, 512);
	send_command(VIRTIO_BALLOON_CMD_ID_STOP);
	ck_assert_uint_eq(config_word(8), VIRTIO_BALLOON_CMD_ID_DONE);
	ck_assert(!info_now().hinting);
	for (uint32_t i = 0; i < 1024; i++)
		ck_assert(!is_zero(GIVEN + i));
	/* The next round has another number. */
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), 0);
	ck_assert_uint_ne(config_word(8), id);
	ck_assert_uint_ge(config_word(8), 2);
}
END_TEST

START_TEST(what_was_not_asked_for_is_not_offered)
{
	static const struct balloon_params nothing = {.name = NULL};
	struct error err = {0};
	create(&nothing);
	ck_assert(!(dev->features_offered & (BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM) | BIT(VIRTIO_BALLOON_F_REPORTING) |
					     BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT) | BIT(VIRTIO_BALLOON_F_MUST_TELL_HOST))));
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), -ENOTSUP);
	virtio_device_destroy(dev);
	create(&everything);
	ck_assert(dev->features_offered & BIT(VIRTIO_BALLOON_F_DEFLATE_ON_OOM));
}
END_TEST

/* Queues by the standard's numbers, and one after the other. */
START_TEST(queues_are_found_whichever_way_they_are_numbered)
{
	static const struct {
		uint64_t features;
		int numbers[NR_QUEUES];
	} ways[] = {
		{VERSION_1, {0, 1, -1, -1, -1}},
		{VERSION_1 | BIT(VIRTIO_BALLOON_F_REPORTING), {0, 1, -1, -1, 4}},
		{VERSION_1 | BIT(VIRTIO_BALLOON_F_REPORTING), {0, 1, -1, -1, 2}},
		{VERSION_1 | BIT(VIRTIO_BALLOON_F_REPORTING) | BIT(VIRTIO_BALLOON_F_STATS_VQ), {0, 1, 2, -1, 4}},
		{VERSION_1 | BIT(VIRTIO_BALLOON_F_REPORTING) | BIT(VIRTIO_BALLOON_F_STATS_VQ), {0, 1, 2, -1, 3}},
		{VERSION_1 | BIT(VIRTIO_BALLOON_F_REPORTING) | BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT), {0, 1, -1, 2, 3}},
		{ALL_FEATURES, {0, 1, 2, 3, 4}},
		{ALL_FEATURES, {0, 1, -1, -1, 4}},
	};
	create(&everything);
	bring_up_as(ways[_i].features, ways[_i].numbers);
	write_page(GIVEN);
	send_range(INFLATE, GIVEN, 1);
	ck_assert(is_zero(GIVEN));
	if (ways[_i].numbers[REPORT] >= 0) {
		write_page(GIVEN);
		driver_desc(&queues[REPORT], 0, GIVEN * PAGE, PAGE, DRIVER_WRITE, 0);
		driver_offer(&queues[REPORT], 0);
		kick((unsigned)ways[_i].numbers[REPORT]);
		expect_answer(REPORT);
		ck_assert(is_zero(GIVEN));
	}
	ck_assert(!virtio_device_failed(dev));
}
END_TEST

/* --- drivers that lie --- */

START_TEST(a_driver_that_breaks_the_rules_fails_and_a_reset_heals_it)
{
	uint32_t pfn = GIVEN;
	create(&everything);
	bring_up(ALL_FEATURES);
	guest_ram_write(ram, ARRAY, &pfn, 4);
	switch (_i) {
	case 0: /* no memory */
		pfn = RAM_PAGES;
		offer_pfns(INFLATE, &pfn, 1);
		break;
	case 1:
		pfn = UINT32_MAX;
		offer_pfns(DEFLATE, &pfn, 1);
		break;
	case 2: /* no page numbers */
		driver_desc(&queues[INFLATE], 0, ARRAY, 3, 0, 0);
		driver_offer(&queues[INFLATE], 0);
		kick(INFLATE);
		break;
	case 3:
		offer_pages(INFLATE, ARRAY, 4);
		break;
	case 4: /* a broken ring */
		driver_publish(&queues[INFLATE], 999);
		kick(INFLATE);
		break;
	case 5:
		driver_publish(&queues[STATS], 999);
		kick(STATS);
		break;
	case 6:
		driver_desc(&queues[REPORT], 0, GIVEN * PAGE, PAGE, 0, 0);
		driver_offer(&queues[REPORT], 0);
		kick(REPORT);
		break;
	case 7:
		offer_pages(REPORT, RAM_PAGES * PAGE - PAGE, 2 * PAGE);
		break;
	default:
		driver_desc(&queues[HINT], 0, BUFFER, 5, 0, 0);
		driver_offer(&queues[HINT], 0);
		kick(HINT);
	}
	ck_assert(driver_wait_failed(dev));
	ck_assert(!info_now().has_driver);
	bring_up(ALL_FEATURES);
	write_page(GIVEN);
	send_range(INFLATE, GIVEN, 1);
	ck_assert(is_zero(GIVEN));
}
END_TEST

START_TEST(a_driver_that_takes_back_what_it_never_gave_gets_nothing)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	write_page(GIVEN);
	send_range(DEFLATE, GIVEN, 100);
	ck_assert(!is_zero(GIVEN));
	ck_assert_uint_eq(ballooned(), 0);
	send_range(INFLATE, GIVEN, 1);
	send_range(DEFLATE, GIVEN, 1);
	send_range(DEFLATE, GIVEN, 1);
	ck_assert(is_zero(GIVEN));
	ck_assert_uint_eq(ballooned(), 0);
}
END_TEST

START_TEST(a_driver_that_gives_away_its_own_rings_harms_nobody_else)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	uint32_t pfn = RINGS / PAGE + INFLATE;
	offer_pfns(INFLATE, &pfn, 1);
	usleep(10000);
	bring_up(ALL_FEATURES);
	write_page(GIVEN);
	send_range(INFLATE, GIVEN, 1);
	ck_assert(is_zero(GIVEN));
}
END_TEST

START_TEST(an_endless_driver_can_be_stopped)
{
	create(&everything);
	bring_up(ALL_FEATURES);
	uint32_t pfns[8192];
	for (uint32_t i = 0; i < 8192; i++)
		pfns[i] = GIVEN + i % 4096;
	guest_ram_write(ram, ARRAY, pfns, sizeof(pfns));
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		driver_desc(&queues[INFLATE], i, ARRAY, sizeof(pfns), 0, 0);
		driver_offer(&queues[INFLATE], (uint16_t)i);
		driver_desc(&queues[REPORT], i, GIVEN * PAGE, 4096 * PAGE, DRIVER_WRITE, 0);
		driver_offer(&queues[REPORT], (uint16_t)i);
	}
	for (unsigned i = 0; i < 20; i++) {
		kick(INFLATE);
		kick(REPORT);
		virtio_device_pause(dev);
		virtio_device_resume(dev);
	}
	for (unsigned i = 0; i < QUEUE_SIZE; i++) {
		expect_answer(INFLATE);
		expect_answer(REPORT);
	}
}
END_TEST

/* --- saved state --- */

START_TEST(a_saved_device_goes_on_elsewhere)
{
	uint32_t actual = 64;
	struct error err = {0};
	create(&everything);
	bring_up(ALL_FEATURES);
	virtio_balloon_set_target(dev, 128);
	virtio_device_config_write(dev, 4, &actual, 4);
	offer_stats(1000);
	expect_stats(1000);
	ck_assert_int_eq(virtio_balloon_ask_hints(dev, &err), 0);
	uint32_t id = config_word(8);
	virtio_device_pause(dev);
	struct state_writer *w = state_writer_new();
	virtio_device_save(dev, w);
	const void *data;
	size_t len;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	virtio_device_destroy(dev);

	create(&everything);
	virtio_device_pause(dev);
	struct state_reader *r;
	ck_assert_int_eq(state_reader_open(data, len, &r, NULL), 0);
	ck_assert_msg(virtio_device_load(dev, r, &err) == 0, "%s", err.text);
	struct balloon_info info = info_now();
	ck_assert(info.target_pages == 128 && info.actual_pages == 64 && info.hinting);
	ck_assert_uint_eq(config_word(0), 128);
	ck_assert_uint_eq(config_word(4), 64);
	ck_assert_uint_eq(config_word(8), id);
	virtio_device_resume(dev);
	expect_stats(1000); /* the buffer is read here as well */
	send_command(id);
	write_page(GIVEN);
	send_range(INFLATE, GIVEN, 1);
	ck_assert(is_zero(GIVEN));
	state_reader_free(r);
	state_writer_free(w);
}
END_TEST

/* --- runs --- */

START_TEST(numbers_become_runs)
{
	static const struct {
		uint32_t pfns[8];
		size_t nr;
		struct pfn_run runs[8];
		size_t nr_runs;
	} cases[] = {
		{{5}, 1, {{5, 1}}, 1},
		{{1, 2, 3, 9}, 4, {{1, 3}, {9, 1}}, 2},
		{{9, 3, 2, 1}, 4, {{1, 3}, {9, 1}}, 2},
		{{3, 1, 2, 3, 1}, 5, {{1, 3}}, 1},
		{{7, 7, 7}, 3, {{7, 1}}, 1},
		{{UINT32_MAX, 0, UINT32_MAX - 1}, 3, {{0, 1}, {UINT32_MAX - 1, 2}}, 2},
		{{4, 2, 0}, 3, {{0, 1}, {2, 1}, {4, 1}}, 3},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint32_t pfns[8];
		struct pfn_run runs[8];
		memcpy(pfns, cases[i].pfns, sizeof(pfns));
		ck_assert_uint_eq(pfn_runs(pfns, cases[i].nr, runs), cases[i].nr_runs);
		for (size_t r = 0; r < cases[i].nr_runs; r++)
			ck_assert(runs[r].first == cases[i].runs[r].first && runs[r].nr == cases[i].runs[r].nr);
	}
}
END_TEST

int main(void)
{
	struct error err = {0};
	int fd = uffd_open(&err);
	if (fd < 0) {
		printf("skipped: %s\n", err.text);
		return EXIT_SUCCESS;
	}
	close(fd);
	Suite *suite = suite_create("balloon");
	TCase *tc = tcase_create("balloon");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, pages_are_given_up_and_taken_back);
	tcase_add_loop_test(tc, pages_come_in_any_order_and_more_than_once, 0, 3);
	tcase_add_test(tc, a_guest_without_a_memory_manager_has_a_balloon);
	tcase_add_test(tc, a_long_request_is_done_to_its_end);
	tcase_add_loop_test(tc, memory_that_a_device_may_hold_is_waited_for, 0, 2);
	tcase_add_test(tc, a_request_that_waits_survives_a_pause);
	tcase_add_test(tc, the_guest_learns_its_target_and_tells_how_far_it_is);
	tcase_add_test(tc, a_guest_that_begins_anew_has_an_empty_balloon);
	tcase_add_test(tc, without_a_driver_there_is_a_device_all_the_same);
	tcase_add_test(tc, statistics_of_every_tag_are_read);
	tcase_add_test(tc, statistics_survive_a_pause_with_their_time);
	tcase_add_test(tc, short_and_odd_statistics_are_taken_as_they_are);
	tcase_add_test(tc, reported_pages_are_dropped);
	tcase_add_loop_test(tc, pages_that_are_poisoned_are_dropped_only_if_zeroes_are_right, 0, 2);
	tcase_add_test(tc, hinted_pages_are_taken_and_keep_what_they_hold);
	tcase_add_test(tc, what_was_not_asked_for_is_not_offered);
	tcase_add_loop_test(tc, queues_are_found_whichever_way_they_are_numbered, 0, 8);
	tcase_add_loop_test(tc, a_driver_that_breaks_the_rules_fails_and_a_reset_heals_it, 0, 9);
	tcase_add_test(tc, a_driver_that_takes_back_what_it_never_gave_gets_nothing);
	tcase_add_test(tc, a_driver_that_gives_away_its_own_rings_harms_nobody_else);
	tcase_add_test(tc, an_endless_driver_can_be_stopped);
	tcase_add_test(tc, a_saved_device_goes_on_elsewhere);
	tcase_add_test(tc, numbers_become_runs);
	suite_add_tcase(suite, tc);
	return suite_run(suite);
}
