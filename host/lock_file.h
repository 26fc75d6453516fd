/* A file that is locked by who has it open. A child has it, too, until it executes something: so the lock of a daemon that was killed may last a moment. */
#ifndef HOST_LOCK_FILE_H
#define HOST_LOCK_FILE_H

/* Tries for so long. Returns a descriptor, which closing lets go, -EWOULDBLOCK if somebody has it, or -errno. */
int lock_file_take(int dir_fd, const char *name, unsigned patience_ms);

#endif
