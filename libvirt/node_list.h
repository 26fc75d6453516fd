/* Sets of the host's NUMA nodes, a bit for each, as text ("0-1,3") and as the definition has them. */
#ifndef LIBVIRT_NODE_LIST_H
#define LIBVIRT_NODE_LIST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "" of none. Cut to the size. */
void node_list_text(uint64_t nodes, char *text, size_t size);
/* Returns false for what is no such text, or names a node above 63. */
bool node_list_parse(const char *text, uint64_t *nodes);
/* A new array of numbers. NULL without memory. */
json_t *node_list_json(uint64_t nodes);

#endif
