/* What disk_file.c (opening) and disk_file_io.c (requests) share. */
#ifndef VIRTIO_DISK_FILE_H
#define VIRTIO_DISK_FILE_H

#include <stdatomic.h>

#include "virtio/disk.h"

struct disk_file {
	struct disk disk;
	int fd;
	bool no_flush;
	bool discard;       /* space may be freed */
	uint32_t mem_align; /* of buffers: 1 unless disk.direct */

	/* What the file system turned out to lack; set by any channel when it is refused. */
	atomic_bool no_punch_hole, no_zero_range;
};

extern const struct disk_ops disk_file_ops;

/* ops->attach and so on, but for close. */
int disk_file_attach(struct disk *disk, struct io_uring *ring, struct disk_channel **channel, struct error *err);
void disk_file_detach(struct disk_channel *channel);
void disk_file_submit(struct disk_channel *channel, struct disk_request *req);
void disk_file_event(struct disk_channel *channel, uint64_t user_data, int result);

#endif
