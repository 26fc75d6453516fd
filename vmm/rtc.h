/* The MC146818 clock at ports 70 and 71: date and time in UTC, and 114 bytes of memory. It raises no interrupts; ACPI says so. */
#ifndef VMM_RTC_H
#define VMM_RTC_H

#include <stdint.h>

#include "base/lock.h"
#include "base/state.h"
#include "vmm/bus.h"

struct rtc {
	struct bus_range range;
	struct lock lock; /* guards all below */
	uint8_t index;
	uint8_t memory[128]; /* registers 10 to 13 and what lies behind; the clock's own are made when read */
	int64_t offset_s;    /* the guest's time minus the host's */
};

int rtc_init(struct rtc *rtc, struct bus *ports, uint64_t ram_bytes, struct error *err);
void rtc_fini(struct rtc *rtc);
void rtc_save(struct rtc *rtc, struct state_writer *w);
int rtc_load(struct rtc *rtc, struct state_reader *r, struct error *err);

#endif
