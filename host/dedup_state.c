/* See dedup_state.h. */
#include "host/dedup_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/lock_file.h"
#include "memmgr/os.h"

#define LOCK_PATIENCE_MS 1000

static int lock(struct dedup_state *s, const char *directory, struct error *err)
{
	s->lock_fd = lock_file_take(s->dir_fd, "lock", LOCK_PATIENCE_MS);
	if (s->lock_fd == -EWOULDBLOCK)
		return error_set(err, EBUSY, "%s: another daemon uses it; stop that one, or give --state another directory",
				 directory);
	if (s->lock_fd < 0)
		return error_set(err, -s->lock_fd, "%s/lock: %s", directory, strerror(-s->lock_fd));
	return 0;
}

static int read_key(struct dedup_state *s, const char *directory, struct error *err)
{
	int fd = openat(s->dir_fd, "key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0) {
		ssize_t got = read(fd, s->key, sizeof(s->key));
		close(fd);
		if (got == sizeof(s->key))
			return 0;
		return error_set(err, EPROTO, "%s/key: not 32 bytes; remove it to have a new one made", directory);
	}
	if (errno != ENOENT)
		return error_set(err, errno, "%s/key: %s", directory, strerror(errno));
	randombytes_buf(s->key, sizeof(s->key));
	/* Under another name first: a key that is there is whole. */
	fd = openat(s->dir_fd, "key.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t put = fd < 0 ? -1 : write(fd, s->key, sizeof(s->key));
	int code = errno;
	if (fd >= 0)
		close(fd);
	if (put != sizeof(s->key) || renameat(s->dir_fd, "key.new", s->dir_fd, "key") < 0)
		return error_set(err, put < 0 ? code : EIO, "%s/key: cannot be written: %s", directory,
				 strerror(put < 0 ? code : errno));
	return 0;
}

/* One more element at the end, room for which doubles. Returns it, or NULL without memory. */
static void *extend(void **array, size_t *nr, size_t size)
{
	if ((*nr & (*nr - 1)) == 0) {
		void *more = mem_calloc(*nr ? *nr * 2 : 1, size);
		if (!more)
			return NULL;
		if (*nr)
			memcpy(more, *array, *nr * size);
		mem_free(*array);
		*array = more;
	}
	return (char *)*array + (*nr)++ * size;
}

static int read_line(struct dedup_state *s, const char *line)
{
	char domain[PROTOCOL_NAME_BYTES];
	struct state_pool pool = {.node = -1};
	struct state_process process;
	int end = 0, pid;
	if (sscanf(line, "pool %63s %d %" SCNu64 " %" SCNu64 " %" SCNu64 " %n", domain, &pool.node, &pool.identity.inode,
		   &pool.identity.device, &pool.identity.birth_ns, &end) == 5 &&
	    !line[end]) {
		memcpy(pool.domain, domain, sizeof(domain));
		if (!protocol_is_name(pool.domain) || pool.node < -1 || pool.node > 63)
			return -EPROTO;
		struct state_pool *p = extend((void **)&s->pools, &s->nr_pools, sizeof(pool));
		if (!p)
			return -ENOMEM;
		*p = pool;
		return 0;
	}
	end = 0;
	if (sscanf(line, "process %d %" SCNu64 " %n", &pid, &process.start, &end) == 2 && !line[end] && pid > 0 && s->nr_pools) {
		struct state_pool *p = &s->pools[s->nr_pools - 1];
		struct state_process *added = extend((void **)&p->processes, &p->nr_processes, sizeof(process));
		if (!added)
			return -ENOMEM;
		*added = (struct state_process){.pid = pid, .start = process.start};
		return 0;
	}
	return -EPROTO;
}

static int read_pools(struct dedup_state *s, const char *directory, struct error *err)
{
	char line[256];
	int ret = 0, fd = openat(s->dir_fd, "pools", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		return 0;
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file)
		return error_set(err, errno, "%s/pools: %s", directory, strerror(errno));
	while (ret == 0 && fgets(line, sizeof(line), file))
		ret = read_line(s, line);
	fclose(file);
	if (ret)
		return error_set(err, -ret, "%s/pools: %s", directory,
				 ret == -ENOMEM ? "out of memory"
						: "damaged; if no VMM has been running since, remove it, else stop them all first");
	return 0;
}

int dedup_state_open(const char *directory, struct dedup_state *state, struct error *err)
{
	struct dedup_state s = {.dir_fd = -1, .lock_fd = -1};
	int ret = 0;
	if (mkdir(directory, 0700) < 0 && errno != EEXIST)
		return error_set(err, errno, "--state %s: cannot be made: %s", directory, strerror(errno));
	s.dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;
	if (s.dir_fd < 0 || fstat(s.dir_fd, &st) < 0)
		ret = error_set(err, errno, "--state %s: %s", directory, strerror(errno));
	else if (st.st_uid != geteuid() || st.st_mode & 022)
		ret = error_set(err, EPERM, "--state %s: others than the daemon may write there; give it a directory of its own",
				directory);
	if (ret == 0)
		ret = lock(&s, directory, err);
	if (ret == 0)
		ret = read_key(&s, directory, err);
	if (ret == 0)
		ret = read_pools(&s, directory, err);
	if (ret) {
		dedup_state_close(&s);
		return ret;
	}
	*state = s;
	return 0;
}

void dedup_state_close(struct dedup_state *s)
{
	for (size_t i = 0; i < s->nr_pools; i++)
		mem_free(s->pools[i].processes);
	mem_free(s->pools);
	if (s->dir_fd >= 0)
		close(s->dir_fd);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	sodium_memzero(s, sizeof(*s));
	s->dir_fd = s->lock_fd = -1;
}

int dedup_state_save(const struct dedup_state *s, const struct state_pool pools[], size_t nr)
{
	int fd = openat(s->dir_fd, "pools.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	if (!file) {
		int ret = -errno;
		if (fd >= 0)
			close(fd);
		return ret;
	}
	for (size_t i = 0; i < nr; i++) {
		const struct state_pool *p = &pools[i];
		fprintf(file, "pool %s %d %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", p->domain, p->node, p->identity.inode,
			p->identity.device, p->identity.birth_ns);
		for (size_t k = 0; k < p->nr_processes; k++)
			fprintf(file, "process %d %" PRIu64 "\n", (int)p->processes[k].pid, p->processes[k].start);
	}
	int failed = ferror(file);
	if (fclose(file) || failed)
		return -EIO;
	return renameat(s->dir_fd, "pools.new", s->dir_fd, "pools") < 0 ? -errno : 0;
}
