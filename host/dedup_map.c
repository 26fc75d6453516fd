/* See dedup_map.h. */
#include "host/dedup_map.h"

#include <errno.h>
#include <string.h>

#include "host/dedup_server_internal.h"
#include "memmgr/os.h"

/* --- guests --- */

static void describe(const struct dedup_server *s, const struct protocol_client *client, struct dedup_map_guest *guest)
{
	uint16_t pool;
	const struct process *process;
	*guest = (struct dedup_map_guest){.client = (uint16_t)client->client, .references = client->references};
	/* One that has left has traces still, but no name. */
	guest->guest = guest->domain = "";
	if (peer_of_client(s, guest->client, &pool, &process, &guest->guest)) {
		guest->domain = broker_domain(s->broker, pool);
		guest->pid = process->pid;
	}
}

bool dedup_map_next_guest(const struct dedup_server *s, uint32_t *at, struct dedup_map_guest *guest)
{
	struct protocol_client client;
	if (*at >= BROKER_MOST_CLIENTS || !broker_next_client(s->broker, (uint16_t)*at, &client))
		return false;
	*at = client.client + 1;
	describe(s, &client, guest);
	return true;
}

bool dedup_map_find_guest(const struct dedup_server *s, uint16_t client, struct dedup_map_guest *guest)
{
	uint32_t at = client;
	return dedup_map_next_guest(s, &at, guest) && guest->client == client;
}

/* --- pools --- */

bool dedup_map_next_pool(const struct dedup_server *s, uint32_t *at, struct dedup_map_pool *pool)
{
	struct pool_stats stats;
	for (; *at < broker_nr_pools(s->broker); ++*at) {
		uint16_t number = (uint16_t)*at;
		if (!broker_pool(s->broker, number))
			continue;
		pool_stats(broker_pool(s->broker, number), &stats);
		*pool = (struct dedup_map_pool){.domain = broker_domain(s->broker, number),
						.node = broker_node(s->broker, number),
						.pages = stats.slots - stats.unclaimed,
						.references = stats.references};
		++*at;
		return true;
	}
	return false;
}

/* --- the set --- */

int dedup_map_open(struct dedup_server *server, struct dedup_map *map)
{
	*map = (struct dedup_map){.sharing = mem_calloc(1, sizeof(*map->sharing))};
	if (!map->sharing)
		return -ENOMEM;
	map->server = server;
	return 0;
}

void dedup_map_add_client(struct dedup_map *map, uint32_t client)
{
	if (client < BROKER_MOST_CLIENTS)
		sharing_ask_about(map->sharing, (uint16_t)client);
}

int dedup_map_add_guest(struct dedup_map *map, const char *name, struct error *err)
{
	const char *slash = strchr(name, '/'), *guest_name = slash ? slash + 1 : name;
	size_t domain_len = slash ? (size_t)(slash - name) : 0;
	struct dedup_map_guest guest;
	bool found = !*name;
	for (uint32_t at = 0; dedup_map_next_guest(map->server, &at, &guest);) {
		if (slash && (strlen(guest.domain) != domain_len || memcmp(guest.domain, name, domain_len) != 0))
			continue;
		if (*guest_name && strcmp(guest.guest, guest_name) != 0)
			continue;
		sharing_ask_about(map->sharing, guest.client);
		found = true;
	}
	return found ? 0 : error_set(err, ENOENT, "no guest '%.140s' shares pages; it may not have asked to, or not run", name);
}

/* --- counting --- */

void dedup_map_start(struct dedup_map *map, void (*done)(struct dedup_map *map))
{
	struct dedup_map **at = &map->server->maps;
	while (*at)
		at = &(*at)->next;
	*at = map;
	map->next = NULL;
	map->done = done;
	map->counting = true;
	server_has_work(map->server);
}

void dedup_map_close(struct dedup_map *map)
{
	if (!map->server)
		return;
	for (struct dedup_map **at = &map->server->maps; map->counting; at = &(*at)->next) {
		if (*at == map) {
			*at = map->next;
			map->counting = false;
			break;
		}
	}
	mem_free(map->sharing);
	*map = (struct dedup_map){.server = NULL};
}

const struct sharing *dedup_map_result(const struct dedup_map *map)
{
	return map->sharing;
}

bool dedup_maps_continue(struct dedup_server *s)
{
	struct dedup_map *map = s->maps;
	if (!map)
		return false;
	if (broker_sharing_step(s->broker, map->sharing, &map->walk))
		return true;
	s->maps = map->next;
	map->counting = false;
	map->done(map); /* which may close it, or ask anew */
	return s->maps != NULL;
}
