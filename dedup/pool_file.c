/* See pool_file.h. */
#include "dedup/pool_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dedup/os.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_SEAL)
#define MODE 0400

static int identify(int fd, struct pool_identity *identity, struct statx *st)
{
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, st) < 0)
		return -errno;
	if (!(st->stx_mask & STATX_BTIME))
		return -EOPNOTSUPP;
	*identity = (struct pool_identity){
		.inode = st->stx_ino,
		.device = makedev(st->stx_dev_major, st->stx_dev_minor),
		.birth_ns = (uint64_t)st->stx_btime.tv_sec * 1000000000ull + st->stx_btime.tv_nsec,
	};
	return 0;
}

bool pool_identity_equal(const struct pool_identity *a, const struct pool_identity *b)
{
	return a->inode == b->inode && a->device == b->device && a->birth_ns == b->birth_ns;
}

static int share(struct pool_file *file, uint64_t most_bytes)
{
	file->most_bytes = most_bytes > file->size ? most_bytes : file->size;
	file->readonly_fd = dedup_reopen(file->fd, O_RDONLY);
	return file->readonly_fd < 0 ? file->readonly_fd : 0;
}

int pool_file_create(uint64_t most_bytes, struct pool_file *file, struct error *err)
{
	struct pool_file made = {.readonly_fd = -1};
	struct statx st;
	made.fd = dedup_memfd("pagoda-pool");
	int ret = made.fd;
	if (ret >= 0)
		ret = fchmod(made.fd, MODE) < 0 || fcntl(made.fd, F_ADD_SEALS, SEALS) < 0 ? -errno : 0;
	if (ret == 0)
		ret = identify(made.fd, &made.identity, &st);
	if (ret == 0)
		ret = share(&made, most_bytes);
	if (ret < 0) {
		pool_file_close(&made);
		return error_set(err, -ret, "pool of shared pages: cannot make its memfd: %s", strerror(-ret));
	}
	*file = made;
	return 0;
}

/* The descriptor we get is open for reading; the owner may open the file again after changing its mode for that moment. */
static int reopen_for_writing(int fd)
{
	int again = dedup_reopen(fd, O_RDWR);
	if (again != -EACCES)
		return again;
	if (fchmod(fd, MODE | 0200) < 0)
		return -errno;
	again = dedup_reopen(fd, O_RDWR);
	if (fchmod(fd, MODE) < 0 && again >= 0) {
		int ret = -errno;
		close(again);
		return ret;
	}
	return again;
}

int pool_file_take_back(int fd, const struct pool_identity *identity, uint64_t most_bytes, struct pool_file *file,
			struct error *err)
{
	struct pool_file found = {.fd = -1, .readonly_fd = -1};
	struct statx st;
	int seals = fcntl(fd, F_GET_SEALS); /* only a memfd has any */
	int ret = seals < 0 ? -EPERM : identify(fd, &found.identity, &st);
	if (ret == 0 && (!pool_identity_equal(&found.identity, identity) || st.stx_uid != geteuid() ||
			 (st.stx_mode & 0777) != MODE || (seals & SEALS) != SEALS || st.stx_size % 4096))
		ret = -EPERM;
	if (ret == 0) {
		found.size = st.stx_size;
		ret = found.fd = reopen_for_writing(fd);
	}
	if (ret >= 0)
		ret = share(&found, most_bytes);
	if (ret < 0) {
		pool_file_close(&found);
		return error_set(err, -ret, "pool of shared pages: %s",
				 ret == -EPERM ? "what a VMM handed over is not the pool of the daemon before" : strerror(-ret));
	}
	*file = found;
	return 0;
}

void pool_file_close(struct pool_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	if (file->readonly_fd >= 0)
		close(file->readonly_fd);
	*file = (struct pool_file){.fd = -1, .readonly_fd = -1};
}

int pool_file_grow(struct pool_file *file, uint64_t bytes)
{
	if (bytes > file->most_bytes)
		return -ENOSPC;
	int ret = dedup_set_size(file->fd, (off_t)bytes);
	if (ret == 0)
		file->size = bytes;
	return ret;
}

bool pool_file_next_data(const struct pool_file *file, uint64_t from, uint64_t *start, uint64_t *end)
{
	if (from >= file->size)
		return false;
	off_t data = lseek(file->fd, (off_t)from, SEEK_DATA);
	if (data < 0)
		return false;
	off_t hole = lseek(file->fd, data, SEEK_HOLE);
	*start = (uint64_t)data;
	*end = hole < 0 ? file->size : (uint64_t)hole;
	return true;
}
