/*
 * A topology from anywhere: as a file, and as the files of a tree like the kernel's, parted by lines of "=". What is accepted holds together, is
 * written and read again, and can be used to place a guest.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/placement_words.h"
#include "tests/fuzz/fuzz_input.h"

static const char *const files[] = {"online",        "node0/cpulist", "node0/meminfo", "node0/distance",
				    "node1/cpulist", "node1/meminfo", "node1/distance"};
static char root[64];

static void make_tree(void)
{
	char path[128];
	snprintf(root, sizeof(root), "/tmp/fuzz-topology-%d", (int)getpid());
	static const char *const directories[] = {"",
						  "/devices",
						  "/devices/system",
						  "/devices/system/node",
						  "/devices/system/node/node0",
						  "/devices/system/node/node1"};
	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", root, directories[i]);
		fuzz_need(mkdir(path, 0700) == 0 || errno == EEXIST);
	}
}

static void write_tree(const uint8_t *data, size_t size)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char path[128];
		const uint8_t *end = size ? memchr(data, '=', size) : NULL;
		size_t len = end ? (size_t)(end - data) : size;
		snprintf(path, sizeof(path), "%s/devices/system/node/%s", root, files[i]);
		FILE *file = fopen(path, "we");
		fuzz_need(file != NULL);
		fwrite(data, 1, len, file);
		fclose(file);
		data += end ? len + 1 : len;
		size -= end ? len + 1 : len;
	}
}

static void use(const struct topology *t)
{
	static struct topology again;
	struct placement_settings settings;
	struct placement_host host = {.topology = t};
	struct placement_guest guest = {.nr_pages = 100000, .demand_pages = 70000, .nr_vcpus = 7, .vcpu_permille = 500};
	struct placement p;
	struct placement_words words;
	char *text;
	size_t len;
	uint64_t pages = 0;
	FILE *file = open_memstream(&text, &len);
	fuzz_need(file && topology_write(t, file) == 0);
	fclose(file);
	fuzz_need(topology_parse(text, len, &again, NULL) == 0 && again.nr_nodes == t->nr_nodes);
	free(text);
	placement_settings_init(&settings);
	if (placement_choose(&host, &settings, &guest, NULL, 0, &p, NULL) != 0)
		return;
	for (unsigned v = 0; v < p.nr_vnodes; v++) {
		fuzz_need(p.vnodes[v].node < t->nr_nodes);
		pages += p.vnodes[v].nr_pages;
	}
	fuzz_need(pages == guest.nr_pages);
	if (placement_words_make(t, &p, &words) == 0)
		placement_words_free(&words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct topology t;
	struct error err = {.code = 0};
	if (!root[0])
		make_tree();
	if (topology_parse((const char *)data, size, &t, &err) == 0)
		use(&t);
	else
		fuzz_need(err.text[0]);
	write_tree(data, size);
	if (topology_read_host(root, &t, &err) == 0)
		use(&t);
	else
		fuzz_need(err.text[0]);
	return 0;
}
