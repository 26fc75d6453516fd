/* See bus.h. */
#include "vmm/bus.h"

#include <errno.h>
#include <string.h>

#include "base/lock.h"

void bus_init(struct bus *bus)
{
	pthread_rwlock_init(&bus->lock, NULL);
	bus->nr_ranges = 0;
}

void bus_fini(struct bus *bus)
{
	pthread_rwlock_destroy(&bus->lock);
}

static void write_lock(struct bus *bus)
{
	lock_note_taken(LOCK_BUS);
	pthread_rwlock_wrlock(&bus->lock);
}

static void unlock(struct bus *bus)
{
	pthread_rwlock_unlock(&bus->lock);
	lock_note_released(LOCK_BUS);
}

/* Index of the first range that ends behind address. Lock held. */
static unsigned first_behind(const struct bus *bus, uint64_t address)
{
	unsigned low = 0, high = bus->nr_ranges;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		const struct bus_range *r = bus->ranges[middle];
		if (r->base + (r->size - 1) < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int bus_add(struct bus *bus, struct bus_range *range, uint64_t base, uint64_t size)
{
	if (size == 0 || base + (size - 1) < base)
		return -EINVAL;
	int ret = 0;
	write_lock(bus);
	unsigned at = first_behind(bus, base);
	if (at < bus->nr_ranges && bus->ranges[at]->base <= base + (size - 1)) {
		ret = -EEXIST;
	} else if (bus->nr_ranges == BUS_MAX_RANGES) {
		ret = -ENOSPC;
	} else {
		range->base = base;
		range->size = size;
		memmove(&bus->ranges[at + 1], &bus->ranges[at], (bus->nr_ranges - at) * sizeof(bus->ranges[0]));
		bus->ranges[at] = range;
		bus->nr_ranges++;
	}
	unlock(bus);
	return ret;
}

void bus_remove(struct bus *bus, struct bus_range *range)
{
	write_lock(bus);
	for (unsigned i = 0; i < bus->nr_ranges; i++) {
		if (bus->ranges[i] != range)
			continue;
		bus->nr_ranges--;
		memmove(&bus->ranges[i], &bus->ranges[i + 1], (bus->nr_ranges - i) * sizeof(bus->ranges[0]));
		break;
	}
	unlock(bus);
}

static struct bus_range *find(struct bus *bus, uint64_t address, unsigned size, uint64_t *offset)
{
	struct bus_range *found = NULL;
	lock_note_taken(LOCK_BUS);
	pthread_rwlock_rdlock(&bus->lock);
	unsigned at = first_behind(bus, address);
	if (at < bus->nr_ranges) {
		struct bus_range *r = bus->ranges[at];
		if (r->base <= address && size <= r->size - (address - r->base)) {
			*offset = address - r->base;
			found = r;
		}
	}
	unlock(bus);
	return found;
}

void bus_read(struct bus *bus, uint64_t address, void *data, unsigned size)
{
	uint64_t offset;
	struct bus_range *r = find(bus, address, size, &offset);
	if (r)
		r->ops->read(r, offset, data, size);
	else
		memset(data, 0xff, size);
}

void bus_write(struct bus *bus, uint64_t address, const void *data, unsigned size)
{
	uint64_t offset;
	struct bus_range *r = find(bus, address, size, &offset);
	if (r)
		r->ops->write(r, offset, data, size);
}
