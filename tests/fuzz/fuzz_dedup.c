/*
 * What VMMs send to the daemon, as far as it needs no sockets: a message goes through protocol_check(), and what passes to the broker, from three clients
 * in two trust domains. The input is a sequence of messages, each after a length of two bytes and a byte that picks the sender and
 * where the last answers are put into it, so that slots that exist are named, too. No client may ever hold more than it was given.
 */
#include "base/log.h"
#include "dedup/broker.h"
#include "tests/fuzz/fuzz_input.h"

enum { CLIENTS = 3, PAGES = 64, MOST_SLOTS = 1000 };

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_open("fuzz", LOG_LEVEL_ERROR);
	return 0;
}

struct session {
	struct broker *broker;
	uint16_t pools[CLIENTS], clients[CLIENTS];
	uint32_t verdicts[1024];
	uint64_t given[CLIENTS], returned[CLIENTS];
	uint8_t contents[BROKER_MOST_BATCH * PAGE_HASH_BYTES];
};

static union {
	struct protocol_header header;
	uint8_t bytes[PROTOCOL_MOST_BYTES];
} message;

static unsigned who_is(const struct session *s, uint16_t client)
{
	for (unsigned i = 0; i < CLIENTS; i++)
		if (s->clients[i] == client)
			return i;
	abort();
}

static void count_given(struct session *s, unsigned who, uint32_t nr)
{
	size_t nr_twins;
	for (uint32_t i = 0; i < nr; i++)
		s->given[who] += s->verdicts[i] <= PROTOCOL_MOST_SLOT;
	const struct broker_twin *twins = broker_twins(s->broker, &nr_twins);
	for (size_t i = 0; message.header.type == PROTOCOL_CONTENT && i < nr_twins; i++) {
		unsigned other = who_is(s, twins[i].client);
		fuzz_need(s->pools[other] == s->pools[who]);
		s->given[other]++;
	}
}

static void take(struct session *s, unsigned who)
{
	const void *entries = protocol_entries(&message);
	uint32_t nr = message.header.nr;
	const struct protocol_release *releases = entries;
	const struct protocol_content *contents = entries;
	const struct protocol_claim *claims = entries;
	switch (message.header.type) {
	case PROTOCOL_OFFER:
		if (broker_offer(s->broker, s->clients[who], entries, nr, s->verdicts) == 0)
			count_given(s, who, nr);
		break;
	case PROTOCOL_CONTENT:
		/* Few different contents, so that twins are found. */
		for (uint32_t i = 0; i < nr; i++)
			s->contents[i * PAGE_HASH_BYTES] = (uint8_t)(contents[i].staging % 5);
		if (broker_content(s->broker, s->clients[who], contents, nr, s->contents, s->verdicts) == 0)
			count_given(s, who, nr);
		break;
	case PROTOCOL_RELEASE:
		for (uint32_t i = 0; i < nr; i++)
			if (broker_release(s->broker, s->clients[who], &releases[i], 1) == 0)
				s->returned[who] += releases[i].nr;
		break;
	case PROTOCOL_RETRACT:
		broker_retract(s->broker, s->clients[who], entries, nr);
		break;
	case PROTOCOL_CLAIM:
		for (uint32_t i = 0; i < nr; i++)
			fuzz_need(broker_claim(s->broker, s->clients[who], BROKER_NONE, claims[i].slot, claims[i].nr) ==
				  PROTOCOL_GONE);
		break;
	default:
		break;
	}
}

/* Contents hash to what they do; offers of them need the same. */
static void make_offers_meet(struct session *s, unsigned who, size_t len)
{
	struct protocol_offer *offers = (struct protocol_offer *)(&message.header + 1);
	struct page_hasher hasher;
	page_hasher_init(&hasher, broker_salt(s->broker, s->pools[who]));
	static uint8_t page[PAGE_HASH_BYTES] __attribute__((aligned(64)));
	for (uint32_t i = 0; i < message.header.nr && sizeof(message.header) + (i + 1) * sizeof(*offers) <= len; i++) {
		struct page_hash hash;
		page[0] = (uint8_t)(offers[i].hash_low % 5);
		page_hash_run(&hasher, page, 1, &hash);
		offers[i].hash_low = hash.low;
		offers[i].hash_high = hash.high;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct session s;
	struct broker_settings settings = {.index_bytes = 1 << 20, .most_slots = MOST_SLOTS, .most_client_pages = PAGES};
	struct fuzz_input in = {data, size};
	struct error err;
	s = (struct session){0};
	if (broker_create(&settings, &s.broker, &err))
		return 0;
	for (unsigned i = 0; i < CLIENTS; i++) {
		char domain[PROTOCOL_NAME_BYTES] = "a";
		domain[0] = i < 2 ? 'a' : 'b';
		fuzz_need(broker_find_pool(s.broker, domain, -1, &s.pools[i]) == 0);
		if (!broker_pool(s.broker, s.pools[i]))
			fuzz_need(broker_open_pool(s.broker, s.pools[i], &err) == 0);
		fuzz_need(broker_join(s.broker, s.pools[i], PAGES, &s.clients[i]) == 0);
	}
	while (in.left) {
		size_t len = (size_t)fuzz_take(&in, 2) % (sizeof(message) + 1);
		uint8_t how = (uint8_t)fuzz_take(&in, 1);
		unsigned who = how % CLIENTS;
		const char *why;
		if (len > in.left)
			len = in.left;
		for (size_t i = 0; i < len; i++)
			message.bytes[i] = (uint8_t)fuzz_take(&in, 1);
		if (how & 0x40 && len >= 20)
			memcpy(&message.bytes[16], &s.verdicts[how >> 2 & 15], 4);
		if (how & 0x80)
			make_offers_meet(&s, who, len);
		int from_daemon = protocol_check(&message, len, 1, &why) == 0;
		int ret = protocol_check(&message, len, 0, &why);
		fuzz_need(ret == 0 || why);
		fuzz_need(ret || !from_daemon);
		if (ret == 0)
			take(&s, who);
		broker_work(s.broker);
	}
	for (unsigned i = 0; i < CLIENTS; i++) {
		uint64_t held = pool_client(broker_pool(s.broker, s.pools[i]), s.clients[i])->references;
		fuzz_need(held == s.given[i] - s.returned[i] && held <= PAGES);
		broker_leave(s.broker, s.clients[i]);
	}
	while (broker_work(s.broker))
		;
	struct protocol_status status;
	broker_status(s.broker, &status);
	fuzz_need(status.pages_shared + status.pages_sharing + status.pages_unshared == 0);
	broker_destroy(s.broker);
	return 0;
}
