/*
 * userfaultfd (Linux, Documentation/admin-guide/mm/userfaultfd.rst), as the memory manager uses it: private anonymous memory of
 * this process, missing pages told by messages, moves in both directions. Functions return 0 or -errno unless said otherwise;
 * callable from any thread.
 *
 * No events (fork, remap, remove) are asked for: the only one who drops or remaps guest memory is the memory manager itself, under
 * the lock of the chunk. So UFFDIO_COPY never fails with EAGAIN because of an event that waits to be read, and none can be lost.
 */
#ifndef MEMMGR_UFFD_H
#define MEMMGR_UFFD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Opens it by /dev/userfaultfd or the system call; faults of the kernel on behalf of the process (KVM, io_uring) are told, too.
 * Returns the descriptor, which blocks, or -errno with a sentence that says what to do: an old kernel (6.8 is needed), or a lack of
 * rights.
 */
int uffd_open(struct error *err);

/*
 * Another one, for write protection that lets writers wait (uffd_protect), until they are woken. Nobody reads it. Returns the descriptor
 * or -errno.
 */
int uffd_open_waiting(void);
/*
 * Registers the range with it, and protects all of its pages: who writes to one waits from then on, until uffd_unprotect(), or until
 * another mapping is there and uffd_wake() is called.
 */
int uffd_protect(int fd, void *start, uint64_t len);
void uffd_unprotect(int fd, void *start, uint64_t len);

/*
 * What is told of a range (both multiples of 4096). Modes are added to those that the range has: the kernel does not take one away
 * from a registered range (tried on Linux 6.18), only uffd_unregister() does, which takes all, and wakes who waits.
 */
enum uffd_mode {
	UFFD_TRACK = 1,         /* it can be the target of moves, and writes can be tracked (write_track.h) */
	UFFD_TRACK_MISSING = 2, /* the same, and missing pages are told of */
};
int uffd_register(int fd, void *start, uint64_t len, enum uffd_mode mode);
int uffd_unregister(int fd, void *start, uint64_t len);

struct uffd_fault {
	uint64_t hva; /* of the page */
	bool is_write;
	int thread_id;
};
/*
 * Waits for faults and reads up to max (at most 32). Returns how many, 0 after a signal, or -errno. Others (events) are left out.
 */
int uffd_read(int fd, struct uffd_fault *faults, unsigned max);

/*
 * Moves pages: from must be private anonymous memory of this process, to registered and missing. Returns bytes moved (0 < moved <=
 * len; a range may lie in several mappings) or -errno when the first page could not be: -EBUSY pinned or not exclusive, -EEXIST, -ENOENT nothing there, -EAGAIN try
 * again, -ENOMEM. wake: whoever waits for the pages.
 *
 * Linux 6.18 (mm/userfaultfd.c, move_pages) at times moves pages and does not tell: when it had to try again, it takes what it has moved itself for
 * -EEXIST. They are found by where they are, in pagemap (/proc/self/pagemap), and counted as moved. That is right only if no page of
 * from is missing whose place in to is taken: ask uffd_are_there() before, where that is not known.
 */
int64_t uffd_move(int fd, int pagemap, void *to, const void *from, uint64_t len, bool wake);
/* How many of nr pages are there, mapped or swapped out: the first ones that follow each other. */
uint32_t uffd_are_there(int pagemap, const void *at, uint32_t nr);
/* Copies into missing pages. Returns bytes copied or -errno as above (-EEXIST: there is a page). wake: whoever waits for them. */
int64_t uffd_copy(int fd, void *to, const void *from, uint64_t len, bool wake);
int uffd_zero(int fd, void *to, uint64_t len, bool wake);
/* Wakes who waits for a page of the range: the fault is tried again. */
int uffd_wake(int fd, void *start, uint64_t len);

#endif
