/*
 * The swap file: making it, who has which part of it, and the seals of records. Its I/O is in swap_io.c.
 *
 * Nothing must be left of it, and nothing readable while it is there. So the file has no name, and its key lives in one locked
 * page that is neither dumped nor inherited, and is wiped at close.
 *
 * A record's nonce is the extent's serial and the record's index in it. Serials are counted up and never given twice under one
 * key, so no nonce is used twice as long as each record of an extent is sealed once; and what was sealed for an extent that has
 * been freed does not open in the place of what came later.
 *
 * Space that was freed is not given back at once: punching a hole waits for all direct I/O of the file, and what the guest frees
 * it mostly soon needs again. So freed blocks stay (stale) until there are more than STALE_MAX of them; from then on each free
 * gives back the stale blocks around its own, in one call. After the file system was full, nothing is held back.
 *
 * Invariants:
 *  1. No two extents overlap, and blocks that are being discarded belong to nobody: they are taken until that is done.
 *  2. used <= limit after each successful allocation, unless the limit was lowered meanwhile.
 *  3. The file is as long as its last group, or as the process may write (RLIMIT_FSIZE): a transfer neither lengthens it, nor
 *     raises SIGXFSZ. (A limit that is lowered later does; the VMM's threads block the signal, and get -ENOSPC.)
 */
#include "memmgr/swap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/magic.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/lock.h"
#include "base/log.h"
#include "memmgr/os.h"
#include "memmgr/swap_extents.h"
#include "memmgr/swap_file_internal.h"

#define STALE_MAX (16u << 20)
#define STALE_BUSY 8u   /* times that, while somebody reads */
#define QUIET_MS 50u    /* since the last read */
#define SEARCHES_MAX 32 /* in vain, before the file is rather made longer: others wait for the lock */
#define GROUP_BYTES ((uint64_t)SWAP_GROUP_BLOCKS * SWAP_BLOCK)
#define SECRET_BYTES 4096
#define NONCE_BYTES 12

_Static_assert(SWAP_BLOCK == SWAP_ALIGNMENT, "an extent is whole blocks");
_Static_assert(SWAP_RUN_MAX *SWAP_BLOCK == SWAP_EXTENT_MAX, "an extent is a run");
_Static_assert(SWAP_TAG_BYTES == crypto_aead_aes256gcm_ABYTES, "tag of AES-GCM");
_Static_assert(SWAP_TAG_BYTES == crypto_aead_chacha20poly1305_ietf_ABYTES, "tag of ChaCha20-Poly1305");
_Static_assert(NONCE_BYTES == crypto_aead_aes256gcm_NPUBBYTES, "nonce of AES-GCM");
_Static_assert(NONCE_BYTES == crypto_aead_chacha20poly1305_ietf_NPUBBYTES, "nonce of ChaCha20-Poly1305");

/* Alone on its page. Constant once the file is open. */
struct secret {
	crypto_aead_aes256gcm_state aes; /* the key, expanded; or */
	uint8_t chacha[crypto_aead_chacha20poly1305_ietf_KEYBYTES];
};
_Static_assert(sizeof(struct secret) <= SECRET_BYTES, "one page");

struct swap_file {
	/* Constant once open. */
	int fd;
	bool direct, aes;
	struct secret *secret;
	char name[200];

	struct lock lock;            /* guards what follows, up to the counters */
	struct swap_extents extents; /* in blocks */
	uint64_t limit;              /* bytes; 0: none */
	uint64_t next_serial;
	bool no_discard; /* the file system cannot */
	bool was_full;

	/* Counters. used, peak and discards are written under the lock. */
	_Atomic uint64_t used, peak, discards;
	_Atomic uint64_t read_ms; /* when something was last read, 0: never */
	_Atomic uint64_t reads, writes, read_bytes, written_bytes, errors;
};

static uint64_t look(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- the key --- */

static int make_secret(struct swap_file *sf, struct error *err)
{
	if (sodium_init() < 0)
		return error_set(err, EIO, "%s: libsodium finds no source of random numbers for the key: is /dev/urandom there?",
				 sf->name);
	sf->secret = mem_map(SECRET_BYTES);
	if (!sf->secret)
		return error_set(err, ENOMEM, "%s: out of memory for the key", sf->name);
	/* Each as far as the kernel and the user's limits go: without them the key is still wiped, and still not in the file. */
	(void)sodium_mlock(sf->secret, SECRET_BYTES);
	(void)mem_madvise(sf->secret, SECRET_BYTES, MADV_DONTDUMP);
	(void)mem_madvise(sf->secret, SECRET_BYTES, MADV_DONTFORK);
	sf->aes = crypto_aead_aes256gcm_is_available();
	if (sf->aes) {
		uint8_t key[crypto_aead_aes256gcm_KEYBYTES];
		crypto_aead_aes256gcm_keygen(key);
		crypto_aead_aes256gcm_beforenm(&sf->secret->aes, key);
		sodium_memzero(key, sizeof(key));
	} else {
		crypto_aead_chacha20poly1305_ietf_keygen(sf->secret->chacha);
	}
	return 0;
}

static void wipe_secret(struct swap_file *sf)
{
	if (!sf->secret)
		return;
	sodium_memzero(sf->secret, SECRET_BYTES);
	(void)sodium_munlock(sf->secret, SECRET_BYTES);
	munmap(sf->secret, SECRET_BYTES);
}

/* --- records --- */

/* What a record is bound to besides its nonce. */
struct bound {
	uint64_t offset;
	uint32_t extent_len;
	uint32_t record_len;
};

static void bind_record(const struct swap_extent *extent, unsigned index, size_t len, uint8_t nonce[NONCE_BYTES],
			struct bound *bound)
{
	uint16_t number = (uint16_t)index;
	memset(nonce, 0, NONCE_BYTES);
	memcpy(nonce, &extent->serial, sizeof(extent->serial));
	memcpy(nonce + sizeof(extent->serial), &number, sizeof(number));
	*bound = (struct bound){.offset = extent->offset, .extent_len = extent->len, .record_len = (uint32_t)len};
}

void swap_file_seal(struct swap_file *sf, const struct swap_extent *extent, unsigned index, const void *in, size_t len,
		    void *sealed)
{
	uint8_t nonce[NONCE_BYTES];
	struct bound bound;
	bind_record(extent, index, len, nonce, &bound);
	if (sf->aes)
		crypto_aead_aes256gcm_encrypt_afternm(sealed, NULL, in, len, (const uint8_t *)&bound, sizeof(bound), NULL, nonce,
						      &sf->secret->aes);
	else
		crypto_aead_chacha20poly1305_ietf_encrypt(sealed, NULL, in, len, (const uint8_t *)&bound, sizeof(bound), NULL,
							  nonce, sf->secret->chacha);
}

int swap_file_unseal(struct swap_file *sf, const struct swap_extent *extent, unsigned index, const void *sealed, size_t sealed_len,
		     void *out)
{
	uint8_t nonce[NONCE_BYTES];
	struct bound bound;
	int ret;
	if (sealed_len < SWAP_TAG_BYTES)
		return -EIO;
	bind_record(extent, index, sealed_len - SWAP_TAG_BYTES, nonce, &bound);
	if (sf->aes)
		ret = crypto_aead_aes256gcm_decrypt_afternm(out, NULL, NULL, sealed, sealed_len, (const uint8_t *)&bound,
							    sizeof(bound), nonce, &sf->secret->aes);
	else
		ret = crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, sealed, sealed_len, (const uint8_t *)&bound,
								sizeof(bound), nonce, sf->secret->chacha);
	return ret ? -EIO : 0;
}

/* --- making the file --- */

static const char *advice_on_open(int code)
{
	switch (code) {
	case ENOENT:
	case ENOTDIR:
		return "name a directory that exists";
	case EACCES:
	case EPERM:
		return "name a directory that this user may write to, or pass an open file";
	case EROFS:
		return "name a directory that can be written to";
	case ENOSPC:
	case EDQUOT:
		return "free space there, or name another directory";
	default:
		return "name another directory, or go without a swap file";
	}
}

/* For file systems without O_TMPFILE. A VMM that is killed between the two calls leaves an empty file. */
static int make_and_unlink(const char *directory)
{
	char path[4096];
	int n = snprintf(path, sizeof(path), "%s/.pagoda-swap-XXXXXX", directory);
	if (n < 0 || (size_t)n >= sizeof(path))
		return -ENAMETOOLONG;
	int fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (unlink(path) < 0) {
		int code = errno;
		close(fd);
		return -code;
	}
	return fd;
}

static int make_file(struct swap_file *sf, const char *directory, struct error *err)
{
	/* O_EXCL: nobody links it into the file system later. */
	int fd = mem_open(directory, O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
	if (fd == -EOPNOTSUPP || fd == -EISDIR || fd == -EINVAL)
		fd = make_and_unlink(directory);
	if (fd < 0)
		return error_set(err, -fd, "%s: cannot make it: %s; %s", sf->name, strerror(-fd), advice_on_open(-fd));
	sf->fd = fd;
	return 0;
}

/* A file from outside: is it what we need? */
static int check_file(struct swap_file *sf, struct error *err)
{
	struct stat st;
	int flags = fcntl(sf->fd, F_GETFL);
	if (flags < 0 || fstat(sf->fd, &st) < 0)
		return error_set(err, errno, "%s: cannot examine it: %s; pass an open file", sf->name, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s: not a regular file; pass an empty regular file, opened to read and write",
				 sf->name);
	if ((flags & O_ACCMODE) != O_RDWR || flags & O_PATH)
		return error_set(err, EBADF, "%s: not open to read and write; open it with O_RDWR", sf->name);
	if (st.st_size != 0)
		return error_set(err, EEXIST, "%s: not empty, it has %lld bytes; pass an empty file", sf->name,
				 (long long)st.st_size);
	fcntl(sf->fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

/* Whether the file system takes direct transfers at multiples of SWAP_ALIGNMENT; where it does not tell, it is believed to. */
static bool can_be_direct(int fd)
{
	struct statx stx;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0 || !(stx.stx_mask & STATX_DIOALIGN))
		return true;
	return stx.stx_dio_offset_align && stx.stx_dio_offset_align <= SWAP_ALIGNMENT && stx.stx_dio_mem_align <= SWAP_ALIGNMENT;
}

/* Past the page cache if possible. Appending would put each extent at the end. */
static int set_flags(struct swap_file *sf, struct error *err)
{
	int flags = fcntl(sf->fd, F_GETFL) & ~(O_APPEND | O_DIRECT | O_NONBLOCK);
	sf->direct = can_be_direct(sf->fd) && mem_set_flags(sf->fd, flags | O_DIRECT) == 0;
	if (!sf->direct) {
		int ret = mem_set_flags(sf->fd, flags);
		if (ret)
			return error_set(err, -ret, "%s: cannot set its flags: %s; name a directory on another file system",
					 sf->name, strerror(-ret));
	}
	struct statfs fs;
	if (fstatfs(sf->fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC))
		log_warning("%s: that is in RAM, so swapping to it frees no memory; name a directory on a disk", sf->name);
	return 0;
}

/*
 * Makes room for another group, as far as the process may write. Keeps invariant 3. Needs the lock, or a file that nobody else has
 * yet.
 */
static int grow(struct swap_file *sf)
{
	uint64_t start = sf->extents.nr_groups * GROUP_BYTES;
	uint64_t end = start + GROUP_BYTES;
	struct rlimit files;
	if (getrlimit(RLIMIT_FSIZE, &files) == 0 && files.rlim_cur != RLIM_INFINITY)
		end = min_u64(end, files.rlim_cur);
	/* What cannot be given back counts from the start of the file. */
	if (sf->no_discard && sf->limit)
		end = min_u64(end, sf->limit);
	if (end < start + SWAP_BLOCK)
		return -ENOSPC;
	end -= end % SWAP_BLOCK;
	if (ftruncate(sf->fd, (off_t)end) < 0)
		return errno == EFBIG || errno == EDQUOT || errno == EINVAL ? -ENOSPC : -errno;
	return swap_extents_grow(&sf->extents, (unsigned)((end - start) / SWAP_BLOCK));
}

int swap_file_open(const struct swap_file_params *params, struct swap_file **out, struct error *err)
{
	struct swap_file *sf = mem_calloc(1, sizeof(*sf));
	if (!sf)
		return error_set(err, ENOMEM, "swap file: out of memory");
	sf->fd = -1;
	sf->limit = params->limit_bytes;
	sf->next_serial = 1;
	swap_extents_init(&sf->extents);
	if (params->directory)
		snprintf(sf->name, sizeof(sf->name), "swap file in %s", params->directory);
	else
		snprintf(sf->name, sizeof(sf->name), "swap file (descriptor %d)", params->fd);

	int ret = make_secret(sf, err);
	if (ret)
		goto free_secret;
	if (params->directory) {
		ret = make_file(sf, params->directory, err);
	} else {
		sf->fd = params->fd;
		ret = check_file(sf, err);
	}
	if (ret)
		goto close_file;
	ret = set_flags(sf, err);
	if (ret)
		goto close_file;
	/* Now, so that a file that cannot be lengthened is refused here. */
	ret = grow(sf);
	if (ret == -ENOMEM) {
		error_set(err, ENOMEM, "%s: out of memory", sf->name);
		goto close_file;
	}
	if (ret) {
		error_set(err, -ret,
			  "%s: cannot be lengthened: %s; look at the limit of the size of files (ulimit -f) and at the seals of a "
			  "memfd",
			  sf->name, strerror(-ret));
		goto close_file;
	}
	lock_init(&sf->lock, LOCK_SWAP_FILE);
	*out = sf;
	return 0;

close_file:
	if (params->directory && sf->fd >= 0)
		close(sf->fd);
free_secret:
	swap_extents_fini(&sf->extents);
	wipe_secret(sf);
	mem_free(sf);
	return ret;
}

void swap_file_close(struct swap_file *sf)
{
	if (!sf)
		return;
	wipe_secret(sf);
	swap_extents_fini(&sf->extents);
	lock_fini(&sf->lock);
	close(sf->fd);
	mem_free(sf);
}

bool swap_file_is_direct(const struct swap_file *sf)
{
	return sf->direct;
}

void swap_file_set_limit(struct swap_file *sf, uint64_t bytes)
{
	lock_take(&sf->lock);
	sf->limit = bytes;
	lock_release(&sf->lock);
}

/* --- extents --- */

/* Finds nr blocks, in a longer file if need be. Needs the lock. Returns 0, -ENOSPC or -ENOMEM. */
static int find_room(struct swap_file *sf, unsigned nr, uint64_t *block)
{
	struct swap_extents *x = &sf->extents;
	int ret = swap_extents_take(x, nr, SEARCHES_MAX, block);
	if (ret == -EAGAIN)
		ret = swap_extents_take_last(x, nr, block);
	if (ret == 0)
		return 0;
	int grown = grow(sf);
	if (grown == -ENOMEM)
		return -ENOMEM;
	if (grown == 0 && swap_extents_take_last(x, nr, block) == 0)
		return 0;
	/* The file does not become longer, whatever the reason: now all of it is searched. */
	return swap_extents_take(x, nr, SIZE_MAX, block);
}

int swap_file_allocate(struct swap_file *sf, size_t len, struct swap_extent *extent)
{
	if (len == 0 || len > SWAP_EXTENT_MAX)
		return -EINVAL;
	unsigned nr = (unsigned)((len + SWAP_BLOCK - 1) / SWAP_BLOCK);
	uint64_t bytes = (uint64_t)nr * SWAP_BLOCK;
	uint64_t block;
	int ret = -ENOSPC;
	lock_take(&sf->lock);
	uint64_t used = look(&sf->used) + bytes;
	if (sf->limit && used > sf->limit)
		goto out; /* invariant 2 */
	ret = find_room(sf, nr, &block);
	if (ret)
		goto out;
	*extent = (struct swap_extent){.offset = block * SWAP_BLOCK, .len = (uint32_t)bytes, .serial = sf->next_serial++};
	atomic_store_explicit(&sf->used, used, memory_order_relaxed);
	if (used > look(&sf->peak))
		atomic_store_explicit(&sf->peak, used, memory_order_relaxed);
out:
	lock_release(&sf->lock);
	return ret;
}

static uint64_t stale_max(const struct swap_file *sf)
{
	if (sf->was_full)
		return 0;
	return sf->limit ? min_u64(STALE_MAX, sf->limit / 16) : STALE_MAX;
}

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Whether nobody reads at the moment: discarding holds reads up for milliseconds (the file is locked meanwhile). */
static bool is_quiet(const struct swap_file *sf)
{
	uint64_t read_ms = look(&sf->read_ms);
	return !read_ms || now_ms() - read_ms > QUIET_MS;
}

/*
 * Gives the stale blocks around block back to the file system. Called with the lock, which it lets go meanwhile (invariant 1).
 * Returns false if it cannot.
 */
static bool discard_around(struct swap_file *sf, uint64_t block)
{
	uint64_t start;
	unsigned nr = sf->no_discard ? 0 : swap_extents_take_stale(&sf->extents, block, &start);
	if (!nr)
		return !sf->no_discard;
	lock_release(&sf->lock);
	int ret = mem_fallocate(sf->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(start * SWAP_BLOCK),
				(off_t)nr * SWAP_BLOCK);
	lock_take(&sf->lock);
	if (ret) {
		(void)swap_extents_put(&sf->extents, start, nr);
		sf->no_discard = sf->no_discard || ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -ENODEV;
		return false;
	}
	swap_extents_put_clean(&sf->extents, start, nr);
	count(&sf->discards, 1);
	return true;
}

void swap_file_free(struct swap_file *sf, const struct swap_extent *extent)
{
	uint64_t block = extent->offset / SWAP_BLOCK;
	lock_take(&sf->lock);
	if (!swap_extents_put(&sf->extents, block, extent->len / SWAP_BLOCK)) {
		/* To go on would hand somebody's bytes to two owners. */
		log_error("%s: extent %#llx of %u bytes is freed, but not in use", sf->name, (unsigned long long)extent->offset,
			  extent->len);
		abort();
	}
	atomic_store_explicit(&sf->used, look(&sf->used) - extent->len, memory_order_relaxed);
	uint64_t stale = sf->extents.nr_stale * SWAP_BLOCK, most = stale_max(sf);
	if (stale > most && (is_quiet(sf) || stale > STALE_BUSY * most))
		(void)discard_around(sf, block);
	lock_release(&sf->lock);
}

bool swap_file_wants_trim(struct swap_file *sf)
{
	lock_take(&sf->lock);
	bool wants = !sf->no_discard && sf->extents.nr_stale * SWAP_BLOCK > stale_max(sf);
	lock_release(&sf->lock);
	return wants;
}

bool swap_file_trim(struct swap_file *sf)
{
	uint64_t block;
	lock_take(&sf->lock);
	bool trimmed = sf->extents.nr_stale * SWAP_BLOCK > stale_max(sf) && is_quiet(sf) &&
		       swap_extents_next_stale(&sf->extents, 0, &block) && discard_around(sf, block);
	lock_release(&sf->lock);
	return trimmed;
}

void swap_file_note_full(struct swap_file *sf)
{
	uint64_t block = 0;
	lock_take(&sf->lock);
	sf->was_full = true;
	while (swap_extents_next_stale(&sf->extents, block, &block) && discard_around(sf, block))
		block++;
	lock_release(&sf->lock);
}

int swap_file_read(struct swap_file *sf, const struct swap_extent *extent, uint32_t offset, uint32_t len, void *buffer)
{
	ssize_t got = pread(sf->fd, buffer, len, (off_t)(extent->offset + offset));
	int res = mem_io_result(false, buffer, len, got < 0 ? -errno : (int)got);
	if (res != (int)len)
		return -EIO;
	swap_file_count_transfer(sf, false, len);
	return 0;
}

uint64_t swap_file_used(const struct swap_file *sf)
{
	return look(&sf->used);
}

/* --- for swap_io.c --- */

int swap_file_descriptor(const struct swap_file *sf)
{
	return sf->fd;
}

const char *swap_file_name(const struct swap_file *sf)
{
	return sf->name;
}

void swap_file_count_transfer(struct swap_file *sf, bool is_write, uint32_t bytes)
{
	count(is_write ? &sf->writes : &sf->reads, 1);
	count(is_write ? &sf->written_bytes : &sf->read_bytes, bytes);
	if (!is_write)
		atomic_store_explicit(&sf->read_ms, now_ms(), memory_order_relaxed);
}

void swap_file_count_error(struct swap_file *sf)
{
	count(&sf->errors, 1);
}

void swap_file_get_stats(const struct swap_file *sf, struct swap_file_stats *stats)
{
	*stats = (struct swap_file_stats){
		.used_bytes = look(&sf->used),
		.peak_bytes = look(&sf->peak),
		.reads = look(&sf->reads),
		.writes = look(&sf->writes),
		.read_bytes = look(&sf->read_bytes),
		.written_bytes = look(&sf->written_bytes),
		.discards = look(&sf->discards),
		.errors = look(&sf->errors),
	};
}
