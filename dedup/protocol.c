/* See protocol.h. Everything that comes in is checked here first; nothing is used before. */
#include "dedup/protocol.h"

#include <errno.h>
#include <string.h>

#define ROOM (PROTOCOL_MOST_BYTES - sizeof(struct protocol_header))
#define SHARING_ROOM ((ROOM - sizeof(struct protocol_sharing)) / sizeof(struct protocol_sharing_with))

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "layouts are the host's");
_Static_assert(sizeof(struct protocol_header) == 16, "layout");
_Static_assert(sizeof(struct protocol_hello) == 144, "layout");
_Static_assert(sizeof(struct protocol_welcome) == 48, "layout");
_Static_assert(sizeof(struct protocol_refused) == 248, "layout");
_Static_assert(sizeof(struct protocol_offer) == 24, "layout");
_Static_assert(sizeof(struct protocol_content) == 8, "layout");
_Static_assert(sizeof(struct protocol_claim) == 8, "layout");
_Static_assert(sizeof(struct protocol_release) == 8, "layout");
_Static_assert(sizeof(struct protocol_retract) == 8, "layout");
_Static_assert(sizeof(struct protocol_answer) == 4, "layout");
_Static_assert(sizeof(struct protocol_twin) == 8, "layout");
_Static_assert(sizeof(struct protocol_client) == 168, "layout");

struct kind {
	uint32_t size;  /* of an entry */
	uint32_t least; /* entries */
	uint32_t most;
	uint32_t lead; /* bytes before the entries */
	int from_daemon;
};

static const struct kind kinds[] = {
	[PROTOCOL_HELLO] = {sizeof(struct protocol_hello), 1, 1, 0, 0},
	[PROTOCOL_CLAIM] = {sizeof(struct protocol_claim), 1, 1024, 0, 0},
	[PROTOCOL_CLAIMED] = {1, 0, 0, 0, 0},
	[PROTOCOL_OFFER] = {sizeof(struct protocol_offer), 1, 512, 0, 0},
	[PROTOCOL_CONTENT] = {sizeof(struct protocol_content), 1, 512, 0, 0},
	[PROTOCOL_RELEASE] = {sizeof(struct protocol_release), 1, 1024, 0, 0},
	[PROTOCOL_RETRACT] = {sizeof(struct protocol_retract), 1, 1024, 0, 0},
	[PROTOCOL_ASK_STATUS] = {1, 0, 0, 0, 0},
	[PROTOCOL_ASK_CLIENTS] = {sizeof(struct protocol_asked), 1, 1, 0, 0},
	[PROTOCOL_ASK_SHARING] = {sizeof(struct protocol_asked), 1, 1024, 0, 0},
	[PROTOCOL_WELCOME] = {sizeof(struct protocol_welcome), 1, 1, 0, 1},
	[PROTOCOL_REFUSED] = {sizeof(struct protocol_refused), 1, 1, 0, 1},
	[PROTOCOL_ANSWER] = {sizeof(struct protocol_answer), 0, 1024, 0, 1},
	[PROTOCOL_TWIN] = {sizeof(struct protocol_twin), 1, 512, 0, 1},
	[PROTOCOL_STATUS] = {sizeof(struct protocol_status), 1, 1, 0, 1},
	[PROTOCOL_CLIENTS] = {sizeof(struct protocol_client), 0, 96, 0, 1},
	[PROTOCOL_SHARING] = {sizeof(struct protocol_sharing_with), 0, SHARING_ROOM, sizeof(struct protocol_sharing), 1},
};
#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))
_Static_assert(512 * sizeof(struct protocol_offer) <= ROOM, "the largest message of a VMM");
_Static_assert(96 * sizeof(struct protocol_client) <= ROOM, "the largest of the daemon");

uint32_t protocol_most(unsigned type, size_t *size)
{
	if (type >= NR_KINDS || !kinds[type].size)
		return 0;
	*size = kinds[type].size;
	return kinds[type].most;
}

int protocol_is_name(const char name[PROTOCOL_NAME_BYTES])
{
	size_t len = strnlen(name, PROTOCOL_NAME_BYTES);
	if (len == 0 || len == PROTOCOL_NAME_BYTES || name[0] == '.')
		return 0;
	return strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static const char *check_hello(const struct protocol_hello *hello)
{
	if (hello->version != PROTOCOL_VERSION)
		return "another version of the protocol";
	if (!protocol_is_name(hello->domain) || !protocol_is_name(hello->guest))
		return "a name that is none";
	if (hello->nr_pages == 0 || hello->nr_staging_pages == 0 || hello->node < -1 || hello->node > 63)
		return "a guest without pages, staging or such a node";
	return NULL;
}

static const char *check_entries(const struct protocol_header *h, const void *entries)
{
	const struct protocol_offer *offers = entries;
	const struct protocol_claim *claims = entries;
	const struct protocol_release *releases = entries;
	switch (h->type) {
	case PROTOCOL_HELLO:
		return check_hello(entries);
	case PROTOCOL_OFFER:
		for (uint32_t i = 0; i < h->nr; i++)
			if (offers[i].reserved)
				return "a reserved field is not 0";
		return NULL;
	case PROTOCOL_CLAIM:
		for (uint32_t i = 0; i < h->nr; i++)
			if (claims[i].nr == 0)
				return "a claim to nothing";
		return NULL;
	case PROTOCOL_RELEASE:
		for (uint32_t i = 0; i < h->nr; i++)
			if (releases[i].nr == 0 || releases[i].reason >= PROTOCOL_NR_REASONS)
				return "a release of nothing, or for no known reason";
		return NULL;
	default:
		return NULL;
	}
}

int protocol_check(const void *message, size_t len, int from_daemon, const char **why)
{
	const struct protocol_header *h = message;
	*why = "too short for a header";
	if (len < sizeof(*h))
		return -EPROTO;
	*why = "of a type that does not exist, or is not the sender's to use";
	if (h->type >= NR_KINDS || !kinds[h->type].size || kinds[h->type].from_daemon != !!from_daemon)
		return -EPROTO;
	const struct kind *kind = &kinds[h->type];
	*why = "a reserved field is not 0";
	if (h->reserved)
		return -EPROTO;
	*why = "with another number of entries than it may have";
	if (h->nr < kind->least || h->nr > kind->most)
		return -EPROTO;
	*why = "longer or shorter than its entries";
	if (len != sizeof(*h) + kind->lead + (size_t)h->nr * kind->size)
		return -EPROTO;
	*why = check_entries(h, h + 1);
	return *why ? -EPROTO : 0;
}
