/* See cpu_time.h. vCPU threads are known by their names, which the VMM gives them: "CPU 0/KVM". */
#include "libvirt/cpu_time.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELD_STATE 0 /* of those behind the name */
#define FIELD_USER 11
#define FIELD_SYSTEM 12
#define FIELD_CPU 36

/* name: of the thread, 16 bytes. Returns false when it has gone. */
static bool read_stat(const char *path, struct cpu_time *t, char name[16])
{
	char text[1024];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	/* The name stands in parentheses, and may have some itself. */
	const char *from = strchr(text, '('), *to = strrchr(text, ')');
	if (!from || !to || to < from || to[1] != ' ')
		return false;
	snprintf(name, 16, "%.*s", (int)(to - from - 1), from + 1);
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
	const char *at = to + 2;
	for (unsigned field = 0; at && field <= FIELD_CPU; field++) {
		uint64_t value = strtoull(at, NULL, 10);
		if (field == FIELD_STATE)
			t->running = *at == 'R';
		else if (field == FIELD_USER)
			t->user_ns = value * tick_ns;
		else if (field == FIELD_SYSTEM)
			t->system_ns = value * tick_ns;
		else if (field == FIELD_CPU)
			t->cpu = (int)value;
		at = strchr(at, ' ');
		at = at ? at + 1 : NULL;
	}
	return true;
}

void cpu_time_of_guest(const struct guest *g, struct cpu_time *t)
{
	char path[64], name[16];
	*t = (struct cpu_time){.cpu = -1};
	if (!guest_has_vmm(g))
		return;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)g->process.pid);
	read_stat(path, t, name);
}

unsigned cpu_time_of_vcpus(const struct guest *g, struct cpu_time times[], unsigned most)
{
	char path[400], name[16];
	unsigned nr = 0;
	for (unsigned i = 0; i < most; i++)
		times[i] = (struct cpu_time){.cpu = -1};
	if (!guest_has_vmm(g))
		return 0;
	snprintf(path, sizeof(path), "/proc/%d/task", (int)g->process.pid);
	DIR *tasks = opendir(path);
	const struct dirent *entry;
	while (tasks && (entry = readdir(tasks)) != NULL) {
		struct cpu_time t = {.cpu = -1};
		unsigned index;
		int end = 0;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)g->process.pid, entry->d_name);
		if (*entry->d_name == '.' || !read_stat(path, &t, name) || sscanf(name, "CPU %u/KVM%n", &index, &end) != 1 ||
		    !end || index >= most)
			continue;
		t.thread = (int)strtol(entry->d_name, NULL, 10);
		times[index] = t;
		nr++;
	}
	if (tasks)
		closedir(tasks);
	return nr;
}
