/* What the compiler expects of <string.h>, and the little that guests use of it. */
#ifndef GUEST_BYTES_H
#define GUEST_BYTES_H

#include <stdbool.h>
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *text);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t len);

#endif
