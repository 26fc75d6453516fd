/* See rtc.h. The clock keeps no time itself: it is the host's plus an offset, which a guest that sets the clock changes. */
#include "vmm/rtc.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

enum rtc_register {
	RTC_SECONDS = 0,
	RTC_MINUTES = 2,
	RTC_HOURS = 4,
	RTC_WEEKDAY = 6,
	RTC_DAY = 7,
	RTC_MONTH = 8,
	RTC_YEAR = 9,
	RTC_A = 10,
	RTC_B = 11,
	RTC_C = 12,
	RTC_D = 13,
	RTC_CENTURY = 0x32,
};
#define RTC_A_DIVIDER 0x26
#define RTC_B_SET 0x80
#define RTC_B_BINARY 0x04
#define RTC_B_24H 0x02
#define RTC_D_VALID 0x80
#define HOUR_PM 0x80

static uint8_t encode(const struct rtc *rtc, int value)
{
	return (uint8_t)(rtc->memory[RTC_B] & RTC_B_BINARY ? value : value / 10 * 16 + value % 10);
}

static int decode(const struct rtc *rtc, uint8_t value)
{
	return rtc->memory[RTC_B] & RTC_B_BINARY ? value : (value >> 4) * 10 + (value & 0xf);
}

/* Fills the clock's registers from the time. While the guest holds SET, they are plain memory. */
static void refresh(struct rtc *rtc)
{
	if (rtc->memory[RTC_B] & RTC_B_SET)
		return;
	time_t now = time(NULL) + rtc->offset_s;
	struct tm tm;
	if (!gmtime_r(&now, &tm))
		return;
	int hour = tm.tm_hour, pm = 0;
	if (!(rtc->memory[RTC_B] & RTC_B_24H)) {
		pm = hour >= 12 ? HOUR_PM : 0;
		hour = hour % 12 ? hour % 12 : 12;
	}
	int year = tm.tm_year + 1900;
	rtc->memory[RTC_SECONDS] = encode(rtc, tm.tm_sec);
	rtc->memory[RTC_MINUTES] = encode(rtc, tm.tm_min);
	rtc->memory[RTC_HOURS] = (uint8_t)(encode(rtc, hour) | pm);
	rtc->memory[RTC_WEEKDAY] = encode(rtc, tm.tm_wday + 1);
	rtc->memory[RTC_DAY] = encode(rtc, tm.tm_mday);
	rtc->memory[RTC_MONTH] = encode(rtc, tm.tm_mon + 1);
	rtc->memory[RTC_YEAR] = encode(rtc, year % 100);
	rtc->memory[RTC_CENTURY] = encode(rtc, year / 100 % 100);
}

/* Takes the time from the registers: the guest may have written anything there, timegm() brings it into range. */
static void take_time(struct rtc *rtc)
{
	uint8_t hours = rtc->memory[RTC_HOURS];
	int hour = decode(rtc, hours & 0x7f);
	if (!(rtc->memory[RTC_B] & RTC_B_24H))
		hour = hour % 12 + (hours & HOUR_PM ? 12 : 0);
	struct tm tm = {
		.tm_sec = decode(rtc, rtc->memory[RTC_SECONDS]),
		.tm_min = decode(rtc, rtc->memory[RTC_MINUTES]),
		.tm_hour = hour,
		.tm_mday = decode(rtc, rtc->memory[RTC_DAY]),
		.tm_mon = decode(rtc, rtc->memory[RTC_MONTH]) - 1,
		.tm_year = decode(rtc, rtc->memory[RTC_YEAR]) + decode(rtc, rtc->memory[RTC_CENTURY]) * 100 - 1900,
	};
	time_t set = timegm(&tm);
	if (set != (time_t)-1)
		rtc->offset_s = set - time(NULL);
}

static bool is_clock(uint8_t index)
{
	return index == RTC_SECONDS || index == RTC_MINUTES || index == RTC_HOURS || (index >= RTC_WEEKDAY && index <= RTC_YEAR) ||
	       index == RTC_CENTURY;
}

static void rtc_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct rtc *rtc = (struct rtc *)self;
	memset(data, 0xff, size);
	if (offset != 1 || size != 1)
		return;
	lock_take(&rtc->lock);
	if (is_clock(rtc->index))
		refresh(rtc);
	*(uint8_t *)data = rtc->memory[rtc->index];
	lock_release(&rtc->lock);
}

static void write_register(struct rtc *rtc, uint8_t value)
{
	uint8_t index = rtc->index;
	if (index == RTC_C || index == RTC_D)
		return;
	if (index == RTC_A) {
		rtc->memory[RTC_A] = value & 0x7f; /* never updating */
	} else if (index == RTC_B) {
		bool was_set = rtc->memory[RTC_B] & RTC_B_SET;
		refresh(rtc);
		if (was_set && !(value & RTC_B_SET))
			take_time(rtc);
		rtc->memory[RTC_B] = value & (uint8_t)~0x70; /* no interrupts */
	} else if (is_clock(index) && !(rtc->memory[RTC_B] & RTC_B_SET)) {
		refresh(rtc);
		rtc->memory[index] = value;
		take_time(rtc);
	} else {
		rtc->memory[index] = value;
	}
}

static void rtc_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct rtc *rtc = (struct rtc *)self;
	const uint8_t *bytes = data;
	lock_take(&rtc->lock);
	/* A 16-bit write sets index and data at once. */
	for (unsigned i = 0; i < size && offset + i < 2; i++) {
		if (offset + i == 0)
			rtc->index = bytes[i] & 0x7f;
		else
			write_register(rtc, bytes[i]);
	}
	lock_release(&rtc->lock);
}

static const struct bus_ops rtc_ops = {.read = rtc_read, .write = rtc_write};

/* Where firmware looks for the size of memory: KiB from 1 MiB on, and 64 KiB units from 16 MiB on. */
static void note_ram(struct rtc *rtc, uint64_t ram_bytes)
{
	uint64_t kib = (ram_bytes >> 10) > 1024 ? (ram_bytes >> 10) - 1024 : 0;
	uint64_t units = ram_bytes > (16ull << 20) ? (ram_bytes - (16ull << 20)) >> 16 : 0;
	kib = kib > 0xffff ? 0xffff : kib;
	units = units > 0xbf00 ? 0xbf00 : units; /* up to 3 GiB */
	rtc->memory[0x17] = rtc->memory[0x30] = (uint8_t)kib;
	rtc->memory[0x18] = rtc->memory[0x31] = (uint8_t)(kib >> 8);
	rtc->memory[0x34] = (uint8_t)units;
	rtc->memory[0x35] = (uint8_t)(units >> 8);
}

int rtc_init(struct rtc *rtc, struct bus *ports, uint64_t ram_bytes, struct error *err)
{
	memset(rtc, 0, sizeof(*rtc));
	rtc->range.ops = &rtc_ops;
	lock_init(&rtc->lock, LOCK_RTC);
	rtc->memory[RTC_A] = RTC_A_DIVIDER;
	rtc->memory[RTC_B] = RTC_B_24H;
	rtc->memory[RTC_D] = RTC_D_VALID;
	note_ram(rtc, ram_bytes);
	int ret = bus_add(ports, &rtc->range, 0x70, 2);
	return ret ? error_set(err, -ret, "RTC: ports 0x70 and 0x71 are taken") : 0;
}

void rtc_fini(struct rtc *rtc)
{
	lock_fini(&rtc->lock);
}

void rtc_save(struct rtc *rtc, struct state_writer *w)
{
	lock_take(&rtc->lock);
	refresh(rtc);
	state_enter_new(w, "rtc", 1);
	state_put(w, "index", rtc->index);
	state_put_bytes(w, "memory", rtc->memory, sizeof(rtc->memory));
	state_put(w, "offset-s", (uint64_t)rtc->offset_s);
	state_leave_new(w);
	lock_release(&rtc->lock);
}

int rtc_load(struct rtc *rtc, struct state_reader *r, struct error *err)
{
	lock_take(&rtc->lock);
	state_enter(r, "rtc", 1);
	rtc->index = (uint8_t)state_get(r, "index", 0, 0x7f);
	state_get_bytes(r, "memory", rtc->memory, sizeof(rtc->memory));
	/* Any offset that keeps the sum far from overflow: a thousand centuries. */
	int64_t offset = (int64_t)state_get(r, "offset-s", 0, UINT64_MAX);
	if (offset > 3155760000000ll || offset < -3155760000000ll)
		state_reject(r, "offset-s is out of range");
	else
		rtc->offset_s = offset;
	int ret = state_leave(r, err);
	lock_release(&rtc->lock);
	return ret;
}
