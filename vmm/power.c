/* See power.h. The machine always is in ACPI mode: SCI_EN reads as one, there is no SMI command port. */
#include "vmm/power.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "base/container_of.h"
#include "vmm/layout.h"

#define PM1_STATUS 0
#define PM1_ENABLE 2
#define PM1_CONTROL 4
#define PM_TIMER 8
#define PM_SIZE 12

#define PM1_STS_GLOBAL 0x0020
#define PM1_STS_POWER_BUTTON 0x0100
#define PM1_STS_WAKE 0x8000
#define PM1_STS_ALL (PM1_STS_GLOBAL | PM1_STS_POWER_BUTTON | PM1_STS_WAKE)
#define PM1_EN_RTC 0x0400 /* kept, as drivers check; our clock raises no alarm */
#define PM1_EN_ALL (PM1_STS_GLOBAL | PM1_STS_POWER_BUTTON | PM1_EN_RTC)
#define PM1_CNT_SCI_EN 0x0001
#define PM1_CNT_SLEEP_TYPE 0x1c00
#define PM1_CNT_SLEEP_ENABLE 0x2000
#define SLEEP_TYPE_S5 0 /* as \_S5 in the DSDT says */

#define RESET_CPU 0x04

#define PM_TIMER_HZ 3579545ull

static struct power *from_pm(struct bus_range *range)
{
	return (struct power *)range;
}

static struct power *from_reset(struct bus_range *range)
{
	return container_of(range, struct power, reset_range);
}

static void update_sci(struct power *p)
{
	bool level = p->status & p->enable & PM1_EN_ALL;
	if (level == p->sci)
		return;
	p->sci = level;
	hv_vm_set_irq(p->vm, LAYOUT_SCI_IRQ, level);
}

static uint32_t timer_now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint32_t)((uint64_t)ts.tv_sec * PM_TIMER_HZ + (uint64_t)ts.tv_nsec * PM_TIMER_HZ / 1000000000ull);
}

static void pm_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct power *p = from_pm(self);
	uint8_t registers[PM_SIZE + 8] = {0}; /* an access of 8 bytes may end past the block's registers, not past this */
	lock_take(&p->lock);
	uint16_t control = p->control | PM1_CNT_SCI_EN;
	memcpy(&registers[PM1_STATUS], &p->status, 2);
	memcpy(&registers[PM1_ENABLE], &p->enable, 2);
	memcpy(&registers[PM1_CONTROL], &control, 2);
	uint32_t timer = timer_now() + p->timer_offset;
	lock_release(&p->lock);
	memcpy(&registers[PM_TIMER], &timer, 4);
	memcpy(data, &registers[offset], size);
}

static void pm_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct power *p = from_pm(self);
	bool power_off = false;
	/* Widths other than the registers' own are taken apart into those; a lone byte counts as the low or high half. */
	uint8_t bytes[PM_SIZE + 8] = {0}, given[PM_SIZE + 8] = {0};
	memcpy(&bytes[offset], data, size);
	memset(&given[offset], 0xff, size);
	uint16_t value, mask;
	lock_take(&p->lock);
	memcpy(&value, &bytes[PM1_STATUS], 2);
	p->status &= (uint16_t)~value; /* a one clears */
	memcpy(&value, &bytes[PM1_ENABLE], 2);
	memcpy(&mask, &given[PM1_ENABLE], 2);
	p->enable = (uint16_t)((p->enable & ~mask) | (value & mask & PM1_EN_ALL));
	memcpy(&value, &bytes[PM1_CONTROL], 2);
	memcpy(&mask, &given[PM1_CONTROL], 2);
	if (mask) {
		power_off = (value & PM1_CNT_SLEEP_ENABLE) && (value & PM1_CNT_SLEEP_TYPE) >> 10 == SLEEP_TYPE_S5;
		p->control = (uint16_t)((p->control & ~mask) | (value & mask & PM1_CNT_SLEEP_TYPE));
	}
	update_sci(p);
	lock_release(&p->lock);
	if (power_off)
		p->owner->power_off(p->owner);
}

static void reset_read(struct bus_range *self, uint64_t offset, void *data, unsigned size)
{
	struct power *p = from_reset(self);
	(void)offset;
	lock_take(&p->lock);
	memset(data, 0xff, size);
	*(uint8_t *)data = p->reset_value;
	lock_release(&p->lock);
}

static void reset_write(struct bus_range *self, uint64_t offset, const void *data, unsigned size)
{
	struct power *p = from_reset(self);
	uint8_t value = *(const uint8_t *)data;
	(void)offset;
	(void)size;
	lock_take(&p->lock);
	p->reset_value = value & 0x0a;
	lock_release(&p->lock);
	if (value & RESET_CPU)
		p->owner->reset(p->owner);
}

static const struct bus_ops pm_ops = {.read = pm_read, .write = pm_write};
static const struct bus_ops reset_ops = {.read = reset_read, .write = reset_write};

int power_init(struct power *p, struct bus *ports, struct hv_vm *vm, struct power_owner *owner, struct error *err)
{
	memset(p, 0, sizeof(*p));
	p->pm_range.ops = &pm_ops;
	p->reset_range.ops = &reset_ops;
	p->vm = vm;
	p->owner = owner;
	lock_init(&p->lock, LOCK_POWER);
	int ret = bus_add(ports, &p->pm_range, LAYOUT_PM_PORT, PM_SIZE);
	return ret ? error_set(err, -ret, "power management: ports from %#x on are taken", LAYOUT_PM_PORT) : 0;
}

void power_fini(struct power *p)
{
	lock_fini(&p->lock);
}

void power_press_button(struct power *p)
{
	lock_take(&p->lock);
	p->status |= PM1_STS_POWER_BUTTON;
	update_sci(p);
	lock_release(&p->lock);
}

void power_reset(struct power *p)
{
	lock_take(&p->lock);
	p->status = p->enable = p->control = 0;
	p->reset_value = 0;
	update_sci(p);
	lock_release(&p->lock);
}

void power_save(struct power *p, struct state_writer *w)
{
	lock_take(&p->lock);
	state_enter_new(w, "power", 1);
	state_put(w, "pm1-status", p->status);
	state_put(w, "pm1-enable", p->enable);
	state_put(w, "pm1-control", p->control);
	state_put(w, "reset", p->reset_value);
	state_put(w, "timer", (uint32_t)(timer_now() + p->timer_offset));
	state_leave_new(w);
	lock_release(&p->lock);
}

int power_load(struct power *p, struct state_reader *r, struct error *err)
{
	lock_take(&p->lock);
	state_enter(r, "power", 1);
	p->status = (uint16_t)state_get(r, "pm1-status", 0, PM1_STS_ALL) & PM1_STS_ALL;
	p->enable = (uint16_t)state_get(r, "pm1-enable", 0, PM1_EN_ALL) & PM1_EN_ALL;
	p->control = (uint16_t)state_get(r, "pm1-control", 0, PM1_CNT_SLEEP_TYPE) & PM1_CNT_SLEEP_TYPE;
	p->reset_value = (uint8_t)state_get(r, "reset", 0, 0x0a) & 0x0a;
	p->timer_offset = (uint32_t)state_get(r, "timer", 0, UINT32_MAX) - timer_now();
	int ret = state_leave(r, err);
	update_sci(p);
	lock_release(&p->lock);
	return ret;
}
