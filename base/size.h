/* Sizes as admins write them: "512M". (The VMM's options take QEMU's way, which is larger: vmm/options.h.) */
#ifndef BASE_SIZE_H
#define BASE_SIZE_H

#include <stdint.h>

/* Bytes, or a number with K, M, G or T, of either case. Returns 0, or -EINVAL for what is none, or is more than most. */
int size_parse(const char *text, uint64_t most, uint64_t *bytes);

#endif
