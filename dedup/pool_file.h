/*
 * The file of a pool: a memfd that the daemon writes and VMMs map.
 *
 * VMMs get a descriptor that is open for reading only, of a file whose mode lets nobody but its owner and root open it otherwise. It is sealed
 * against shrinking, so that no mapping of it can end in SIGBUS; slots are freed by punching holes. F_SEAL_FUTURE_WRITE
 * would be stronger, but refuses holes, and a daemon that has been started again could never write to it.
 *
 * The daemon reads and writes it by pread(2) and pwrite(2): mapped, all that is shared would be in its own memory, too.
 *
 * A pool outlives the daemon in the descriptors of VMMs. The next one takes it back from them, but believes no VMM that a file is the pool: it knows
 * it by inode, device and time of birth, which the kernel gives and nobody can choose (statx(2): stx_btime), recorded by
 * the daemon before any VMM had it.
 */
#ifndef DEDUP_POOL_FILE_H
#define DEDUP_POOL_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct pool_identity {
	uint64_t inode, device;
	uint64_t birth_ns; /* CLOCK_REALTIME */
};

struct pool_file {
	int fd;          /* for writing */
	int readonly_fd; /* for VMMs */
	uint64_t size, most_bytes;
	struct pool_identity identity;
};

/* A new one, empty, which may grow up to most_bytes. Returns 0 or -errno with a sentence. */
int pool_file_create(uint64_t most_bytes, struct pool_file *file, struct error *err);
/*
 * Takes one back: fd, of which the caller remains the owner, must be the file of that identity. Returns 0, -EPERM if it is another
 * file or one that we would not have made, or -errno.
 */
int pool_file_take_back(int fd, const struct pool_identity *identity, uint64_t most_bytes, struct pool_file *file,
			struct error *err);
void pool_file_close(struct pool_file *file);

/* Makes the file bytes long, more than it is. Returns 0 or -errno. */
int pool_file_grow(struct pool_file *file, uint64_t bytes);
/* The next part at or after from that holds data. Returns false if there is none. */
bool pool_file_next_data(const struct pool_file *file, uint64_t from, uint64_t *start, uint64_t *end);

bool pool_identity_equal(const struct pool_identity *a, const struct pool_identity *b);

#endif
