/*
 * Load for a disk, inside the guest: blkload DEVICE read|write random|sequential BLOCK DEPTH MILLISECONDS
 *
 * Keeps DEPTH requests of BLOCK bytes under way by the kernel's asynchronous I/O and O_DIRECT, for that long, after a tenth of it for
 * warming up. Prints one line: requests per second, MB (10^6) per second, mean and median microseconds of one request.
 *
 * Small and static, because it runs in an initrd, in a guest of an emulated machine.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DEPTH_MAX 256u
#define SAMPLES_MAX (1u << 18)

struct slot {
	struct iocb iocb;
	uint64_t started_ns;
};

static struct slot slots[DEPTH_MAX];
static struct io_event events[DEPTH_MAX];
static uint32_t samples[SAMPLES_MAX]; /* latencies, in ns */

static struct {
	int fd;
	aio_context_t context;
	int random;
	uint16_t opcode;
	uint64_t nr_blocks, next;
	uint64_t seed;
	uint32_t block;
} load;

static void die(const char *what)
{
	printf("blkload: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t next_block(void)
{
	if (!load.random)
		return load.next++ % load.nr_blocks;
	load.seed ^= load.seed << 13;
	load.seed ^= load.seed >> 7;
	load.seed ^= load.seed << 17;
	return load.seed % load.nr_blocks;
}

/* Starts the requests of nr slots with one system call. */
static void submit(struct iocb **list, long nr)
{
	uint64_t now = now_ns();
	for (long i = 0; i < nr; i++) {
		struct slot *slot = (struct slot *)(uintptr_t)list[i]->aio_data;
		list[i]->aio_offset = (int64_t)(next_block() * load.block);
		slot->started_ns = now;
	}
	if (syscall(SYS_io_submit, load.context, nr, list) != nr)
		die("io_submit");
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* Runs for so long. Returns requests done; *sum_ns is their latencies' sum, and *nr_samples how many of these are kept. */
static uint64_t run(unsigned depth, uint64_t duration_ns, uint64_t *elapsed_ns, uint64_t *sum_ns, unsigned *nr_samples)
{
	struct iocb *list[DEPTH_MAX];
	uint64_t done = 0, start = now_ns(), now = start;
	unsigned under_way = depth, kept = 0;
	*sum_ns = 0;
	for (unsigned i = 0; i < depth; i++)
		list[i] = &slots[i].iocb;
	submit(list, depth);
	while (under_way) {
		long nr = syscall(SYS_io_getevents, load.context, 1L, (long)depth, events, NULL);
		if (nr < 0)
			die("io_getevents");
		now = now_ns();
		for (long i = 0; i < nr; i++) {
			struct slot *slot = (struct slot *)(uintptr_t)events[i].data;
			if (events[i].res != load.block) {
				errno = events[i].res < 0 ? (int)-events[i].res : EIO;
				die("request");
			}
			uint64_t took = now - slot->started_ns;
			*sum_ns += took;
			if (kept < SAMPLES_MAX)
				samples[kept++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
			list[i] = &slot->iocb;
		}
		done += (uint64_t)nr;
		if (now - start < duration_ns)
			submit(list, nr);
		else
			under_way -= (unsigned)nr;
	}
	*elapsed_ns = now - start;
	*nr_samples = kept;
	return done;
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		printf("usage: blkload DEVICE read|write random|sequential BLOCK DEPTH MILLISECONDS\n");
		return 2;
	}
	int writes = strcmp(argv[2], "write") == 0;
	unsigned depth = (unsigned)atoi(argv[5]);
	uint64_t duration_ns = strtoull(argv[6], NULL, 10) * 1000000u, size;
	load.random = strcmp(argv[3], "random") == 0;
	load.block = (uint32_t)strtoul(argv[4], NULL, 10);
	load.opcode = writes ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD;
	load.seed = 0x9e3779b97f4a7c15u;
	load.fd = open(argv[1], O_RDWR | O_DIRECT);
	if (load.fd < 0 || ioctl(load.fd, BLKGETSIZE64, &size))
		die(argv[1]);
	if (depth == 0 || depth > DEPTH_MAX || load.block == 0 || load.block > size) {
		errno = EINVAL;
		die("depth or block");
	}
	load.nr_blocks = size / load.block;
	if (syscall(SYS_io_setup, depth, &load.context))
		die("io_setup");
	for (unsigned i = 0; i < depth; i++) {
		void *buf = aligned_alloc(4096, load.block);
		if (!buf)
			die("buffers");
		memset(buf, (int)i + 1, load.block);
		slots[i].iocb = (struct iocb){
			.aio_data = (uint64_t)(uintptr_t)&slots[i],
			.aio_lio_opcode = load.opcode,
			.aio_fildes = (uint32_t)load.fd,
			.aio_buf = (uint64_t)(uintptr_t)buf,
			.aio_nbytes = load.block,
		};
	}
	uint64_t elapsed_ns, sum_ns;
	unsigned nr_samples;
	run(depth, duration_ns / 10, &elapsed_ns, &sum_ns, &nr_samples);
	uint64_t done = run(depth, duration_ns, &elapsed_ns, &sum_ns, &nr_samples);
	qsort(samples, nr_samples, sizeof(samples[0]), compare);
	double seconds = (double)elapsed_ns / 1e9;
	printf("blkload: %s %s %u %u iops=%.1f mbs=%.2f mean_us=%.1f median_us=%.1f\n", argv[2], argv[3], load.block, depth,
	       (double)done / seconds, (double)done * load.block / seconds / 1e6, (double)sum_ns / (double)done / 1e3,
	       (double)samples[nr_samples / 2] / 1e3);
	return 0;
}
