/*
 * One guest's swap file: encrypted extents in a file without a name, so that nothing is left of it when the VMM dies, in whichever
 * way.
 *
 * An extent holds the records of one cluster. Records are sealed one by one by an AEAD cipher of libsodium (AES-256-GCM where the
 * CPU has it, else ChaCha20-Poly1305) with a key that is made at the start and never leaves the process: the tag is the checksum,
 * and an old or foreign record is refused like a damaged one. I/O goes by io_uring, past the host's page cache (O_DIRECT) where
 * the file system can.
 */
#ifndef MEMMGR_SWAP_FILE_H
#define MEMMGR_SWAP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct swap_file;

struct swap_file_params {
	const char *directory; /* where the file is made (O_TMPFILE, or made and unlinked at once); or */
	int fd; /* an open, empty, private file (>= 0; owned by the swap file once open has succeeded), directory NULL */
	uint64_t limit_bytes; /* 0: as the file system has it */
};

/*
 * Returns 0, or -errno with a sentence: no such directory, no right to write, not an empty regular file, no space, out of memory.
 */
int swap_file_open(const struct swap_file_params *params, struct swap_file **sf, struct error *err);
/* Wipes the key and closes the file, whatever is in it. No ring of it may be left. */
void swap_file_close(struct swap_file *sf);
/* Bytes of extents in use, 0: as the file system has it. What is over a lowered limit stays. */
void swap_file_set_limit(struct swap_file *sf, uint64_t bytes);
bool swap_file_is_direct(const struct swap_file *sf);
/* Bytes of extents in use; the file's length may be more, its blocks are not. */
uint64_t swap_file_used(const struct swap_file *sf);

/* --- records --- */

#define SWAP_TAG_BYTES 16
/* Extents are read and written whole, from and to buffers aligned to this. */
#define SWAP_ALIGNMENT 4096u
#define SWAP_EXTENT_MAX (256u << 10)

/* Where a cluster lies, and what its records were sealed with. */
struct swap_extent {
	uint64_t offset;   /* bytes in the file */
	uint32_t len;      /* bytes, a multiple of SWAP_ALIGNMENT */
	uint32_t reserved; /* 0 */
	uint64_t serial;   /* differs for each extent ever allocated: part of the nonce */
};

/*
 * len bytes (1 to SWAP_EXTENT_MAX), rounded up. Returns 0, -ENOSPC at the limit, -ENOMEM, -EINVAL. Thread-safe, as is
 * swap_file_free().
 */
int swap_file_allocate(struct swap_file *sf, size_t len, struct swap_extent *extent);
/*
 * Frees the extent, on which no transfer may be pending. Its blocks are discarded, save for 16 MiB (or a sixteenth of the limit,
 * if that is less) that the file keeps to be used again; while somebody reads, for eight times as much.
 */
void swap_file_free(struct swap_file *sf, const struct swap_extent *extent);
/* Whether more is kept than that while nobody reads. */
bool swap_file_wants_trim(struct swap_file *sf);
/* Discards some of it, unless somebody has read within 50 ms. Returns whether it did. */
bool swap_file_trim(struct swap_file *sf);

/*
 * Seals len bytes as record number index (below 65536) of the extent: writes len + SWAP_TAG_BYTES bytes to sealed. in and sealed
 * may be the same. Never twice for one index of an extent, unless with the same bytes: that would use a nonce twice. Thread-safe,
 * as is swap_file_unseal().
 */
void swap_file_seal(struct swap_file *sf, const struct swap_extent *extent, unsigned index, const void *in, size_t len,
		    void *sealed);
/*
 * Opens what swap_file_seal() made: sealed_len - SWAP_TAG_BYTES bytes to out (may be sealed). Returns 0, or -EIO: damaged, out
 * then holds nothing of use.
 */
int swap_file_unseal(struct swap_file *sf, const struct swap_extent *extent, unsigned index, const void *sealed, size_t sealed_len,
		     void *out);

/* --- I/O --- */

/* A ring of one thread at a time. */
struct swap_io;
/* depth: transfers at a time, 1 to 4096. -EPERM, -ENOSYS: the kernel refuses io_uring, the sentence says what to do. */
int swap_io_create(struct swap_file *sf, unsigned depth, struct swap_io **io, struct error *err);
/* Waits for what is pending. */
void swap_io_destroy(struct swap_io *io);
/* For poll(2): readable when a completion is there. */
int swap_io_fd(const struct swap_io *io);
unsigned swap_io_pending(const struct swap_io *io);

/*
 * Queues the transfer of the whole extent; buffer (extent->len bytes, aligned) must last until it is reaped. Returns 0, or
 * -EBUSY: the queue is full.
 */
int swap_io_read(struct swap_io *io, const struct swap_extent *extent, void *buffer, uint64_t token);
int swap_io_write(struct swap_io *io, const struct swap_extent *extent, const void *buffer, uint64_t token);
/* Reads that are queued from now on are ahead of need, or not: others of the disk then go first (ioprio_set(2), class idle). */
void swap_io_set_ahead(struct swap_io *io, bool is_ahead);
/* Hands what was queued to the kernel. Returns 0 or -errno: what was not taken stays queued, or fails when it is reaped next. */
int swap_io_submit(struct swap_io *io);

struct swap_io_done {
	uint64_t token;
	int result; /* 0, -EIO (also short transfers), -ENOSPC (also quota, limits of files), -ENOMEM */
};
/* Reaps up to max completions; wait: at least one if any is pending. Submits first. Returns how many. */
size_t swap_io_reap(struct swap_io *io, bool wait, struct swap_io_done *done, size_t max);

/*
 * Reads a part of the extent at once, without a ring: offset and len are multiples of SWAP_ALIGNMENT, buffer is aligned to it.
 * Thread-safe. Returns 0 or -EIO; nothing is said of a failure, since whoever cannot do without the bytes asks again by a ring.
 */
int swap_file_read(struct swap_file *sf, const struct swap_extent *extent, uint32_t offset, uint32_t len, void *buffer);

struct swap_file_stats {
	uint64_t used_bytes, peak_bytes;
	uint64_t reads, writes, read_bytes, written_bytes; /* that succeeded */
	uint64_t discards;                                 /* calls, each for a run of blocks */
	uint64_t errors;                                   /* transfers that failed */
};
void swap_file_get_stats(const struct swap_file *sf, struct swap_file_stats *stats);

#endif
