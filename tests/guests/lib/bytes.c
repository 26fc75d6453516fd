/* Memory and string functions; the compiler calls the first four by itself. */
#include <stdint.h>

#include "bytes.h"

void *memcpy(void *to, const void *from, size_t len)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(len) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	unsigned char *d = to;
	const unsigned char *s = from;

	if (d <= s || d >= s + len)
		return memcpy(to, from, len);
	while (len--) {
		d[len] = s[len];
		__asm__ volatile("" : : : "memory"); /* or the loop becomes a call of memmove */
	}
	return to;
}

void *memset(void *to, int byte, size_t len)
{
	void *at = to;

	__asm__ volatile("rep stosb" : "+D"(at), "+c"(len) : "a"(byte) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const unsigned char *x = a, *y = b;
	uint64_t v, w;

	for (; len >= 8; len -= 8, x += 8, y += 8) {
		__builtin_memcpy(&v, x, 8);
		__builtin_memcpy(&w, y, 8);
		if (v != w)
			break;
	}
	for (; len; len--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *text)
{
	size_t len = 0;

	for (; text[len]; len++)
		__asm__ volatile("" : : : "memory");
	return len;
}

int strcmp(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t len)
{
	for (; len && *a && *a == *b; a++, b++, len--)
		;
	return len ? (unsigned char)*a - (unsigned char)*b : 0;
}
