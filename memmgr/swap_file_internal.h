/* What memmgr/swap_io.c needs of a swap file. Not for others. All may be called from any thread. */
#ifndef MEMMGR_SWAP_FILE_INTERNAL_H
#define MEMMGR_SWAP_FILE_INTERNAL_H

#include "memmgr/swap_file.h"

int swap_file_descriptor(const struct swap_file *sf);
/* "swap file in /var/tmp": for messages. */
const char *swap_file_name(const struct swap_file *sf);

void swap_file_count_transfer(struct swap_file *sf, bool is_write, uint32_t bytes);
void swap_file_count_error(struct swap_file *sf);

/* The file system is full: gives back all the space that is not in use, now and from now on. */
void swap_file_note_full(struct swap_file *sf);

#endif
