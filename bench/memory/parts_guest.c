/*
 * See parts.h. The machine is built as pagoda-vmm builds it, without a memory manager, on a thread of its own that runs its main loop; the guest's serial
 * port is this process's standard input and output, which are pipes meanwhile.
 */
#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench/memory/parts.h"
#include "vmm/config.h"
#include "vmm/machine.h"
#include "vmm/machine_internal.h"

#define PAGE_SIZE 4096u
#define APPEND "pages=16384"

struct parts_guest {
	struct config config;
	struct machine *machine;
	pthread_t thread;
	const char *kernel;
	int to, from, own_in, own_out; /* pipes; what standard input and output were */
	char line[512];
	size_t len;
	uint64_t gpa, stamps;
};

static void *run_machine(void *argument)
{
	struct parts_guest *g = argument;
	struct error err = {0};
	const char *words[] = {"parts", "-m",      "128",   "-kernel",    g->kernel, "-append",
			       APPEND,  "-serial", "stdio", "-no-reboot", NULL};
	bool done = false;
	parts_bind(0);
	struct ev_loop *loop = ev_default_loop(0);
	int ret = config_parse((int)(sizeof(words) / sizeof(words[0])) - 1, (char **)(uintptr_t)words, &g->config, &done, &err);
	if (ret == 0)
		ret = machine_create(loop, &g->config, &g->machine, &err);
	if (ret == 0)
		ret = machine_start(g->machine, &err);
	if (ret) {
		fprintf(stderr, "parts: %s\n", err.text);
		exit(1);
	}
	ev_run(loop, 0);
	machine_destroy(g->machine);
	config_free(&g->config);
	return NULL;
}

/* The rest of the guest's next line that starts so. */
static const char *wait_line(struct parts_guest *g, const char *start)
{
	static char found[512];
	char *end;
	for (;;) {
		while ((end = memchr(g->line, '\n', g->len))) {
			size_t line = (size_t)(end - g->line);
			memcpy(found, g->line, line);
			found[line] = '\0';
			g->len -= line + 1;
			memmove(g->line, end + 1, g->len);
			if (!strncmp(found, start, strlen(start)))
				return found + strlen(start);
		}
		ssize_t got = g->len < sizeof(g->line) ? read(g->from, g->line + g->len, sizeof(g->line) - g->len) : 0;
		if (got <= 0) {
			fprintf(stderr, "parts: the guest did not say '%s'\n", start);
			exit(1);
		}
		g->len += (size_t)got;
	}
}

static uint64_t number_of(const char *line, const char *name)
{
	const char *at = strstr(line, name);
	return at ? strtoull(at + strlen(name), NULL, 0) : 0;
}

int parts_guest_open(const char *kernel, struct parts_guest **out)
{
	struct parts_guest *g = calloc(1, sizeof(*g));
	int in[2], from[2];
	if (!g || pipe2(in, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0) {
		perror("parts");
		free(g);
		return -ENOMEM;
	}
	fflush(stdout);
	g->kernel = kernel;
	g->own_in = dup(STDIN_FILENO);
	g->own_out = dup(STDOUT_FILENO);
	dup2(in[0], STDIN_FILENO);
	dup2(from[1], STDOUT_FILENO);
	close(in[0]);
	close(from[1]);
	g->to = in[1];
	g->from = from[0];
	stdout = fdopen(g->own_out, "w");
	int ret = -pthread_create(&g->thread, NULL, run_machine, g);
	if (ret)
		return ret;
	const char *line = wait_line(g, "pager: ready");
	g->gpa = number_of(line, " gpa=");
	g->stamps = number_of(line, " stamps=");
	*out = g;
	return 0;
}

int parts_guest_run(struct parts_guest *g, struct parts *p, uint64_t nr, unsigned gap_us)
{
	char command[80];
	void *memory = guest_ram_at(g->machine->ram, g->gpa, nr * PAGE_SIZE);
	uint64_t(*stamps)[2] = guest_ram_at(g->machine->ram, g->stamps, nr * sizeof(*stamps));
	if (!memory || !stamps)
		return -EINVAL;
	madvise(memory, nr * PAGE_SIZE, MADV_DONTNEED);
	int ret = parts_start(p, memory, nr * PAGE_SIZE, nr);
	if (ret)
		return ret;
	int len = snprintf(command, sizeof(command), "touch touches=%llu gap_us=%u\n", (unsigned long long)nr, gap_us);
	if (write(g->to, command, (size_t)len) != len)
		return -EIO;
	wait_line(g, "pager: touched");
	parts_stop(p);
	for (uint64_t i = 0; i < nr; i++) {
		p->stamps[i].touch = stamps[i][0];
		p->stamps[i].touched = stamps[i][1];
	}
	return 0;
}

void parts_guest_close(struct parts_guest *g)
{
	(void)!write(g->to, "quit\n", 5);
	pthread_join(g->thread, NULL);
	close(g->to);
	close(g->from);
	dup2(g->own_in, STDIN_FILENO);
	close(g->own_in);
	free(g);
}
