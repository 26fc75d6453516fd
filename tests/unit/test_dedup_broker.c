/*
 * The broker among guests that are plain arrays: they write, offer, send, merge and release by chance, and die. After each round every page
 * that maps a slot must read as it should, and the pool's references must be exactly the pages that map it.
 */
#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "dedup/broker.h"
#include "tests/unit/dedup_doors.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { PAGE = PAGE_HASH_BYTES, GUESTS = 6, PAGES = 300, MOST_SLOTS = 4000 };
#define PRIVATE UINT32_MAX

struct guest {
	uint16_t client, pool;
	uint64_t content[PAGES]; /* 0: a page of zeroes */
	uint32_t slot[PAGES];    /* PRIVATE, or the slot that it maps */
	struct page_hash offered[PAGES];
	bool is_offered[PAGES];
};

struct world {
	struct broker *broker;
	struct page_hasher hashers[3];
	struct guest guests[GUESTS];
	uint64_t merges, refused;
};

static void make_page(uint8_t page[PAGE], uint64_t content)
{
	for (unsigned at = 0; at < PAGE; at += 8)
		memcpy(page + at, &content, 8);
}

static struct broker *make_broker(struct page_hash mask)
{
	struct broker_settings settings = {
		.index_bytes = 4 << 20, .most_slots = MOST_SLOTS, .most_client_pages = 1 << 20, .key = "a key", .mask = mask};
	struct broker *b;
	struct error err;
	ck_assert_int_eq(broker_create(&settings, &b, &err), 0);
	return b;
}

static uint16_t open_pool(struct broker *b, const char *domain, int node)
{
	char name[PROTOCOL_NAME_BYTES] = {0};
	uint16_t pool;
	struct error err;
	strncpy(name, domain, sizeof(name) - 1);
	ck_assert_int_eq(broker_find_pool(b, name, node, &pool), 0);
	if (!broker_pool(b, pool))
		ck_assert_int_eq(broker_open_pool(b, pool, &err), 0);
	return pool;
}

static uint16_t join(struct broker *b, uint16_t pool, uint32_t nr_pages)
{
	uint16_t client = BROKER_NONE;
	ck_assert_int_eq(broker_join(b, pool, nr_pages, &client), 0);
	return client;
}

static bool holds(const struct broker *b, uint16_t pool, uint32_t slot, uint64_t content)
{
	uint8_t page[PAGE], found[PAGE];
	make_page(page, content);
	int ret = dedup_read_at_kernel(pool_readonly_fd(broker_pool(b, pool)), found, PAGE, (off_t)slot * PAGE);
	return ret == 0 && memcmp(found, page, PAGE) == 0;
}

static struct page_hash hash_of(const struct page_hasher *hasher, uint64_t content)
{
	uint8_t page[PAGE] __attribute__((aligned(8)));
	struct page_hash hash;
	make_page(page, content);
	page_hash_run(hasher, page, 1, &hash);
	return hash;
}

/* What a VMM does with a slot that it was given: compares, and maps it or gives it back. */
static void use_slot(struct world *w, struct guest *g, uint32_t page, uint32_t slot)
{
	struct protocol_release back = {.slot = slot, .nr = 1, .reason = PROTOCOL_CHANGED};
	if (g->slot[page] == PRIVATE && holds(w->broker, g->pool, slot, g->content[page]) && random_below(8)) {
		g->slot[page] = slot;
		g->is_offered[page] = false;
		w->merges++;
		return;
	}
	w->refused++;
	ck_assert_int_eq(broker_release(w->broker, g->client, &back, 1), 0);
}

static void use_twins(struct world *w)
{
	size_t nr;
	const struct broker_twin *twins = broker_twins(w->broker, &nr);
	for (size_t i = 0; i < nr; i++)
		for (unsigned k = 0; k < GUESTS; k++)
			if (w->guests[k].client == twins[i].client)
				use_slot(w, &w->guests[k], twins[i].page, twins[i].slot);
}

static void write_page(struct world *w, struct guest *g, uint32_t page, uint64_t content)
{
	if (g->slot[page] != PRIVATE) {
		struct protocol_release broken = {.slot = g->slot[page], .nr = 1, .reason = PROTOCOL_BROKEN};
		ck_assert_int_eq(broker_release(w->broker, g->client, &broken, 1), 0);
		g->slot[page] = PRIVATE;
	}
	if (g->is_offered[page] && random_below(2)) {
		struct protocol_retract gone = {.page = page, .hash_top = (uint32_t)(g->offered[page].high >> 32)};
		broker_retract(w->broker, g->client, &gone, 1);
	}
	g->is_offered[page] = false;
	g->content[page] = content;
}

/* Offers pages from first on, and sends what is asked for; between offer and answer, and again before the content, some change. */
static void offer(struct world *w, struct guest *g, uint32_t first, uint32_t nr)
{
	struct protocol_offer offers[PAGES];
	struct protocol_content contents[PAGES];
	static uint8_t bytes[PAGES][PAGE] __attribute__((aligned(64)));
	uint32_t verdicts[PAGES], pages[PAGES], wanted = 0, offered = 0;
	for (uint32_t page = first; page < first + nr; page++) {
		if (g->slot[page] != PRIVATE)
			continue;
		struct page_hash hash = hash_of(&w->hashers[g->pool], g->content[page]);
		if (random_below(50) == 0)
			hash.low ^= 1; /* a lie, or a page that changed while it was hashed */
		pages[offered] = page;
		offers[offered++] = (struct protocol_offer){.hash_low = hash.low, .hash_high = hash.high, .page = page};
		g->offered[page] = hash;
	}
	ck_assert_int_eq(broker_offer(w->broker, g->client, offers, offered, verdicts), 0);
	for (uint32_t i = 0; i < offered; i++) {
		if (random_below(20) == 0)
			write_page(w, g, pages[i], 1 + random_below(100));
		if (verdicts[i] == PROTOCOL_SEND) {
			contents[wanted] = (struct protocol_content){.page = pages[i]};
			make_page(bytes[wanted++], g->content[pages[i]]);
		} else if (verdicts[i] <= PROTOCOL_MOST_SLOT) {
			use_slot(w, g, pages[i], verdicts[i]);
		} else {
			ck_assert_int_eq(verdicts[i] == PROTOCOL_ZERO, !(offers[i].hash_low | offers[i].hash_high));
			g->is_offered[pages[i]] = verdicts[i] == PROTOCOL_FIRST;
		}
	}
	ck_assert_int_eq(broker_content(w->broker, g->client, contents, wanted, bytes, verdicts), 0);
	use_twins(w);
	for (uint32_t i = 0; i < wanted; i++) {
		if (random_below(20) == 0)
			write_page(w, g, contents[i].page, 1 + random_below(100));
		if (verdicts[i] <= PROTOCOL_MOST_SLOT)
			use_slot(w, g, contents[i].page, verdicts[i]);
	}
}

static void verify(const struct world *w)
{
	for (unsigned k = 0; k < GUESTS; k++) {
		const struct guest *g = &w->guests[k];
		const struct pool *p = broker_pool(w->broker, g->pool);
		static uint32_t held[MOST_SLOTS + 8192];
		uint64_t mapped = 0, wrong = 0;
		memset(held, 0, sizeof(held));
		for (uint32_t page = 0; page < PAGES; page++) {
			if (g->slot[page] == PRIVATE)
				continue;
			wrong += !holds(w->broker, g->pool, g->slot[page], g->content[page]);
			held[g->slot[page]]++;
			mapped++;
		}
		for (uint32_t slot = 0; slot < pool_end(p); slot++)
			wrong += held[slot] != pool_held(p, slot, g->client);
		ck_assert_uint_eq(wrong, 0);
		ck_assert_uint_eq(pool_client(p, g->client)->references, mapped);
	}
}

static void reborn(struct world *w, struct guest *g)
{
	g->client = join(w->broker, g->pool, PAGES);
	for (uint32_t page = 0; page < PAGES; page++) {
		g->content[page] = random_below(4) ? 1 + page / 2 : 1 + random_below(100);
		g->slot[page] = PRIVATE;
		g->is_offered[page] = false;
	}
}

static void begin(struct world *w, struct page_hash mask)
{
	memset(w, 0, sizeof(*w));
	random_start();
	w->broker = make_broker(mask);
	for (unsigned k = 0; k < 3; k++) {
		uint16_t pool = open_pool(w->broker, k == 2 ? "other" : "one", k == 1 ? 1 : 0);
		ck_assert_uint_eq(pool, k);
		page_hasher_init(&w->hashers[k], broker_salt(w->broker, pool));
	}
	for (unsigned k = 0; k < GUESTS; k++) {
		w->guests[k].pool = k < 4 ? 0 : (uint16_t)(k - 3);
		reborn(w, &w->guests[k]);
	}
}

static void live_on(struct world *w, unsigned steps)
{
	for (unsigned step = 0; step < steps; step++) {
		struct guest *g = &w->guests[random_below(GUESTS)];
		uint32_t page = (uint32_t)random_below(PAGES), nr = 1 + (uint32_t)random_below(60);
		switch (random_below(12)) {
		case 0:
			write_page(w, g, page, random_below(100));
			break;
		case 1:
			broker_trim(w->broker, 4);
			break;
		case 2:
			broker_work(w->broker);
			break;
		case 3:
			if (random_below(10) == 0) {
				broker_leave(w->broker, g->client);
				reborn(w, g);
			}
			break;
		default:
			offer(w, g, page, page + nr > PAGES ? PAGES - page : nr);
		}
		if (step % 100 == 0)
			verify(w);
	}
	verify(w);
}

static void end(struct world *w)
{
	struct protocol_status status;
	for (unsigned k = 0; k < GUESTS; k++)
		broker_leave(w->broker, w->guests[k].client);
	while (broker_work(w->broker))
		;
	while (broker_trim(w->broker, 100))
		;
	broker_status(w->broker, &status);
	ck_assert_uint_eq(status.pages_shared + status.pages_sharing + status.pages_unshared, 0);
	ck_assert_uint_eq(status.slots_unclaimed + status.slots_stale + status.nr_clients, 0);
	broker_destroy(w->broker);
	ck_assert_int_eq(live, 0);
}

static struct world world;

START_TEST(whatever_guests_do_no_byte_is_wrong_and_no_reference_lost)
{
	begin(&world, (struct page_hash){0});
	live_on(&world, 4000);
	ck_assert_uint_gt(world.merges, 1000);
	end(&world);
}
END_TEST

START_TEST(equal_hashes_with_different_bytes_never_merge)
{
	struct protocol_status status;
	begin(&world, (struct page_hash){.high = 7ull << 61, .low = 1});
	live_on(&world, 3000);
	broker_status(world.broker, &status);
	ck_assert_uint_gt(status.unlike, 100);
	ck_assert_uint_gt(world.merges, 10);
	end(&world);
}
END_TEST

START_TEST(what_fails_by_chance_costs_merges_and_nothing_else)
{
	begin(&world, (struct page_hash){0});
	door_random = random_bits();
	fail_one_of = 10;
	live_on(&world, 3000);
	fail_one_of = 0;
	ck_assert_uint_gt(world.merges, 100);
	end(&world);
}
END_TEST

/* One page offered and sent by each of two clients. Returns the second one's verdict. */
static uint32_t share(struct broker *b, uint16_t first, uint32_t first_page, uint16_t second, uint32_t second_page, uint16_t pool,
		      uint64_t content)
{
	struct page_hasher hasher;
	static uint8_t bytes[PAGE] __attribute__((aligned(64)));
	uint32_t verdict;
	page_hasher_init(&hasher, broker_salt(b, pool));
	struct page_hash hash = hash_of(&hasher, content);
	struct protocol_offer offer = {.hash_low = hash.low, .hash_high = hash.high, .page = first_page};
	ck_assert_int_eq(broker_offer(b, first, &offer, 1, &verdict), 0);
	offer.page = second_page;
	ck_assert_int_eq(broker_offer(b, second, &offer, 1, &verdict), 0);
	if (verdict != PROTOCOL_SEND)
		return verdict;
	make_page(bytes, content);
	ck_assert_int_eq(broker_content(b, second, &(struct protocol_content){.page = second_page}, 1, bytes, &verdict), 0);
	return verdict;
}

START_TEST(domains_and_nodes_never_share)
{
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t one = open_pool(b, "one", -1), other = open_pool(b, "other", -1), far = open_pool(b, "one", 1);
	uint16_t clients[3] = {join(b, one, 10), join(b, other, 10), join(b, far, 10)};
	ck_assert(memcmp(broker_salt(b, one), broker_salt(b, other), 32) != 0);
	ck_assert(memcmp(broker_salt(b, one), broker_salt(b, far), 32) != 0);
	/* Even with the same hash, by a salt that leaked. */
	for (unsigned i = 0; i < 3; i++)
		for (unsigned k = 0; k < 3; k++)
			if (i != k)
				ck_assert_uint_eq(share(b, clients[i], 1, clients[k], 1, one, 5), PROTOCOL_FIRST);
	/* And when it is in one's pool, the others do not see it. */
	uint16_t twin = join(b, one, 10);
	ck_assert_uint_le(share(b, clients[0], 2, twin, 2, one, 6), PROTOCOL_MOST_SLOT);
	ck_assert_uint_eq(share(b, clients[1], 2, clients[2], 2, one, 6), PROTOCOL_FIRST);
	broker_destroy(b);
}
END_TEST

START_TEST(a_client_can_release_what_it_has_and_no_more)
{
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t pool = open_pool(b, "one", -1), a = join(b, pool, 10), c = join(b, pool, 10), liar = join(b, pool, 10);
	uint32_t slot = share(b, a, 1, c, 2, pool, 9);
	size_t nr;
	const struct broker_twin *twins = broker_twins(b, &nr);
	ck_assert_uint_le(slot, PROTOCOL_MOST_SLOT);
	ck_assert_uint_eq(nr, 1);
	ck_assert(twins[0].client == a && twins[0].page == 1 && twins[0].slot == slot);
	static const struct protocol_release impossible[] = {
		{0, 2, 0}, {0, 65535, 0}, {1, 1, 0}, {5000000, 1, 0}, {UINT32_MAX, 1, 0}};
	for (unsigned i = 0; i < 5; i++) {
		struct protocol_release r = impossible[i];
		r.slot += r.slot == 0 ? slot : 0;
		ck_assert_int_eq(broker_release(b, c, &r, 1), -EINVAL);
	}
	struct protocol_release once = {.slot = slot, .nr = 1};
	ck_assert_int_eq(broker_release(b, liar, &once, 1), -EINVAL);
	ck_assert_int_eq(broker_release(b, c, &once, 1), 0);
	ck_assert_int_eq(broker_release(b, c, &once, 1), -EINVAL);
	ck_assert(holds(b, pool, slot, 9));
	ck_assert_int_eq(broker_release(b, a, &once, 1), 0);
	ck_assert_uint_eq(broker_claim(b, liar, BROKER_NONE, slot, 1), PROTOCOL_GONE);
	broker_destroy(b);
}
END_TEST

START_TEST(pages_and_references_beyond_the_guests_own_are_refused)
{
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t pool = open_pool(b, "one", -1), a = join(b, pool, 10), c = join(b, pool, 10), none;
	uint32_t verdict, granted = 0;
	static uint8_t bytes[PAGE] __attribute__((aligned(64)));
	ck_assert_int_eq(broker_join(b, pool, 0, &none), -EINVAL);
	ck_assert_int_eq(broker_join(b, pool, (1 << 20) + 1, &none), -EINVAL);
	ck_assert_int_eq(broker_offer(b, a, &(struct protocol_offer){.page = 10, .hash_low = 1}, 1, &verdict), -EINVAL);
	ck_assert_int_eq(broker_content(b, a, &(struct protocol_content){.page = 10}, 1, bytes, &verdict), -EINVAL);
	/* The same page over and over: it never has more references than pages. */
	for (unsigned i = 0; i < 30; i++)
		granted += share(b, a, 1, c, 2, pool, 100 + i % 3) <= PROTOCOL_MOST_SLOT;
	ck_assert_uint_eq(granted, 10);
	ck_assert_uint_le(pool_client(broker_pool(b, pool), a)->references, 10);
	broker_destroy(b);
}
END_TEST

START_TEST(a_client_that_fills_the_pool_leaves_half_of_it_to_others)
{
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t pool = open_pool(b, "one", -1), flooder = join(b, pool, 1 << 20), a = join(b, pool, 1000), c = join(b, pool, 1000);
	broker_set_listening(b, flooder, false);
	for (uint32_t i = 0; i < 2 * MOST_SLOTS; i++)
		share(b, flooder, 2 * i, flooder, 2 * i + 1, pool, 1000000 + i);
	ck_assert_uint_le(pool_client(broker_pool(b, pool), flooder)->slots, MOST_SLOTS / 2);
	for (uint32_t i = 0; i < 600; i++)
		ck_assert_uint_le(share(b, a, i, c, i, pool, 10 + i), PROTOCOL_MOST_SLOT);
	broker_destroy(b);
}
END_TEST

START_TEST(a_restarted_broker_finds_everything_and_frees_what_nobody_claims)
{
	enum { NR = 600 };
	static uint32_t slots[NR];
	struct broker *b = make_broker((struct page_hash){0}), *next = make_broker((struct page_hash){0});
	struct protocol_status status;
	struct error err;
	char domain[PROTOCOL_NAME_BYTES] = "one";
	uint16_t pool = open_pool(b, "one", -1), a = join(b, pool, NR), c = join(b, pool, NR), again, taken;
	for (uint32_t i = 0; i < NR; i++)
		slots[i] = share(b, a, i, c, i, pool, 50 + i);
	struct pool_identity identity = *pool_identity(broker_pool(b, pool));
	int fd = dup(pool_readonly_fd(broker_pool(b, pool)));
	broker_destroy(b);

	ck_assert_int_eq(broker_find_pool(next, domain, -1, &taken), 0);
	ck_assert_int_eq(broker_take_back_pool(next, taken, fd, &identity, &err), 0);
	close(fd);
	ck_assert(!broker_is_ready(next, taken));
	a = join(next, taken, NR);
	/* A client claims half of what it had, and some that nobody had; and more than it may have. */
	for (uint32_t i = 0; i < NR; i += 2)
		ck_assert_uint_eq(broker_claim(next, a, BROKER_NONE, slots[i], 1), slots[i]);
	ck_assert_uint_eq(broker_claim(next, a, BROKER_NONE, 8000, 1), PROTOCOL_GONE);
	ck_assert_uint_eq(broker_claim(next, a, BROKER_NONE, UINT32_MAX, 1), PROTOCOL_GONE);
	ck_assert_uint_eq(broker_claim(next, a, BROKER_NONE, slots[0], NR), PROTOCOL_GONE);
	while (broker_work(next))
		;
	ck_assert(broker_is_ready(next, taken));
	/* What is released before all have come may still be somebody's. */
	ck_assert_int_eq(broker_release(next, a, &(struct protocol_release){.slot = slots[0], .nr = 1}, 1), 0);
	ck_assert(holds(next, taken, slots[0], 50));
	/* Others find the content where it was. */
	again = join(next, taken, NR);
	for (uint32_t i = 1; i < 100; i++)
		ck_assert_uint_eq(share(next, again, i, again, i, taken, 50 + i), slots[i]);
	broker_settle_pool(next, taken);
	while (broker_work(next))
		;
	broker_status(next, &status);
	/* 299 claimed by the first, 1 to 99 given twice to the second, of which half are the same. */
	ck_assert_uint_eq(status.pages_shared, NR / 2 - 1 + 50);
	ck_assert_uint_eq(status.slots_unclaimed, 0);
	ck_assert_uint_eq(broker_claim(next, a, BROKER_NONE, slots[2], 1), PROTOCOL_GONE);

	/* A client that comes back under another number brings its references along, and no others. */
	uint16_t former = a;
	a = join(next, taken, NR);
	ck_assert_uint_eq(broker_claim(next, a, former, slots[2], 1), slots[2]);
	ck_assert_uint_eq(broker_claim(next, a, former, slots[2], 1), PROTOCOL_GONE);
	ck_assert_uint_eq(broker_claim(next, a, former, slots[1], 1), PROTOCOL_GONE);
	broker_leave(next, former);
	while (broker_work(next))
		;
	ck_assert_uint_eq(pool_client(broker_pool(next, taken), a)->references, 1);
	ck_assert_uint_eq(pool_client(broker_pool(next, taken), former)->references, 0);
	broker_destroy(next);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(what_a_client_bequeaths_goes_to_its_heir_if_that_lives)
{
	enum { NR = 300 };
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t pool = open_pool(b, "one", -1), a = join(b, pool, NR), c = join(b, pool, NR), heir = join(b, pool, NR);
	const struct pool *p = broker_pool(b, pool);
	for (uint32_t i = 0; i < NR; i++)
		share(b, a, i, c, i, pool, 50 + i);
	/* An heir that goes first takes nothing along; without memory it is only later. */
	uint16_t other = join(b, pool, NR);
	broker_bequeath(b, c, other);
	ck_assert(broker_inherits(b, other));
	broker_leave(b, other);
	ck_assert(!broker_inherits(b, other));
	broker_bequeath(b, a, heir);
	ck_assert(broker_inherits(b, heir));
	door_random = 1;
	fail_one_of = 2;
	for (unsigned i = 0; i < 20; i++)
		broker_work(b);
	fail_one_of = 0;
	while (broker_work(b))
		;
	ck_assert(!broker_inherits(b, heir));
	ck_assert_uint_eq(pool_client(p, heir)->references, NR);
	ck_assert_uint_eq(pool_client(p, a)->references + pool_client(p, c)->references + pool_client(p, other)->references, 0);
	broker_leave(b, heir);
	while (broker_work(b))
		;
	struct protocol_status status;
	broker_status(b, &status);
	ck_assert_uint_eq(status.pages_shared, 0);
	broker_destroy(b);
	ck_assert_int_eq(live, 0);
}
END_TEST

START_TEST(clients_can_be_listed_and_asked_about)
{
	static struct sharing map;
	struct broker *b = make_broker((struct page_hash){0});
	uint16_t pool = open_pool(b, "one", -1), a = join(b, pool, 100), c = join(b, pool, 100);
	struct protocol_client seen;
	struct broker_walk walk = {0};
	for (uint32_t i = 0; i < 50; i++)
		share(b, a, i, c, i, pool, 50 + i);
	ck_assert(broker_next_client(b, 0, &seen));
	ck_assert_uint_eq(seen.client, a);
	ck_assert_str_eq(seen.domain, "one");
	ck_assert_uint_eq(seen.references, 50);
	ck_assert(broker_next_client(b, (uint16_t)(a + 1), &seen));
	ck_assert_uint_eq(seen.client, c);
	ck_assert(!broker_next_client(b, (uint16_t)(c + 1), &seen));
	sharing_ask_about(&map, a);
	while (broker_sharing_step(b, &map, &walk))
		;
	ck_assert_uint_eq(map.pages, 50);
	ck_assert_uint_eq(map.across, 50);
	ck_assert_uint_eq(map.with[c], 50);
	ck_assert_uint_eq(map.divergence, 50);
	broker_destroy(b);
}
END_TEST

START_TEST(a_broker_that_cannot_be_made_leaves_nothing)
{
	struct broker_settings settings = {.index_bytes = 1 << 20, .most_slots = 100, .most_client_pages = 100};
	for (int n = 0;; n++) {
		struct broker *b = NULL;
		struct error err = {0};
		fail_in = n;
		int ret = broker_create(&settings, &b, &err);
		bool failed = fail_in < 0;
		fail_in = -1;
		ck_assert_int_eq(ret, failed ? -ENOMEM : 0);
		broker_destroy(b);
		ck_assert_int_eq(live, 0);
		if (!failed)
			break;
		ck_assert_ptr_nonnull(strstr(err.text, "index"));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("broker");
	TCase *tests = tcase_create("broker");
	tcase_add_test(tests, whatever_guests_do_no_byte_is_wrong_and_no_reference_lost);
	tcase_add_test(tests, equal_hashes_with_different_bytes_never_merge);
	tcase_add_test(tests, what_fails_by_chance_costs_merges_and_nothing_else);
	tcase_add_test(tests, domains_and_nodes_never_share);
	tcase_add_test(tests, a_client_can_release_what_it_has_and_no_more);
	tcase_add_test(tests, pages_and_references_beyond_the_guests_own_are_refused);
	tcase_add_test(tests, a_client_that_fills_the_pool_leaves_half_of_it_to_others);
	tcase_add_test(tests, a_restarted_broker_finds_everything_and_frees_what_nobody_claims);
	tcase_add_test(tests, what_a_client_bequeaths_goes_to_its_heir_if_that_lives);
	tcase_add_test(tests, clients_can_be_listed_and_asked_about);
	tcase_add_test(tests, a_broker_that_cannot_be_made_leaves_nothing);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
