/* Texts such as /proc/meminfo and the nodes' meminfo below /sys. */
#ifndef BASE_MEMINFO_H
#define BASE_MEMINFO_H

#include <stdbool.h>
#include <stdint.h>

/* The value that is so named ("MemTotal"), in bytes. Returns false when there is none that can be understood. */
bool meminfo_find(const char *text, const char *name, uint64_t *bytes);

#endif
