/* See guest_words.h. */
#include "host/guest_words.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 16384
#define FIRST_MERGE_CPU 10 /* percent; until the arbiter says, within a second */

static void add(json_t *words, const char *word)
{
	/* What is missing at the end is noticed there. */
	if (json_array_append_new(words, json_string(word)) < 0)
		json_array_clear(words);
}

static void add_two(json_t *words, const char *option, const char *value)
{
	if (!value)
		return;
	add(words, option);
	add(words, value);
}

/* A value in a list: its commas are doubled. Texts have room for what definition.c lets through; what is longer is left out. */
static void append_value(char *text, size_t size, const char *key, const char *value)
{
	size_t len = strlen(text);
	if (!value || len + strlen(key) + 2 * strlen(value) + 3 > size)
		return;
	len += (size_t)sprintf(text + len, ",%s=", key);
	for (; *value; value++) {
		text[len++] = *value;
		if (*value == ',')
			text[len++] = ',';
	}
	text[len] = '\0';
}

static void add_drives(json_t *words, const json_t *drives)
{
	static const char *const keys[] = {"format", "cache", "discard", "serial"};
	const json_t *drive;
	size_t i;
	char text[TEXT_BYTES];
	json_array_foreach(drives, i, drive)
	{
		strcpy(text, "if=virtio");
		append_value(text, sizeof(text), "file", json_string_value(json_object_get(drive, "file")));
		for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++)
			append_value(text, sizeof(text), keys[k], json_string_value(json_object_get(drive, keys[k])));
		append_value(text, sizeof(text), "readonly", json_is_true(json_object_get(drive, "readonly")) ? "on" : "off");
		add_two(words, "-drive", text);
	}
}

static void add_netdevs(json_t *words, const json_t *netdevs)
{
	const json_t *netdev, *forward;
	size_t i, k;
	char text[TEXT_BYTES], id[32];
	json_array_foreach(netdevs, i, netdev)
	{
		const char *kind = json_string_value(json_object_get(netdev, "kind"));
		snprintf(id, sizeof(id), "net%zu", i);
		snprintf(text, sizeof(text), "%s,id=%s", kind, id);
		append_value(text, sizeof(text), "ifname", json_string_value(json_object_get(netdev, "ifname")));
		if (!strcmp(kind, "stream"))
			append_value(text, sizeof(text), "addr.type", "unix");
		append_value(text, sizeof(text), "addr.path", json_string_value(json_object_get(netdev, "path")));
		json_array_foreach(json_object_get(netdev, "hostfwd"), k, forward)
			append_value(text, sizeof(text), "hostfwd", json_string_value(forward));
		add_two(words, "-netdev", text);
		snprintf(text, sizeof(text), "virtio-net-pci,netdev=%s", id);
		append_value(text, sizeof(text), "mac", json_string_value(json_object_get(netdev, "mac")));
		add_two(words, "-device", text);
	}
}

static void add_memory(json_t *words, const struct definition *d, const struct guest_places *p)
{
	static const char *const merges[] = {"on", "off", "ksm"};
	char text[TEXT_BYTES], number[32];
	bool shares = d->merge == DEFINITION_MERGE_ON && !d->pinned;
	strcpy(text, "pagoda");
	append_value(text, sizeof(text), "mem-merge", d->pinned ? "off" : merges[d->merge]);
	bool placed = p->placement && p->placement->nr;
	if (d->nodes && !placed)
		append_value(text, sizeof(text), "memory-backend", "ram");
	add_two(words, "-machine", text);
	for (unsigned i = 0; placed && i < p->placement->nr; i++)
		add(words, p->placement->words[i]);
	if (d->nodes && !placed) {
		snprintf(text, sizeof(text), "memory-backend-ram,id=ram,size=%" PRIu64 "K,policy=bind", d->memory >> 10);
		for (unsigned n = 0; n < DEFINITION_MOST_NODES; n++)
			if (d->nodes >> n & 1) {
				snprintf(number, sizeof(number), "%u", n);
				append_value(text, sizeof(text), "host-nodes", number);
			}
		add_two(words, "-object", text);
	}
	snprintf(text, sizeof(text), "manager=on,sample-rate=%u", d->pinned ? 0 : GUEST_WORDS_SAMPLE_RATE);
	if (p->target && !d->pinned) {
		snprintf(number, sizeof(number), "%" PRIu64, p->target);
		append_value(text, sizeof(text), "target", number);
	}
	if (p->kernel_tier)
		append_value(text, sizeof(text), "kernel-tier", "on");
	else if (d->swap && !d->pinned)
		append_value(text, sizeof(text), "swap", p->swap);
	add_two(words, "-memory", text);
	if (shares) {
		strcpy(text, d->domain);
		append_value(text, sizeof(text), "socket", p->dedup_socket);
		append_value(text, sizeof(text), "guest", d->name);
		snprintf(number, sizeof(number), "%" PRIu64, d->merge_cpu < FIRST_MERGE_CPU ? d->merge_cpu : FIRST_MERGE_CPU);
		append_value(text, sizeof(text), "cpu", number);
		add_two(words, "-dedup", text);
	}
}

static void add_socket(json_t *words, const char *id, int fd)
{
	char text[64];
	snprintf(text, sizeof(text), "socket,id=%s,fd=%d,server=on,wait=off", id, fd);
	add_two(words, "-chardev", text);
}

json_t *guest_words(const struct definition *d, const struct guest_places *p)
{
	json_t *words = json_array();
	const json_t *word;
	size_t i;
	char text[64];
	if (!words)
		return NULL;
	size_t least = 0;
	add(words, p->vmm);
	add_two(words, "-name", d->name);
	add_two(words, "-uuid", d->uuid);
	snprintf(text, sizeof(text), "%" PRIu64 "K", d->memory >> 10);
	add_two(words, "-m", text);
	snprintf(text, sizeof(text), "%" PRIu64, d->vcpus);
	add_two(words, "-smp", text);
	add_two(words, "-kernel", json_string_value(json_object_get(d->json, "kernel")));
	add_two(words, "-initrd", json_string_value(json_object_get(d->json, "initrd")));
	add_two(words, "-append", json_string_value(json_object_get(d->json, "append")));
	add_memory(words, d, p);
	add_drives(words, json_object_get(d->json, "drives"));
	add_netdevs(words, json_object_get(d->json, "netdevs"));
	if (d->balloon)
		add_two(words, "-device",
			"virtio-balloon-pci,id=balloon,deflate-on-oom=on,free-page-reporting=on,guest-stats-polling-interval=2");
	add_socket(words, "pagodad-qmp", p->qmp_fd);
	add_two(words, "-mon", "chardev=pagodad-qmp,mode=control");
	add_socket(words, "pagodad-console", p->console_fd);
	add_two(words, "-serial", "chardev:pagodad-console");
	add_two(words, "-pidfile", p->pidfile);
	if (p->paused)
		add(words, "-S");
	least = json_array_size(words);
	json_array_foreach(json_object_get(d->json, "words"), i, word) add(words, json_string_value(word));
	/* One that could not be added has taken all before it away. */
	word = json_array_get(words, 0);
	if (json_array_size(words) < least || !word || strcmp(json_string_value(word), p->vmm) != 0) {
		json_decref(words);
		return NULL;
	}
	return words;
}
