/*
 * The memory balloon (virtio 1.2, 5.5): a guest gives memory up when it is asked to, and gets it back; it tells how much it has free, and
 * reports what it does not use at all.
 *
 * Pages that are given up are dropped from wherever the memory manager keeps them, unread, contiguous ones in single calls
 * (memmgr/discard.h). How much a guest is asked for is not decided here.
 */
#ifndef BALLOON_BALLOON_H
#define BALLOON_BALLOON_H

#include <stdbool.h>
#include <stdint.h>

#include "balloon/stats.h"
#include "memmgr/memmgr.h"
#include "virtio/device.h"

/* Hears of changes, on any thread: posts them to its own loop and returns at once. */
struct balloon_owner {
	/* The guest has told another size of its balloon. */
	void (*balloon_changed)(struct balloon_owner *owner);
};

struct balloon_params {
	const char *name;
	struct memmgr *mm;           /* NULL: memory is given back to the kernel directly */
	struct balloon_owner *owner; /* may be NULL */
	bool deflate_on_oom;         /* the guest may take memory back when it has no other */
	bool reporting;              /* the guest reports memory that it does not use, without being asked */
	bool hinting;                /* the guest can be asked what it does not use (virtio_balloon_ask_hints) */
	uint32_t poll_seconds;       /* how often the guest's statistics are asked for; 0: only once, when its driver starts */
};

/* Returns 0, or -errno with a sentence. */
int virtio_balloon_create(const struct balloon_params *params, const struct guest_ram *ram, struct virtio_device **dev,
			  struct error *err);

/* --- from any thread --- */

/* The guest is to have that many pages of 4 KiB in its balloon. It may take its time, or never do it. */
void virtio_balloon_set_target(struct virtio_device *dev, uint32_t pages);
void virtio_balloon_set_polling(struct virtio_device *dev, uint32_t seconds);

/*
 * Asks for free pages: they are taken first, into the compressed tier, since the guest may use a hinted page again at any time and must
 * then find what it has written. Returns 0, or -ENOTSUP, -ENODEV or -EBUSY with a sentence: not negotiated, no driver, asked already.
 */
int virtio_balloon_ask_hints(struct virtio_device *dev, struct error *err);

struct balloon_info {
	bool has_driver; /* that is at work */
	uint32_t target_pages, actual_pages;
	uint32_t poll_seconds;
	bool hinting; /* asked for hints, of which more may come */
	/* Since the device was made. */
	uint64_t inflated, deflated, reported, hinted; /* pages */
	uint64_t spared; /* pages given up that could not be dropped: held by devices, or refused by the kernel */
	/* What the guest said last. */
	bool has_stats;
	struct balloon_stats stats;
	int64_t stats_time; /* seconds since 1970 */
};
void virtio_balloon_get_info(struct virtio_device *dev, struct balloon_info *info);

#endif
