/* The clock: date and time in every format, set by the guest, and whatever else a guest writes there. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

/* The file under test is compiled in here, with the host's time in the test's hand. */
static time_t host_time;
static time_t fake_time(time_t *out)
{
	(void)out;
	return host_time;
}
#define time fake_time
#include "vmm/rtc.c" /* NOLINT(bugprone-suspicious-include) */
#undef time

static struct bus ports;
static struct rtc rtc;
static struct error err;

/* 2024-02-29 23:59:58, a Thursday. */
#define LEAP_DAY 1709251198

static void set_up(void)
{
	host_time = LEAP_DAY;
	bus_init(&ports);
	ck_assert_int_eq(rtc_init(&rtc, &ports, 1ull << 30, &err), 0);
}

static void tear_down(void)
{
	rtc_fini(&rtc);
	bus_fini(&ports);
}

static uint8_t get(unsigned index)
{
	uint8_t byte = (uint8_t)index;
	bus_write(&ports, 0x70, &byte, 1);
	bus_read(&ports, 0x71, &byte, 1);
	return byte;
}

static void put(unsigned index, unsigned value)
{
	uint8_t byte = (uint8_t)index;
	bus_write(&ports, 0x70, &byte, 1);
	byte = (uint8_t)value;
	bus_write(&ports, 0x71, &byte, 1);
}

static void shows(const char *want)
{
	char text[64];
	snprintf(text, sizeof(text), "%02x%02x-%02x-%02x %02x:%02x:%02x %x", get(0x32), get(9), get(8), get(7), get(4), get(2),
		 get(0), get(6));
	ck_assert_str_eq(text, want);
}

START_TEST(the_clock_shows_the_time_in_decimal_digits)
{
	shows("2024-02-29 23:59:58 5");
	host_time += 2;
	shows("2024-03-01 00:00:00 6");
}
END_TEST

START_TEST(the_clock_shows_binary_numbers)
{
	put(RTC_B, RTC_B_24H | RTC_B_BINARY);
	shows("1418-02-1d 17:3b:3a 5");
}
END_TEST

START_TEST(twelve_hours_have_a_noon_and_a_midnight)
{
	static const struct {
		unsigned hour, decimal, binary;
	} hours[] = {{0, 0x12, 12},    {1, 0x01, 1},     {11, 0x11, 11},  {12, 0x92, 0x8c},
		     {13, 0x81, 0x81}, {22, 0x90, 0x8a}, {23, 0x91, 0x8b}};
	for (size_t i = 0; i < sizeof(hours) / sizeof(hours[0]); i++) {
		host_time = LEAP_DAY - 23 * 3600 + hours[i].hour * 3600;
		put(RTC_B, 0);
		ck_assert_uint_eq(get(RTC_HOURS), hours[i].decimal);
		put(RTC_B, RTC_B_BINARY);
		ck_assert_uint_eq(get(RTC_HOURS), hours[i].binary);
		/* And back. */
		put(RTC_B, RTC_B_BINARY | RTC_B_SET);
		put(RTC_HOURS, hours[i].binary);
		put(RTC_B, RTC_B_BINARY);
		put(RTC_B, RTC_B_24H | RTC_B_BINARY);
		ck_assert_uint_eq(get(RTC_HOURS), hours[i].hour);
	}
}
END_TEST

static void set_time(unsigned b, const uint8_t values[7])
{
	static const uint8_t registers[] = {RTC_CENTURY, RTC_YEAR, RTC_MONTH, RTC_DAY, RTC_HOURS, RTC_MINUTES, RTC_SECONDS};
	put(RTC_B, b | RTC_B_SET);
	for (unsigned i = 0; i < 7; i++)
		put(registers[i], values[i]);
	put(RTC_B, b);
}

START_TEST(the_guest_sets_the_time)
{
	set_time(RTC_B_24H, (const uint8_t[]){0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59});
	shows("1999-12-31 23:59:59 6");
	host_time++;
	shows("2000-01-01 00:00:00 7");
	set_time(RTC_B_24H | RTC_B_BINARY, (const uint8_t[]){21, 0, 2, 28, 0, 0, 0});
	put(RTC_B, RTC_B_24H);
	shows("2100-02-28 00:00:00 1");
	host_time += 86400; /* no leap year */
	shows("2100-03-01 00:00:00 2");
}
END_TEST

START_TEST(the_clock_stands_while_it_is_set)
{
	put(RTC_B, RTC_B_24H | RTC_B_SET);
	host_time += 100;
	shows("2024-02-29 23:59:58 5");
	put(RTC_SECONDS, 0x30);
	put(RTC_WEEKDAY, 0x03);
	shows("2024-02-29 23:59:30 3");
	put(RTC_B, RTC_B_24H);
	shows("2024-02-29 23:59:30 5");
	host_time++;
	shows("2024-02-29 23:59:31 5");
}
END_TEST

START_TEST(a_register_may_be_set_while_the_clock_runs)
{
	put(RTC_MINUTES, 0x10);
	shows("2024-02-29 23:10:58 5");
	put(RTC_CENTURY, 0x19);
	ck_assert_uint_eq(get(RTC_CENTURY), 0x19);
}
END_TEST

START_TEST(nonsense_leaves_a_clock_that_goes)
{
	static const uint8_t nonsense[] = {0, 0x0a, 0x5a, 0x7f, 0x80, 0x99, 0xaa, 0xff};
	for (size_t i = 0; i < sizeof(nonsense); i++) {
		uint8_t all[7];
		memset(all, nonsense[i], sizeof(all));
		for (unsigned b = 0; b < 8; b += 2) {
			set_time(b, all);
			get(RTC_SECONDS);
			/* Whatever it was: from now on it is a time again. */
			set_time(RTC_B_24H, (const uint8_t[]){0x20, 0x24, 0x02, 0x29, 0x12, 0x00, 0x00});
			shows("2024-02-29 12:00:00 5");
		}
	}
	random_start();
	for (unsigned round = 0; round < 50000; round++) {
		uint64_t value = random_bits();
		bus_write(&ports, 0x70 + random_below(2), &value, 1u << random_below(2));
		bus_read(&ports, 0x70 + random_below(2), &value, 1u << random_below(2));
		host_time += (time_t)random_below(1000);
	}
	set_time(RTC_B_24H, (const uint8_t[]){0x20, 0x24, 0x02, 0x29, 0x12, 0x00, 0x00});
	shows("2024-02-29 12:00:00 5");
}
END_TEST

START_TEST(control_registers_keep_what_they_must)
{
	put(RTC_A, 0xff);
	ck_assert_uint_eq(get(RTC_A), 0x7f); /* never updating */
	put(RTC_B, 0x7f);
	ck_assert_uint_eq(get(RTC_B), 0x0f); /* no interrupts */
	put(RTC_C, 0xff);
	ck_assert_uint_eq(get(RTC_C), 0);
	put(RTC_D, 0);
	ck_assert_uint_eq(get(RTC_D), 0x80);
	for (unsigned i = 14; i < 128; i++) {
		if (i == RTC_CENTURY)
			continue;
		put(i, i ^ 0x55);
		ck_assert_uint_eq(get(i), i ^ 0x55);
	}
	ck_assert_uint_eq(get(0x80 | 20), 20 ^ 0x55); /* the top bit masks NMIs */
}
END_TEST

START_TEST(other_widths_do_little)
{
	uint64_t value = 0;
	bus_read(&ports, 0x70, &value, 1);
	ck_assert_uint_eq(value, 0xff); /* write-only */
	bus_read(&ports, 0x70, &value, 2);
	ck_assert_uint_eq(value, 0xffff);
	value = 0x4220; /* index and data at once */
	bus_write(&ports, 0x70, &value, 2);
	ck_assert_uint_eq(get(0x20), 0x42);
}
END_TEST

START_TEST(the_size_of_memory_is_told)
{
	static const struct {
		uint64_t bytes;
		unsigned kib, units;
	} sizes[] = {
		{1ull << 20, 0, 0},
		{16ull << 20, 15 * 1024, 0},
		{64ull << 20, 63 * 1024, 48 * 16},
		{65ull << 20, 0xffff, 49 * 16},
		{3ull << 30, 0xffff, 0xbf00},
		{1ull << 40, 0xffff, 0xbf00},
	};
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rtc other;
		struct bus bus;
		bus_init(&bus);
		ck_assert_int_eq(rtc_init(&other, &bus, sizes[i].bytes, &err), 0);
		ck_assert_uint_eq(other.memory[0x17] | other.memory[0x18] << 8, sizes[i].kib);
		ck_assert_uint_eq(other.memory[0x30] | other.memory[0x31] << 8, sizes[i].kib);
		ck_assert_uint_eq(other.memory[0x34] | other.memory[0x35] << 8, sizes[i].units);
		rtc_fini(&other);
		bus_fini(&bus);
	}
	struct rtc second;
	ck_assert_int_eq(rtc_init(&second, &ports, 0, &err), -EEXIST);
	rtc_fini(&second);
}
END_TEST

static int load(struct state_writer *w)
{
	const void *data;
	size_t len;
	struct state_reader *r;
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = rtc_load(&rtc, r, &err);
	state_reader_free(r);
	return ret;
}

START_TEST(a_saved_clock_is_loaded_and_has_gone_on)
{
	struct state_writer *w = state_writer_new();
	set_time(RTC_B_24H | RTC_B_BINARY, (const uint8_t[]){19, 70, 1, 1, 0, 0, 0});
	put(0x40, 0x99);
	rtc_save(&rtc, w);
	tear_down();
	host_time += 3600;
	bus_init(&ports);
	ck_assert_int_eq(rtc_init(&rtc, &ports, 1ull << 30, &err), 0);
	ck_assert_msg(load(w) == 0, "%s", err.text);
	uint8_t byte;
	bus_read(&ports, 0x71, &byte, 1); /* the index was saved, too */
	ck_assert_uint_eq(byte, 0x99);
	ck_assert_uint_eq(get(RTC_B), RTC_B_24H | RTC_B_BINARY);
	put(RTC_B, RTC_B_24H);
	shows("1970-01-01 01:00:00 5");
	state_writer_free(w);
}
END_TEST

static int load_fields(uint64_t index, size_t memory, int64_t offset)
{
	static uint8_t bytes[200];
	struct state_writer *w = state_writer_new();
	memset(bytes, 0xff, sizeof(bytes));
	bytes[RTC_B] = 0;
	state_enter_new(w, "rtc", 1);
	state_put(w, "index", index);
	state_put_bytes(w, "memory", bytes, memory);
	state_put(w, "offset-s", (uint64_t)offset);
	state_leave_new(w);
	int ret = load(w);
	state_writer_free(w);
	return ret;
}

START_TEST(hostile_states_are_refused_or_harmless)
{
	static const int64_t offsets[] = {0, -1, 3155760000000, -3155760000000};
	for (size_t i = 0; i < sizeof(offsets) / sizeof(offsets[0]); i++) {
		ck_assert_int_eq(load_fields(0x7f, 128, offsets[i]), 0);
		for (unsigned reg = 0; reg < 128; reg++)
			get(reg);
		put(RTC_SECONDS, 1);
	}
	ck_assert_int_eq(load_fields(0x80, 128, 0), -EINVAL);
	ck_assert_int_eq(load_fields(0, 127, 0), -EINVAL);
	ck_assert_int_eq(load_fields(0, 128, 3155760000001), -EINVAL);
	ck_assert_int_eq(load_fields(0, 128, INT64_MAX), -EINVAL);
	ck_assert_int_eq(load_fields(0, 128, INT64_MIN), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("rtc");
	TCase *tests = tcase_create("rtc");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, the_clock_shows_the_time_in_decimal_digits);
	tcase_add_test(tests, the_clock_shows_binary_numbers);
	tcase_add_test(tests, twelve_hours_have_a_noon_and_a_midnight);
	tcase_add_test(tests, the_guest_sets_the_time);
	tcase_add_test(tests, the_clock_stands_while_it_is_set);
	tcase_add_test(tests, a_register_may_be_set_while_the_clock_runs);
	tcase_add_test(tests, nonsense_leaves_a_clock_that_goes);
	tcase_add_test(tests, control_registers_keep_what_they_must);
	tcase_add_test(tests, other_widths_do_little);
	tcase_add_test(tests, the_size_of_memory_is_told);
	tcase_add_test(tests, a_saved_clock_is_loaded_and_has_gone_on);
	tcase_add_test(tests, hostile_states_are_refused_or_harmless);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
