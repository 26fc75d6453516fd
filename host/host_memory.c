/* See host_memory.h. */
#include "host/host_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/meminfo.h"

#define MOST_NODES 64

static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
	int ret = got < 0 ? -errno : 0;
	if (fd >= 0)
		close(fd);
	text[got > 0 ? got : 0] = '\0';
	return ret;
}

bool host_memory_parse_meminfo(const char *text, struct host_memory *m)
{
	return meminfo_find(text, "MemTotal", &m->total) && meminfo_find(text, "MemAvailable", &m->available);
}

bool host_memory_parse_psi(const char *text, struct host_memory *m)
{
	const char *full = strstr(text, "full ");
	return sscanf(text, "some avg10=%lf avg60=%lf avg300=%*f total=%" SCNu64, &m->some_avg10, &m->some_avg60, &m->some_us) ==
		       3 &&
	       full &&
	       sscanf(full, "full avg10=%lf avg60=%lf avg300=%*f total=%" SCNu64, &m->full_avg10, &m->full_avg60, &m->full_us) == 3;
}

int host_memory_read(struct host_memory *memory)
{
	char text[8192];
	struct host_memory m = {.total = 0};
	int ret = read_text("/proc/meminfo", text, sizeof(text));
	if (ret)
		return ret;
	if (!host_memory_parse_meminfo(text, &m))
		return -EPROTO;
	m.has_psi = read_text("/proc/pressure/memory", text, sizeof(text)) == 0 && host_memory_parse_psi(text, &m);
	*memory = m;
	return 0;
}

unsigned host_nodes_read(struct host_node nodes[], unsigned most)
{
	char path[100], text[8192];
	unsigned nr = 0;
	for (unsigned n = 0; n < MOST_NODES && nr < most; n++) {
		struct host_node node = {.node = n};
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/meminfo", n);
		if (read_text(path, text, sizeof(text)) || !meminfo_find(text, "MemTotal", &node.total) ||
		    !meminfo_find(text, "MemFree", &node.free))
			continue;
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u/cpulist", n);
		read_text(path, node.cpus, sizeof(node.cpus));
		node.cpus[strcspn(node.cpus, "\n")] = '\0';
		nodes[nr++] = node;
	}
	return nr;
}
