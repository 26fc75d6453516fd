/*
 * Prints where the placement would put a guest on this host, as words for pagoda-vmm, one a line.
 *
 *   place [--topology FILE] [--write-topology] [MIB:VCPUS:NODE...] MIB:VCPUS
 *
 * Guests with a NODE (its number) are there already. --write-topology prints the host's instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/placement.h"
#include "host/placement_words.h"

#define MOST_GUESTS 64

static int fail(const char *text)
{
	fprintf(stderr, "place: %s\n", text);
	return EXIT_FAILURE;
}

/* "256:2:1"; without a node it is to be placed. */
static const char *parse_guest(const char *text, const struct topology *t, struct placement_guest *guest)
{
	unsigned mib, vcpus, node;
	int nr = sscanf(text, "%5u:%3u:%2u", &mib, &vcpus, &node); /* NOLINT(cert-err34-c): bounded by digits */
	if (nr < 2 || mib == 0 || vcpus == 0)
		return "a guest is MIB:VCPUS or MIB:VCPUS:NODE";
	*guest = (struct placement_guest){
		.nr_pages = mib * 256ull, .demand_pages = mib * 256ull, .nr_vcpus = vcpus, .vcpu_permille = 200};
	if (nr == 2)
		return NULL;
	int index = topology_find(t, node);
	if (index < 0)
		return "the host has no such node";
	guest->at = (struct placement){.nr_vnodes = 1,
				       .vnodes = {{.node = (unsigned)index, .nr_pages = guest->nr_pages, .nr_vcpus = vcpus}}};
	return NULL;
}

int main(int argc, char **argv)
{
	static struct topology topology;
	static struct placement_guest guests[MOST_GUESTS];
	struct placement_settings settings;
	struct placement_host host = {.topology = &topology, .guests = guests};
	struct placement_guest guest = {.nr_pages = 0};
	struct placement_words words;
	struct placement where;
	struct error err;
	int at = 1;
	int ret = 0;
	if (argc > 2 && !strcmp(argv[1], "--topology")) {
		ret = topology_load(argv[2], &topology, &err);
		at = 3;
	} else {
		ret = topology_read_host("/sys", &topology, &err);
	}
	if (ret)
		return fail(err.text);
	if (at < argc && !strcmp(argv[at], "--write-topology"))
		return topology_write(&topology, stdout) ? fail("cannot write") : EXIT_SUCCESS;
	for (; at < argc; at++) {
		const char *wrong = parse_guest(argv[at], &topology, &guest);
		if (wrong)
			return fail(wrong);
		if (guest.at.nr_vnodes == 0)
			break;
		if (host.nr_guests == MOST_GUESTS)
			return fail("too many guests");
		guests[host.nr_guests++] = guest;
	}
	if (at + 1 != argc)
		return fail("the guest to place comes last");
	placement_settings_init(&settings);
	ret = placement_choose(&host, &settings, &guest, NULL, 0, &where, &err);
	if (ret)
		return fail(err.text);
	if (where.overfull)
		return fail("no node has room");
	if (placement_words_make(&topology, &where, &words) != 0)
		return fail("out of memory");
	for (unsigned i = 0; i < words.nr; i++)
		puts(words.words[i]);
	placement_words_free(&words);
	return EXIT_SUCCESS;
}
