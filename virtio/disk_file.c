/*
 * Raw images in files and on block devices: opening, locking, size and alignment. Requests are disk_file_io.c's.
 *
 * The lock covers the whole file, as an open file description lock: for writing unless the disk is read-only. So two writers, or a
 * writer and a reader, never share an image by mistake, whichever program they are (QEMU looks at locks of some bytes of the file,
 * and sees ours there). A file system without locks costs a warning.
 */
#include "virtio/disk_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define PHYSICAL_BLOCK 4096u /* what file systems write best */
#define BLOCK_SIZE_MAX 65536u

static const char *open_advice(int code, const struct disk_params *params)
{
	switch (code) {
	case EINVAL:
		return params->direct ? "; its file system has no direct I/O: use cache=writeback" : "";
	case EACCES:
	case EPERM:
	case EROFS:
		return params->read_only ? "; make it readable for this user"
					 : "; make it writable for this user, or say readonly=on";
	case ENOENT:
		return "; create it first, for instance with truncate -s 10G";
	case ENXIO:
	case ENOMEDIUM:
		return "; there is no device or medium behind it";
	default:
		return "";
	}
}

/* Opens by name. Without waiting for the other end of a FIFO, which check_kind() then refuses. */
static int open_path(const struct disk_params *params, struct error *err)
{
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (params->read_only ? O_RDONLY : O_RDWR) | (params->direct ? O_DIRECT : 0);
	int fd = open(params->filename, flags);
	if (fd < 0)
		return error_set(err, errno, "disk %s: cannot be opened%s: %s%s", params->filename,
				 params->direct ? " for direct I/O" : "", strerror(errno), open_advice(errno, params));
	return fd;
}

/* Makes the open file's flags what we need, whoever opened it. */
static int set_flags(struct disk_file *file, const struct disk_params *params, struct error *err)
{
	int flags = fcntl(file->fd, F_GETFL);
	if (flags < 0)
		return error_set(err, errno, "disk %s: fd %d is not open", file->disk.name, file->fd);
	int access_mode = flags & O_ACCMODE;
	if (access_mode == O_WRONLY || (access_mode == O_RDONLY && !params->read_only))
		return error_set(err, EACCES, "disk %s: fd %d is open for %s only; open it for both, or say readonly=on",
				 file->disk.name, file->fd, access_mode == O_WRONLY ? "writing" : "reading");
	/* O_NONBLOCK makes io_uring fail what would block, O_APPEND ignores offsets. */
	int wanted = (flags & ~(O_NONBLOCK | O_APPEND)) | (params->direct ? O_DIRECT : 0);
	if (wanted != flags && fcntl(file->fd, F_SETFL, wanted))
		return error_set(err, errno, "disk %s: cannot set file flags: %s%s", file->disk.name, strerror(errno),
				 open_advice(errno, params));
	file->disk.direct = wanted & O_DIRECT;
	return 0;
}

static int lock_file(struct disk_file *file, struct error *err)
{
	struct flock lock = {.l_type = file->disk.read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(file->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(err, EBUSY,
				 "disk %s: in use by another process (see lslocks); stop that, or say readonly=on in all of "
				 "them, or share-rw=on if the guests know how to share it",
				 file->disk.name);
	log_warning("disk %s: cannot be locked against use by others: %s", file->disk.name, strerror(errno));
	return 0;
}

static bool valid_block_size(uint32_t size)
{
	return size >= DISK_SECTOR && size <= BLOCK_SIZE_MAX && (size & (size - 1)) == 0;
}

static int find_alignment(struct disk_file *file, bool is_block, struct error *err)
{
	struct disk *disk = &file->disk;
	file->mem_align = 1;
	disk->block_size = DISK_SECTOR;
	disk->physical_block_size = PHYSICAL_BLOCK;
	unsigned physical;
	if (is_block && ioctl(file->fd, BLKPBSZGET, &physical) == 0 && valid_block_size(physical))
		disk->physical_block_size = physical;
	if (disk->direct) {
		file->mem_align = DISK_SECTOR;
		struct statx stx;
		int logical;
		if (statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 && (stx.stx_mask & STATX_DIOALIGN)) {
			if (stx.stx_dio_offset_align == 0)
				return error_set(err, EINVAL, "disk %s: its file system has no direct I/O: use cache=writeback",
						 disk->name);
			file->mem_align = stx.stx_dio_mem_align;
			if (stx.stx_dio_offset_align > DISK_SECTOR)
				disk->block_size = stx.stx_dio_offset_align;
		} else if (is_block && ioctl(file->fd, BLKSSZGET, &logical) == 0) {
			disk->block_size = (uint32_t)logical;
			file->mem_align = (uint32_t)logical;
		}
		if (!valid_block_size(disk->block_size) || file->mem_align == 0 || (file->mem_align & (file->mem_align - 1)))
			return error_set(err, EINVAL, "disk %s: direct I/O needs blocks of %u bytes: use cache=writeback",
					 disk->name, disk->block_size);
	}
	if (disk->physical_block_size < disk->block_size)
		disk->physical_block_size = disk->block_size;
	return 0;
}

/* Size and kind. */
static int examine(struct disk_file *file, struct error *err)
{
	struct disk *disk = &file->disk;
	struct stat st;
	if (fstat(file->fd, &st))
		return error_set(err, errno, "disk %s: %s", disk->name, strerror(errno));
	bool is_block = S_ISBLK(st.st_mode);
	uint64_t size = (uint64_t)st.st_size;
	if (is_block) {
		if (ioctl(file->fd, BLKGETSIZE64, &size))
			return error_set(err, errno, "disk %s: cannot tell the size of the block device: %s", disk->name,
					 strerror(errno));
	} else if (!S_ISREG(st.st_mode)) {
		return error_set(err, EINVAL, "disk %s: neither a regular file nor a block device", disk->name);
	}
	disk->driver = is_block ? "host_device" : "file";
	int ret = find_alignment(file, is_block, err);
	if (ret)
		return ret;
	disk->size = size - size % disk->block_size;
	if (disk->size != size)
		log_warning("disk %s: its last %llu bytes are not used: the size, %llu, is no multiple of %u", disk->name,
			    (unsigned long long)(size - disk->size), (unsigned long long)size, disk->block_size);
	return 0;
}

int disk_file_open(const struct disk_params *params, struct disk **out, struct error *err)
{
	struct disk_file *file = calloc(1, sizeof(*file));
	if (!file)
		return error_set(err, ENOMEM, "disk %s: out of memory", params->filename);
	struct disk *disk = &file->disk;
	disk->ops = &disk_file_ops;
	snprintf(disk->name, sizeof(disk->name), "%s", params->filename);
	disk->read_only = params->read_only;
	file->no_flush = params->no_flush;
	file->discard = params->discard;

	int ret = file->fd = params->fd >= 0 ? params->fd : open_path(params, err);
	if (file->fd < 0)
		goto free_file;
	ret = set_flags(file, params, err);
	if (!ret)
		ret = examine(file, err);
	if (!ret && !params->shared)
		ret = lock_file(file, err);
	if (ret)
		goto close_fd;

	disk->can_flush = true;
	disk->can_discard = params->discard && !params->read_only;
	disk->can_write_zeroes = !params->read_only;
	*out = disk;
	return 0;

close_fd:
	if (params->fd < 0)
		close(file->fd);
free_file:
	free(file);
	return ret;
}

static void file_close(struct disk *disk)
{
	struct disk_file *file = (struct disk_file *)disk;
	close(file->fd); /* drops the lock */
	free(file);
}

const struct disk_ops disk_file_ops = {
	.attach = disk_file_attach,
	.detach = disk_file_detach,
	.submit = disk_file_submit,
	.event = disk_file_event,
	.close = file_close,
};
