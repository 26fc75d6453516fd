/*
 * Memory that runs out at will: defines malloc and its kin for a whole test program. Include it once. Also counts what is allocated, so that
 * a test can tell leaks. Not under sanitizers, which have their own: FAILING_MALLOC is 0 there.
 */
#ifndef TESTS_UNIT_FAILING_MALLOC_H
#define TESTS_UNIT_FAILING_MALLOC_H

#include <errno.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define FAILING_MALLOC 0
#else
#define FAILING_MALLOC 1
#endif

static volatile long malloc_countdown = -1; /* that many succeed, then one fails; -1: all succeed */
static volatile long malloc_live;           /* allocations that were not freed */

#if FAILING_MALLOC
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t nr, size_t size);
void *__libc_realloc(void *old, size_t size);
void __libc_free(void *memory);

static int malloc_fails(void)
{
	if (malloc_countdown < 0 || malloc_countdown-- > 0)
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	void *memory = malloc_fails() ? NULL : __libc_malloc(size);
	malloc_live += memory != NULL;
	return memory;
}

void *calloc(size_t nr, size_t size)
{
	void *memory = malloc_fails() ? NULL : __libc_calloc(nr, size);
	malloc_live += memory != NULL;
	return memory;
}

void *realloc(void *old, size_t size)
{
	void *memory = malloc_fails() ? NULL : __libc_realloc(old, size);
	malloc_live += memory != NULL && !old;
	return memory;
}

void free(void *memory)
{
	malloc_live -= memory != NULL;
	__libc_free(memory);
}
#endif

#endif
