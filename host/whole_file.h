/*
 * Small files that are replaced as a whole: whoever reads one later, be it after a loss of power, finds it as it was before or as it is
 * now, and never a part. Once a call has returned 0, it is on the disk.
 */
#ifndef HOST_WHOLE_FILE_H
#define HOST_WHOLE_FILE_H

#include <stddef.h>

/*
 * Writes NAME.new, which nobody else may use, and renames it. Returns 0 or -errno; then the file is as it was, unless it is the directory that could not be
 * brought to the disk: then it is new for now.
 */
int whole_file_write(int dir_fd, const char *name, const void *data, size_t len);
/* Reads at most max bytes. Returns 0 and a new buffer with a NUL behind it, -ENOENT, -EFBIG, -ENOMEM, or -errno. */
int whole_file_read(int dir_fd, const char *name, size_t max, char **data, size_t *len);
/* Both return 0 or -errno. */
int whole_file_remove(int dir_fd, const char *name);
int whole_file_rename(int dir_fd, const char *from, const char *to);

#endif
