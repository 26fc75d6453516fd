/* See placement_words.h. */
#include "host/placement_words.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memmgr/os.h"

#define WORD_BYTES 160u

/* Returns where to print the next word, or NULL. */
static char *add_word(struct placement_words *w)
{
	char *word = mem_calloc(1, WORD_BYTES);
	if (word)
		w->words[w->nr++] = word;
	return word;
}

static int add(struct placement_words *w, const char *option, const char *value)
{
	char *words[2] = {add_word(w), add_word(w)};
	if (!words[0] || !words[1])
		return -ENOMEM;
	snprintf(words[0], WORD_BYTES, "%s", option);
	snprintf(words[1], WORD_BYTES, "%s", value);
	return 0;
}

static int add_memory(const struct topology *t, const struct placement_vnode *v, unsigned number, struct placement_words *w)
{
	char value[WORD_BYTES];
	snprintf(value, sizeof(value), "memory-backend-ram,id=ram%u,size=%lluK,host-nodes=%u,policy=preferred", number,
		 (unsigned long long)v->nr_pages * 4, t->nodes[v->node].id);
	return add(w, "-object", value);
}

static int add_node(const struct placement_vnode *v, unsigned number, struct placement_words *w)
{
	char value[WORD_BYTES], cpus[48] = "";
	if (v->nr_vcpus == 1)
		snprintf(cpus, sizeof(cpus), ",cpus=%u", v->first_vcpu);
	else if (v->nr_vcpus)
		snprintf(cpus, sizeof(cpus), ",cpus=%u-%u", v->first_vcpu, v->first_vcpu + v->nr_vcpus - 1);
	snprintf(value, sizeof(value), "node,nodeid=%u,memdev=ram%u%s", number, number, cpus);
	return add(w, "-numa", value);
}

static int add_distances(const struct topology *t, const struct placement *p, unsigned from, struct placement_words *w)
{
	int ret = 0;
	for (unsigned to = 0; to < p->nr_vnodes && ret == 0; to++) {
		char value[WORD_BYTES];
		unsigned distance = t->nodes[p->vnodes[from].node].distance[p->vnodes[to].node];
		if (to == from)
			continue;
		/* That of a node to itself is said of no other. */
		if (distance <= TOPOLOGY_LOCAL)
			distance = TOPOLOGY_LOCAL + 1;
		snprintf(value, sizeof(value), "dist,src=%u,dst=%u,val=%u", from, to, distance);
		ret = add(w, "-numa", value);
	}
	return ret;
}

int placement_words_make(const struct topology *t, const struct placement *p, struct placement_words *words)
{
	int ret = 0;
	*words = (struct placement_words){.nr = 0};
	for (unsigned v = 0; v < p->nr_vnodes && ret == 0; v++) {
		ret = add_memory(t, &p->vnodes[v], v, words);
		if (ret == 0 && p->nr_vnodes > 1)
			ret = add_node(&p->vnodes[v], v, words);
	}
	for (unsigned v = 0; v < p->nr_vnodes && ret == 0; v++)
		ret = add_distances(t, p, v, words);
	if (ret == 0 && p->nr_vnodes == 1)
		ret = add(words, "-machine", "memory-backend=ram0");
	if (ret)
		placement_words_free(words);
	return ret;
}

void placement_words_free(struct placement_words *words)
{
	for (unsigned i = 0; i < words->nr; i++)
		mem_free(words->words[i]);
	*words = (struct placement_words){.nr = 0};
}
