/*
 * Mutexes with a rank. A thread that holds a lock may only take locks of a higher rank, which rules out deadlock; debug builds (all
 * sanitizer builds) check it at every take and end the process with both names. docs/LOCKING.md has a card for each rank.
 */
#ifndef BASE_LOCK_H
#define BASE_LOCK_H

#include <pthread.h>

/* Outermost first. */
enum lock_rank {
	LOCK_VCPUS,         /* vmm/vcpus.c: who runs the guest */
	LOCK_PCI,           /* vmm/pci.c: configuration space */
	LOCK_VIRTIO_DEVICE, /* virtio/device.c: status, features, config */
	LOCK_BLK,           /* virtio/blk_io.c: the I/O thread's orders */
	LOCK_CONSOLE,       /* virtio/console.c: port buffers */
	LOCK_BALLOON,       /* balloon/balloon.c: statistics, free page hinting */
	LOCK_VIRTIO_CONFIG, /* virtio/device.c: config space */
	LOCK_SERIAL,        /* vmm/serial.c */
	LOCK_POWER,         /* vmm/power.c */
	LOCK_RTC,           /* vmm/rtc.c */
	LOCK_CHARDEV,       /* vmm/chardev.c: output buffer */
	LOCK_MSIX,          /* vmm/msix.c: table and pending bits */
	LOCK_DEDUP_SCANNER, /* dedup/scanner.c: settings, statistics */
	LOCK_MEMMGR_EVICT,  /* memmgr/: who takes pages away */
	LOCK_MEMMGR,        /* memmgr/: settings, the reclaimer's wake-up */
	LOCK_MEMMGR_FAULT,  /* memmgr/fault.c: which handlers serve */
	LOCK_MEMMGR_CHUNK,  /* memmgr/chunk.c: the page states of 2 MiB */
	LOCK_MEMMGR_SHARE,  /* memmgr/share.c: the pool as we see it */
	LOCK_MEMMGR_PAGER,  /* memmgr/pager.c: what is to be brought back */
	LOCK_MEMMGR_SAMPLE, /* memmgr/: the working set's estimator */
	LOCK_MEMMGR_STATS,  /* memmgr/: writers of the statistics page */
	LOCK_STORE,         /* memmgr/store.c: clusters */
	LOCK_SWAP_FILE,     /* memmgr/swap_file.c: extents */
	LOCK_MEMORY_NEWS,   /* vmm/machine_memory.c: what the memory manager said last */
	LOCK_BUS,           /* vmm/bus.c: who claims which addresses */
	LOCK_HV_VM,         /* hv/: slots and routes */
	LOCK_THREAD_CPU,    /* base/thread_cpu.c: whose CPU may be read */
	LOCK_NR_RANKS,
};

struct lock {
	pthread_mutex_t mutex;
	enum lock_rank rank;
};

void lock_init(struct lock *lock, enum lock_rank rank);
void lock_fini(struct lock *lock);
void lock_take(struct lock *lock);
/* The same, trying for some microseconds before it sleeps: where a lock is held for no longer, and waking up takes longer. */
void lock_take_soon(struct lock *lock);
void lock_release(struct lock *lock);
/* Waits for the condition, the lock released meanwhile; it must be the only one held. */
void lock_wait(struct lock *lock, pthread_cond_t *condition);

/* For locks of other kinds (reader-writer) that take part in the order. */
void lock_note_taken(enum lock_rank rank);
void lock_note_released(enum lock_rank rank);

#endif
