/*
 * An address space in which devices claim ranges: ports, or memory that is not RAM. vCPU threads dispatch their exits through it.
 *
 * A range is embedded in its device and lives as long as the machine, so that a look-up needs the lock only to find it: an access that
 * races with a BAR being moved reaches the device at its old or its new place, as on hardware.
 */
#ifndef VMM_BUS_H
#define VMM_BUS_H

#include <pthread.h>
#include <stdint.h>

#define BUS_MAX_RANGES 256

struct bus_range;
struct bus_ops {
	/* Accesses lie wholly inside the range. size is 1, 2, 4 or 8. Any vCPU thread, several at a time. */
	void (*read)(struct bus_range *self, uint64_t offset, void *data, unsigned size);
	void (*write)(struct bus_range *self, uint64_t offset, const void *data, unsigned size);
};
struct bus_range {
	const struct bus_ops *ops;
	uint64_t base, size;
};

struct bus {
	pthread_rwlock_t lock; /* guards ranges: sorted by base, not overlapping */
	unsigned nr_ranges;
	struct bus_range *ranges[BUS_MAX_RANGES];
};

void bus_init(struct bus *bus);
void bus_fini(struct bus *bus);

/* Claims base..base+size. -EEXIST if some of it is taken, -ENOSPC, -EINVAL for an empty or wrapping range. */
int bus_add(struct bus *bus, struct bus_range *range, uint64_t base, uint64_t size);
/* Gives it back. Harmless when it was not added. */
void bus_remove(struct bus *bus, struct bus_range *range);

/* Reads of what nobody claims (or of a range's edge) give ones; writes there are dropped. */
void bus_read(struct bus *bus, uint64_t address, void *data, unsigned size);
void bus_write(struct bus *bus, uint64_t address, const void *data, unsigned size);

#endif
