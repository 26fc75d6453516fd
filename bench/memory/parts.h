/* A fault of a missing page taken apart: a handler of the benchmark's own notes when it passes from one part to the next. */
#ifndef BENCH_MEMORY_PARTS_H
#define BENCH_MEMORY_PARTS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum parts_resolve { PARTS_COPY, PARTS_MOVE, PARTS_ZERO };

/* In cycles of the TSC. */
struct parts_stamps {
	uint64_t touch, read, decompressed, resolved, woken, touched;
};

struct parts {
	int uffd, pagemap;
	enum parts_resolve resolve;
	bool spin;                   /* the handler polls, else it sleeps in read(2) */
	int handler_cpu;             /* -1: wherever */
	uint64_t nr, handled;        /* faults to serve, and served */
	struct parts_stamps *stamps; /* nr of them */
	uint8_t *staging;            /* nr + 1 pages, to be moved from */
	char *compressed;            /* LZ4, of a page of text */
	int compressed_len;
	pthread_t thread;
};

/* Registers the memory, and starts the handler for nr faults in it. -errno, which has been said. */
int parts_start(struct parts *p, void *memory, uint64_t len, uint64_t nr);
/* Waits for the handler to have served all, and frees everything but stamps. */
void parts_stop(struct parts *p);
void parts_free(struct parts *p);
/* Prints the medians of the parts, where both ends are known (not 0). */
void parts_print(const struct parts *p, const char *place);
void parts_bind(int cpu);

/* A machine of this process, with the pager guest (tests/guests/pager.c) on CPU 0 (parts_guest.c). */
struct parts_guest;
int parts_guest_open(const char *kernel, struct parts_guest **guest);
/* Takes nr pages of the guest away, lets it touch them one by one, and serves them. -errno, which has been said. */
int parts_guest_run(struct parts_guest *guest, struct parts *p, uint64_t nr, unsigned gap_us);
void parts_guest_close(struct parts_guest *guest);

#endif
