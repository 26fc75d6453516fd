/*
 * See pins.h. vCPU threads are known by their names, which the VMM gives them before it answers anything: "CPU 0/KVM". A device's thread is made when its driver begins,
 * and has the CPUs of whoever made it: so pins are given again and again (guests_create()).
 */
#include "host/pins.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/guest.h"

#define MOST_VCPU 254
#define EMULATOR "emulator"
#define NOBODY (-2)

/* --- as text --- */

static bool take_number(const char **at, unsigned *value)
{
	unsigned n = 0;
	if (!isdigit((unsigned char)**at))
		return false;
	for (; isdigit((unsigned char)**at); (*at)++) {
		n = n * 10 + (unsigned)(**at - '0');
		if (n >= TOPOLOGY_MOST_CPUS)
			return false;
	}
	*value = n;
	return true;
}

int pins_parse_cpus(const char *text, struct topology_cpus *cpus)
{
	struct topology_cpus set = {{0}};
	char written[PINS_CPUS_BYTES];
	const char *at = text;
	for (;;) {
		unsigned first, last;
		if (!take_number(&at, &first))
			return -EINVAL;
		last = first;
		if (*at == '-') {
			at++;
			if (!take_number(&at, &last) || last < first)
				return -EINVAL;
		}
		for (unsigned cpu = first; cpu <= last; cpu++)
			set.bits[cpu / 64] |= 1ull << cpu % 64;
		if (!*at)
			break;
		if (*at++ != ',')
			return -EINVAL;
	}
	topology_list_cpus(&set, written, sizeof(written));
	if (strlen(written) >= sizeof(written) - 1)
		return -EINVAL;
	*cpus = set;
	return 0;
}

/* "0:2-3" */
static int parse(const char *text, int *who, struct topology_cpus *cpus)
{
	const char *colon = text ? strchr(text, ':') : NULL, *at = text;
	unsigned vcpu;
	if (!colon)
		return -EINVAL;
	if ((size_t)(colon - text) == strlen(EMULATOR) && !memcmp(text, EMULATOR, strlen(EMULATOR)))
		*who = PINS_EMULATOR;
	else if (take_number(&at, &vcpu) && at == colon && vcpu <= MOST_VCPU)
		*who = (int)vcpu;
	else
		return -EINVAL;
	return pins_parse_cpus(colon + 1, cpus);
}

/* All of a definition, by number; the emulator is first. */
#define NR_WHO (MOST_VCPU + 2)
#define AT(who) ((who) + 1)
struct table {
	bool is_pinned[NR_WHO];
	struct topology_cpus cpus[NR_WHO];
};

/* A new one. Returns NULL, with -ENOMEM or -EINVAL in *ret, and a sentence. */
static struct table *read_table(const json_t *pins, int *ret, struct error *err)
{
	struct topology_cpus cpus = {{0}};
	const json_t *item;
	size_t i;
	int who = 0;
	struct table *t = calloc(1, sizeof(*t));
	*ret = t ? 0 : error_set(err, ENOMEM, "out of memory");
	if (!t)
		return NULL;
	json_array_foreach(pins, i, item)
	{
		const char *text = json_string_value(item);
		if (parse(text, &who, &cpus) != 0)
			*ret = error_set(err, EINVAL,
					 "pins[%zu]: must be the number of a vCPU, or " EMULATOR
					 ", and CPUs of the host, such as 0:2-3,5",
					 i);
		else if (t->is_pinned[AT(who)])
			*ret = error_set(err, EINVAL, "pins[%zu]: \"%.20s\" is pinned already", i, text);
		if (*ret) {
			free(t);
			return NULL;
		}
		t->is_pinned[AT(who)] = true;
		t->cpus[AT(who)] = cpus;
	}
	return t;
}

static bool add(json_t *array, int who, const struct topology_cpus *cpus)
{
	char list[PINS_CPUS_BYTES], text[PINS_CPUS_BYTES + 16];
	topology_list_cpus(cpus, list, sizeof(list));
	if (who == PINS_EMULATOR)
		snprintf(text, sizeof(text), EMULATOR ":%s", list);
	else
		snprintf(text, sizeof(text), "%d:%s", who, list);
	return json_array_append_new(array, json_string(text)) == 0;
}

static bool write_table(const struct table *t, json_t *array)
{
	bool good = true;
	for (int who = PINS_EMULATOR; good && who <= MOST_VCPU; who++)
		if (t->is_pinned[AT(who)])
			good = add(array, who, &t->cpus[AT(who)]);
	return good;
}

int pins_check(json_t *pins, struct error *err)
{
	int ret;
	if (!json_is_array(pins) || json_array_size(pins) > NR_WHO)
		return error_set(err, EINVAL, "pins: must be an array of up to %d strings", NR_WHO);
	struct table *t = read_table(pins, &ret, err);
	if (!t)
		return ret;
	json_array_clear(pins);
	if (!write_table(t, pins))
		ret = error_set(err, ENOMEM, "out of memory");
	free(t);
	return ret;
}

bool pins_find(const json_t *pins, int wanted, struct topology_cpus *cpus)
{
	struct topology_cpus of_one;
	const json_t *item;
	size_t i;
	int who;
	json_array_foreach(pins, i, item)
	{
		if (parse(json_string_value(item), &who, &of_one) == 0 && who == wanted) {
			*cpus = of_one;
			return true;
		}
	}
	return false;
}

json_t *pins_with(const json_t *pins, int who, const struct topology_cpus *cpus)
{
	int ret;
	struct table *t = read_table(pins, &ret, NULL);
	if (!t)
		return NULL;
	json_t *array = json_array();
	t->is_pinned[AT(who)] = cpus != NULL;
	if (cpus)
		t->cpus[AT(who)] = *cpus;
	if (array && !write_table(t, array)) {
		json_decref(array);
		array = NULL;
	}
	free(t);
	return array;
}

/* --- in force --- */

/* The kernel's sets of CPUs are words of 64 bits, as ours. */
void pins_host_cpus(struct topology_cpus *cpus)
{
	memset(cpus, 0, sizeof(*cpus));
	if (sched_getaffinity(0, sizeof(cpus->bits), (cpu_set_t *)(void *)cpus->bits) < 0)
		memset(cpus, 0xff, sizeof(*cpus));
}

/*
 * Returns NOBODY for threads that are not to be pinned: those of the memory manager choose their CPU themselves, next to the vCPU that waits for them
 * (memmgr/handler_place.h), and KVM's belong to the kernel.
 */
static int who_is(int process, const char *thread)
{
	char path[340], name[32] = "";
	unsigned vcpu;
	int end = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", process, thread);
	FILE *file = fopen(path, "re");
	if (file && !fgets(name, sizeof(name), file))
		*name = '\0';
	if (file)
		fclose(file);
	if (!strncmp(name, "mem-", 4) || !strncmp(name, "kvm-", 4) || !*name)
		return NOBODY;
	return sscanf(name, "CPU %u/KVM%n", &vcpu, &end) == 1 && end && vcpu <= MOST_VCPU ? (int)vcpu : PINS_EMULATOR;
}

static int give(const struct guest *g, int thread, int who, const struct topology_cpus *cpus, struct error *err)
{
	struct topology_cpus has = {{0}};
	char list[PINS_CPUS_BYTES];
	if (sched_getaffinity(thread, sizeof(has.bits), (cpu_set_t *)(void *)has.bits) >= 0 && !memcmp(&has, cpus, sizeof(has)))
		return 0;
	if (sched_setaffinity(thread, sizeof(cpus->bits), (const cpu_set_t *)(const void *)cpus->bits) == 0 || errno == ESRCH)
		return 0;
	int why = errno;
	topology_list_cpus(cpus, list, sizeof(list));
	return error_set(err, why, "%s: %s %d cannot be given CPUs %.200s: %s", g->definition->name,
			 who == PINS_EMULATOR ? "thread" : "vCPU", who == PINS_EMULATOR ? thread : who, list, strerror(why));
}

int pins_apply(const struct guest *g, const json_t *was, struct error *err)
{
	const json_t *pins = json_object_get(guest_in_force(g)->json, "pins");
	struct topology_cpus host;
	char path[64];
	int ret;
	if (!guest_has_vmm(g) || (json_array_size(pins) == 0 && json_array_size(was) == 0))
		return 0;
	struct table *now = read_table(pins, &ret, err), *before = now ? read_table(was, &ret, err) : NULL;
	if (!before) {
		free(now);
		return ret;
	}
	pins_host_cpus(&host);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)g->process.pid);
	DIR *tasks = opendir(path);
	const struct dirent *entry;
	while (tasks && (entry = readdir(tasks)) != NULL) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		int thread = (int)strtol(entry->d_name, NULL, 10), who = who_is((int)g->process.pid, entry->d_name), failed = 0;
		if (who == NOBODY)
			continue;
		if (now->is_pinned[AT(who)])
			failed = give(g, thread, who, &now->cpus[AT(who)], err);
		else if (before->is_pinned[AT(who)])
			failed = give(g, thread, who, &host, err);
		ret = failed ? failed : ret;
	}
	if (tasks)
		closedir(tasks);
	free(before);
	free(now);
	return ret;
}
