/*
 * See topology.h. Whatever is read is bounded: a file's length, numbers of nodes and CPUs, digits of a number; a set or a distance that does not
 * add up is refused, not guessed.
 */
#include "host/topology.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define REMOTE 20
#define MOST_BYTES (1ull << 56) /* of a node's memory */

enum { FILE_BYTES = 64 * 1024 };

/* --- words --- */

/* What is left of a text. Not terminated by a zero. */
struct text {
	const char *at, *end;
};

static void skip_blanks(struct text *t)
{
	while (t->at < t->end && (*t->at == ' ' || *t->at == '\t' || *t->at == '\r'))
		t->at++;
}

/* The next line, without its newline and comment. Returns false at the end. */
static bool next_line(struct text *t, struct text *line)
{
	if (t->at == t->end)
		return false;
	const char *end = memchr(t->at, '\n', (size_t)(t->end - t->at));
	*line = (struct text){t->at, end ? end : t->end};
	t->at = end ? end + 1 : t->end;
	const char *comment = memchr(line->at, '#', (size_t)(line->end - line->at));
	line->end = comment ? comment : line->end;
	return true;
}

/* The next word; empty at the end. */
static struct text next_word(struct text *t)
{
	skip_blanks(t);
	struct text word = {t->at, t->at};
	while (word.end < t->end && !isspace((unsigned char)*word.end))
		word.end++;
	t->at = word.end;
	return word;
}

static size_t length(struct text t)
{
	return (size_t)(t.end - t.at);
}

static bool is_word(struct text word, const char *what)
{
	return length(word) == strlen(what) && !memcmp(word.at, what, length(word));
}

/* Takes a decimal number off the front, up to most. */
static bool take_number(struct text *t, uint64_t most, uint64_t *number)
{
	uint64_t n = 0;
	const char *start = t->at;
	for (; t->at < t->end && isdigit((unsigned char)*t->at); t->at++) {
		unsigned digit = (unsigned)(*t->at - '0');
		if (n > (most - digit) / 10 || digit > most)
			return false;
		n = n * 10 + digit;
	}
	*number = n;
	return t->at != start;
}

static bool parse_number(struct text word, uint64_t most, uint64_t *number)
{
	return take_number(&word, most, number) && word.at == word.end;
}

/* "64G", in pages. */
static bool parse_size(struct text word, uint64_t *nr_pages)
{
	static const char units[] = "KMGT";
	uint64_t bytes;
	if (!take_number(&word, MOST_BYTES, &bytes))
		return false;
	const char *unit = word.at < word.end ? memchr(units, toupper((unsigned char)*word.at), 4) : NULL;
	if (unit) {
		unsigned shift = 10 * (unsigned)(unit - units + 1);
		if (bytes > MOST_BYTES >> shift)
			return false;
		bytes <<= shift;
		word.at++;
	}
	*nr_pages = bytes / PAGE_BYTES;
	return word.at == word.end;
}

/* "0-3,8" into bits below most. Each may be named once. An empty word is an empty set. */
static bool parse_set(struct text word, uint64_t *bits, unsigned most, unsigned *nr)
{
	unsigned count = 0;
	while (word.at < word.end) {
		uint64_t first, last;
		if (!take_number(&word, most - 1, &first))
			return false;
		last = first;
		if (word.at < word.end && *word.at == '-') {
			word.at++;
			if (!take_number(&word, most - 1, &last) || last < first)
				return false;
		}
		for (uint64_t i = first; i <= last; i++) {
			if (bits[i / 64] >> (i % 64) & 1)
				return false;
			bits[i / 64] |= 1ull << (i % 64);
			count++;
		}
		if (word.at < word.end && (*word.at++ != ',' || word.at == word.end))
			return false;
	}
	*nr = count;
	return true;
}

/* Distances up to the end of the line. Returns how many, or -1. */
static int parse_distances(struct text *line, uint8_t *distance)
{
	int nr = 0;
	for (struct text word; length(word = next_word(line)); nr++) {
		uint64_t value;
		if (nr == TOPOLOGY_MOST_NODES || !parse_number(word, 255, &value) || value < TOPOLOGY_LOCAL)
			return -1;
		distance[nr] = (uint8_t)value;
	}
	return nr;
}

/* --- what must hold of the whole --- */

/* The same CPU in two nodes, a distance that cannot be, no memory at all. Returns a word of complaint, or NULL. */
static const char *find_fault(const struct topology *t)
{
	struct topology_cpus seen = {{0}};
	uint64_t nr_pages = 0;
	if (t->nr_nodes == 0)
		return "there is no node";
	for (unsigned i = 0; i < t->nr_nodes; i++) {
		const struct topology_node *node = &t->nodes[i];
		if (i && node->id <= t->nodes[i - 1].id)
			return "the numbers of nodes do not ascend";
		for (unsigned w = 0; w < TOPOLOGY_MOST_CPUS / 64; w++) {
			if (seen.bits[w] & node->cpus.bits[w])
				return "a CPU belongs to two nodes";
			seen.bits[w] |= node->cpus.bits[w];
		}
		if (node->free_pages > node->nr_pages)
			return "a node has more free memory than it has";
		for (unsigned j = 0; j < t->nr_nodes; j++) {
			if (node->distance[j] < TOPOLOGY_LOCAL || (i == j && node->distance[j] != TOPOLOGY_LOCAL))
				return "a node's distance to itself is 10, and to others not less";
		}
		nr_pages += node->nr_pages;
	}
	return nr_pages ? NULL : "no node has memory";
}

static void default_distances(const struct topology *t, unsigned index, uint8_t *distance)
{
	for (unsigned j = 0; j < t->nr_nodes; j++)
		distance[j] = j == index ? TOPOLOGY_LOCAL : REMOTE;
}

/* --- a file --- */

/* "node 0 cpus 0-3 memory 64G ...": returns a word of complaint, or NULL. *nr_distances: -1 without. */
static const char *parse_node(struct text line, struct topology_node *node, int *nr_distances)
{
	uint64_t id;
	bool has_cpus = false, has_memory = false, has_free = false;
	*node = (struct topology_node){.id = 0};
	*nr_distances = -1;
	next_word(&line); /* "node" */
	if (!parse_number(next_word(&line), TOPOLOGY_MOST_NODES - 1, &id))
		return "a node's number, 0 to 63, comes first";
	node->id = (unsigned)id;
	for (struct text word; length(word = next_word(&line));) {
		if (is_word(word, "cpus") && !has_cpus) {
			has_cpus = true;
			if (!parse_set(next_word(&line), node->cpus.bits, TOPOLOGY_MOST_CPUS, &node->nr_cpus) || !node->nr_cpus)
				return "cpus takes numbers below 4096, as 0-3,8";
		} else if (is_word(word, "memory") && !has_memory) {
			has_memory = true;
			if (!parse_size(next_word(&line), &node->nr_pages))
				return "memory takes a size, as 64G";
		} else if (is_word(word, "free") && !has_free) {
			has_free = true;
			if (!parse_size(next_word(&line), &node->free_pages))
				return "free takes a size, as 60G";
		} else if (is_word(word, "distance")) {
			*nr_distances = parse_distances(&line, node->distance);
			if (*nr_distances <= 0)
				return "distance takes numbers from 10 to 255, one for each node, to the end of the line";
		} else {
			return "there are cpus, memory, free and distance, each once";
		}
	}
	if (!has_memory)
		return "memory is missing";
	if (!has_free)
		node->free_pages = node->nr_pages;
	return NULL;
}

int topology_parse(const char *text, size_t len, struct topology *t, struct error *err)
{
	struct text rest = {text, text + len}, line;
	int nr_distances[TOPOLOGY_MOST_NODES] = {0};
	const char *fault = NULL;
	unsigned nr_lines = 0;
	t->nr_nodes = 0;
	for (; !fault && next_line(&rest, &line); nr_lines++) {
		struct text look = line, word = next_word(&look);
		if (length(word) == 0)
			continue;
		if (!is_word(word, "node"))
			fault = "a line begins with \"node\", or with # for a comment";
		else if (t->nr_nodes == TOPOLOGY_MOST_NODES)
			fault = "there are more than 64 nodes";
		else
			fault = parse_node(line, &t->nodes[t->nr_nodes], &nr_distances[t->nr_nodes]);
		t->nr_nodes += !fault;
	}
	if (fault)
		return error_set(err, EINVAL, "topology, line %u: %s", nr_lines, fault);
	for (unsigned i = 0; i < t->nr_nodes; i++) {
		if (nr_distances[i] < 0)
			default_distances(t, i, t->nodes[i].distance);
		else if ((unsigned)nr_distances[i] != t->nr_nodes)
			return error_set(err, EINVAL, "topology: node %u has %d distances, but there are %u nodes", t->nodes[i].id,
					 nr_distances[i], t->nr_nodes);
	}
	fault = find_fault(t);
	return fault ? error_set(err, EINVAL, "topology: %s", fault) : 0;
}

/* Reads a whole file of at most size bytes. Returns how many, or -errno. */
static ssize_t read_file(int directory, const char *path, char *bytes, size_t size)
{
	int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	size_t len = 0;
	ssize_t nr = 0;
	while (len < size && (nr = read(fd, bytes + len, size - len)) > 0)
		len += (size_t)nr;
	int ret = nr < 0 ? -errno : len == size ? -EFBIG : 0;
	close(fd);
	return ret ? ret : (ssize_t)len;
}

int topology_load(const char *path, struct topology *t, struct error *err)
{
	char bytes[FILE_BYTES];
	ssize_t len = read_file(AT_FDCWD, path, bytes, sizeof(bytes));
	if (len < 0)
		return error_set(err, (int)-len, "topology: cannot read %.200s: %s", path, strerror((int)-len));
	int ret = topology_parse(bytes, (size_t)len, t, err);
	if (ret)
		error_prefix(err, "%.200s", path);
	return ret;
}

/* --- the kernel's --- */

enum { NODE_FILE_BYTES = 16384 };

/* "Node 0 MemTotal:       16384 kB" */
static bool find_kib(struct text meminfo, const char *name, uint64_t *nr_pages)
{
	for (struct text line; next_line(&meminfo, &line);) {
		uint64_t kib;
		next_word(&line);
		next_word(&line);
		if (!is_word(next_word(&line), name))
			continue;
		if (!parse_number(next_word(&line), MOST_BYTES >> 10, &kib) || !is_word(next_word(&line), "kB"))
			return false;
		*nr_pages = kib / (PAGE_BYTES >> 10);
		return true;
	}
	return false;
}

/* The text of a file below the node directory. */
static int read_text(int directory, const char *path, char *bytes, struct text *text, struct error *err)
{
	ssize_t len = read_file(directory, path, bytes, NODE_FILE_BYTES);
	if (len < 0) {
		error_set(err, (int)-len, "host topology: cannot read devices/system/node/%s: %s", path, strerror((int)-len));
		return (int)len;
	}
	*text = (struct text){bytes, bytes + len};
	return 0;
}

static int read_node_text(int directory, unsigned node, const char *name, char *bytes, struct text *text, struct error *err)
{
	char path[64];
	snprintf(path, sizeof(path), "node%u/%s", node, name);
	return read_text(directory, path, bytes, text, err);
}

static int read_node(int directory, struct topology *t, struct topology_node *node, struct error *err)
{
	char bytes[NODE_FILE_BYTES] = {0};
	struct text text = {NULL, NULL};
	int ret = read_node_text(directory, node->id, "cpulist", bytes, &text, err);
	if (ret)
		return ret;
	if (!parse_set(next_word(&text), node->cpus.bits, TOPOLOGY_MOST_CPUS, &node->nr_cpus))
		return error_set(err, EINVAL, "host topology: node%u/cpulist is not a set of CPUs below %d", node->id,
				 TOPOLOGY_MOST_CPUS);
	ret = read_node_text(directory, node->id, "meminfo", bytes, &text, err);
	if (ret)
		return ret;
	if (!find_kib(text, "MemTotal:", &node->nr_pages) || !find_kib(text, "MemFree:", &node->free_pages))
		return error_set(err, EINVAL, "host topology: node%u/meminfo does not say MemTotal and MemFree", node->id);
	/* Read one after the other while memory comes and goes. */
	if (node->free_pages > node->nr_pages)
		node->free_pages = node->nr_pages;
	ret = read_node_text(directory, node->id, "distance", bytes, &text, err);
	if (ret)
		return ret;
	struct text line = {text.at, text.at};
	next_line(&text, &line);
	if (parse_distances(&line, node->distance) != (int)t->nr_nodes)
		return error_set(err, EINVAL, "host topology: node%u/distance has not one number, from 10 on, for each node",
				 node->id);
	return 0;
}

/* A kernel without NUMA: all that there is. */
static void one_node(struct topology *t)
{
	struct topology_node *node = &t->nodes[0];
	long nr_cpus = sysconf(_SC_NPROCESSORS_ONLN), total = sysconf(_SC_PHYS_PAGES), available = sysconf(_SC_AVPHYS_PAGES);
	*node = (struct topology_node){.id = 0, .distance = {TOPOLOGY_LOCAL}};
	node->nr_cpus = nr_cpus < 1 ? 1 : nr_cpus > TOPOLOGY_MOST_CPUS ? TOPOLOGY_MOST_CPUS : (unsigned)nr_cpus;
	for (unsigned cpu = 0; cpu < node->nr_cpus; cpu++)
		node->cpus.bits[cpu / 64] |= 1ull << (cpu % 64);
	node->nr_pages = total > 0 ? (uint64_t)total : 1;
	node->free_pages = available > 0 && available < total ? (uint64_t)available : 0;
	t->nr_nodes = 1;
}

int topology_read_host(const char *sys, struct topology *t, struct error *err)
{
	char path[256], bytes[NODE_FILE_BYTES] = {0};
	uint64_t online[1] = {0};
	unsigned nr = 0;
	struct text text = {NULL, NULL};
	snprintf(path, sizeof(path), "%s/devices/system/node", sys);
	int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0 && errno == ENOENT) {
		one_node(t);
		return 0;
	}
	if (directory < 0)
		return error_set(err, errno, "host topology: cannot open %s: %s", path, strerror(errno));
	int ret = read_text(directory, "online", bytes, &text, err);
	if (ret == 0 && (!parse_set(next_word(&text), online, TOPOLOGY_MOST_NODES, &nr) || nr == 0))
		ret = error_set(err, EINVAL, "host topology: %s/online is not a set of nodes below %d", path, TOPOLOGY_MOST_NODES);
	if (ret == 0) {
		t->nr_nodes = nr;
		for (unsigned id = 0, i = 0; ret == 0 && id < TOPOLOGY_MOST_NODES; id++) {
			if (!(online[0] >> id & 1))
				continue;
			t->nodes[i] = (struct topology_node){.id = id};
			ret = read_node(directory, t, &t->nodes[i++], err);
		}
	}
	close(directory);
	const char *fault = ret ? NULL : find_fault(t);
	return fault ? error_set(err, EINVAL, "host topology: %s", fault) : ret;
}

/* --- asking, writing --- */

int topology_find(const struct topology *t, unsigned id)
{
	for (unsigned i = 0; i < t->nr_nodes; i++)
		if (t->nodes[i].id == id)
			return (int)i;
	return -1;
}

bool topology_has_cpu(const struct topology_node *node, unsigned cpu)
{
	return cpu < TOPOLOGY_MOST_CPUS && (node->cpus.bits[cpu / 64] >> (cpu % 64) & 1);
}

void topology_list_cpus(const struct topology_cpus *cpus, char *text, size_t size)
{
	const struct topology_node node = {.cpus = *cpus};
	size_t at = 0;
	if (size)
		text[0] = '\0';
	for (unsigned cpu = 0; cpu < TOPOLOGY_MOST_CPUS && at < size; cpu++) {
		if (!topology_has_cpu(&node, cpu))
			continue;
		unsigned last = cpu;
		while (topology_has_cpu(&node, last + 1))
			last++;
		at += (size_t)snprintf(text + at, size - at, last > cpu ? "%s%u-%u" : "%s%u", at ? "," : "", cpu, last);
		cpu = last;
	}
}

int topology_write(const struct topology *t, FILE *to)
{
	char cpus[TOPOLOGY_MOST_CPUS * 5];
	for (unsigned i = 0; i < t->nr_nodes; i++) {
		const struct topology_node *node = &t->nodes[i];
		topology_list_cpus(&node->cpus, cpus, sizeof(cpus));
		fprintf(to, "node %u%s%s memory %lluK free %lluK distance", node->id, *cpus ? " cpus " : "", cpus,
			(unsigned long long)node->nr_pages * (PAGE_BYTES >> 10),
			(unsigned long long)node->free_pages * (PAGE_BYTES >> 10));
		for (unsigned j = 0; j < t->nr_nodes; j++)
			fprintf(to, " %u", node->distance[j]);
		fputc('\n', to);
	}
	return fflush(to) || ferror(to) ? -EIO : 0;
}
