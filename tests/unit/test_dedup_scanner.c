/*
 * Scanners of several guests with a real daemon: a process with a memory manager stands for each, its threads for vCPUs. Equal pages come
 * to be shared, every byte stays right, and every reference is accounted for, whatever is written, taken away or killed meanwhile.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "dedup/scanner.h"
#include "memmgr/memmgr.h"
#include "memmgr/os.h"
#include "memmgr/share.h"
#include "tests/unit/pagodad_process.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

enum { GUESTS = 2, PAGES = 4096, PAGE = 4096 };
#define WORDS (PAGE / sizeof(uint64_t))

#ifdef __SANITIZE_THREAD__
/* It would sleep for a second at the end of each test. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "atexit_sleep_ms=0";
}
#endif

enum command { NOTHING, START_SCANNER, CONFIGURE, WRITE, DROP, VERIFY, RACE, END_SCANNER, END };

/* A guest is a process, as the daemon has it; this is what the test and it tell each other, in memory that they share. */
struct guest {
	_Atomic enum command command; /* NOTHING again when it was carried out */
	char domain[16];
	struct scanner_settings settings;
	uint64_t contents[PAGES]; /* what each page holds; of WRITE: what it is to hold */
	bool changed[PAGES];      /* WRITE: these */
	uint64_t random;          /* RACE */
	_Atomic uint64_t wrong;   /* VERIFY and RACE: pages with wrong bytes */
	_Atomic bool stop;
	_Atomic bool no_memory;          /* the scanner gets none, */
	_Atomic bool stays;              /* and no chunk can be put together */
	_Atomic unsigned asked, refused; /* so often */
	pthread_mutex_t lock;            /* guards stats */
	struct scanner_stats stats;
};

static struct guest *guests;
static pid_t processes[GUESTS];
static struct scanner_settings settings;

/* --- in the guest's process --- */

static struct guest *self;
static struct memmgr_owner owner; /* hears of failures: there are none */
static struct memmgr *mm;
static struct scanner *scanner;
static uint64_t *memory;
static pthread_mutex_t locks[PAGES]; /* who writes a page, or verifies it */

void *mem_calloc(size_t nr, size_t size)
{
	char name[16] = "";
	if (self && self->no_memory && pthread_getname_np(pthread_self(), name, sizeof(name)) == 0 && !strcmp(name, "dedup-scan")) {
		self->refused++;
		return NULL;
	}
	return calloc(nr, size);
}

void mem_free(void *p)
{
	free(p);
}

int mem_move_over(void *from, size_t len, void *at)
{
	if (self && self->stays) {
		self->asked++;
		return -ENOMEM;
	}
	return mem_move_over_kernel(from, len, at);
}

static void failed(struct memmgr_owner *o, enum memmgr_failure failure, const char *detail)
{
	(void)o;
	fprintf(stderr, "memory failed: %s, %s\n", memmgr_failure_name(failure), detail);
	abort();
}

static void recovered(struct memmgr_owner *o)
{
	(void)o;
}

/* Word w of a page with that content; 0 is a zero page. */
static uint64_t word_of(uint64_t content, size_t w)
{
	return content ? (content + w) * 0x9e3779b97f4a7c15ull : 0;
}

/* As a vCPU does it: the manager, the scanner and the kernel may be at the page at the same time. */
__attribute__((no_sanitize_thread)) static void write_page(uint32_t page, uint64_t content)
{
	volatile uint64_t *words = memory + page * WORDS;
	pthread_mutex_lock(&locks[page]);
	for (size_t w = 0; w < WORDS; w++)
		words[w] = word_of(content, w);
	self->contents[page] = content;
	pthread_mutex_unlock(&locks[page]);
}

/* Returns whether every byte is right. */
__attribute__((no_sanitize_thread)) static bool is_right(uint32_t page)
{
	const volatile uint64_t *words = memory + page * WORDS;
	bool right = true;
	pthread_mutex_lock(&locks[page]);
	for (size_t w = 0; w < WORDS; w++)
		right &= words[w] == word_of(self->contents[page], w);
	pthread_mutex_unlock(&locks[page]);
	return right;
}

struct vcpu {
	pthread_t thread;
	uint64_t random;
};

static uint64_t draw(struct vcpu *v, uint64_t below)
{
	v->random = v->random * 6364136223846793005ull + 1442695040888963407ull;
	return (v->random >> 33) % below;
}

static void *vcpu_main(void *arg)
{
	struct vcpu *v = arg;
	while (!self->stop) {
		/* Most of what is written is found elsewhere, too. */
		uint32_t page = (uint32_t)draw(v, draw(v, 4) ? PAGES : PAGES / 16);
		if (draw(v, 3))
			self->wrong += !is_right(page);
		else
			write_page(page, draw(v, 8) ? draw(v, 600) : draw(v, UINT32_MAX) + 1000);
		if (draw(v, 16) == 0)
			usleep((useconds_t)draw(v, 2000));
	}
	return NULL;
}

static void *taker_main(void *arg)
{
	struct vcpu *v = arg;
	while (!self->stop) {
		uint32_t page = (uint32_t)draw(v, PAGES), nr = (uint32_t)draw(v, PAGES - page < 600 ? PAGES - page : 600) + 1;
		if (draw(v, 5))
			memmgr_evict_range(mm, (uint64_t)page * PAGE, (uint64_t)nr * PAGE,
					   draw(v, 2) ? MEMMGR_TIER_COMPRESSED : MEMMGR_TIER_LIMBO);
		else
			share_restore(mm, page);
		usleep((useconds_t)draw(v, 20000));
	}
	return NULL;
}

static void race(void)
{
	struct vcpu vcpus[3];
	for (unsigned i = 0; i < 3; i++) {
		vcpus[i] = (struct vcpu){.random = self->random + i};
		if (pthread_create(&vcpus[i].thread, NULL, i < 2 ? vcpu_main : taker_main, &vcpus[i]) != 0)
			_exit(4);
	}
	for (unsigned i = 0; i < 3; i++)
		pthread_join(vcpus[i].thread, NULL);
}

static void start_scanner(void)
{
	struct scanner_params params = {.mm = mm,
					.socket = pagodad_socket,
					.domain = self->domain,
					.guest = "guest",
					.node = -1,
					.settings = self->settings};
	struct error err;
	if (scanner_create(&params, &scanner, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		_exit(3);
	}
}

static void carry_out(enum command command)
{
	switch (command) {
	case START_SCANNER:
		start_scanner();
		break;
	case CONFIGURE:
		scanner_configure(scanner, &self->settings, NULL);
		break;
	case WRITE:
		for (uint32_t page = 0; page < PAGES; page++)
			if (self->changed[page])
				write_page(page, self->contents[page]);
		break;
	case DROP: /* the first half, as a balloon does */
		memmgr_drop(mm, 0, PAGES / 2 * PAGE, true);
		memset(self->contents, 0, PAGES / 2 * sizeof(*self->contents));
		break;
	case VERIFY:
		for (uint32_t page = 0; page < PAGES; page++)
			self->wrong += !is_right(page);
		break;
	case RACE:
		race();
		break;
	case END_SCANNER:
	case END:
		scanner_destroy(scanner);
		scanner = NULL;
		break;
	case NOTHING:
		break;
	}
}

static void guest_main(void)
{
	struct guest_ram_region region = {.gpa = 0, .size = (uint64_t)PAGES * PAGE};
	struct memmgr_params params = {.owner = &owner, .swap_fd = -1};
	enum command command;
	struct error err;
	size_t nr;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	owner = (struct memmgr_owner){failed, recovered};
	memmgr_settings_init(&params.settings);
	for (uint32_t page = 0; page < PAGES; page++)
		pthread_mutex_init(&locks[page], NULL);
	if (guest_ram_create(&region, 1, &params.ram, &err) != 0 || memmgr_create(&params, &mm, &err) != 0) {
		fprintf(stderr, "%s\n", err.text);
		_exit(2);
	}
	memory = (uint64_t *)guest_ram_regions(params.ram, &nr)->hva;
	do {
		command = self->command;
		carry_out(command);
		if (scanner) {
			pthread_mutex_lock(&self->lock);
			scanner_get_stats(scanner, &self->stats);
			pthread_mutex_unlock(&self->lock);
		}
		if (command != NOTHING)
			self->command = NOTHING;
		else
			usleep(1000);
	} while (command != END);
	memmgr_destroy(mm);
	guest_ram_destroy(params.ram);
	_exit(0);
}

/* --- in the test's --- */

static void begin(unsigned i, enum command command)
{
	guests[i].command = command;
}

static void finish(unsigned i)
{
	int status;
	while (guests[i].command != NOTHING) {
		ck_assert_msg(waitpid(processes[i], &status, WNOHANG) == 0, "guest %u has ended", i);
		usleep(1000);
	}
}

/* Lets all guests do it. */
static void all(enum command command)
{
	for (unsigned i = 0; i < GUESTS; i++)
		begin(i, command);
	for (unsigned i = 0; i < GUESTS; i++)
		finish(i);
}

static void verify_all(void)
{
	all(VERIFY);
	for (unsigned i = 0; i < GUESTS; i++)
		ck_assert_msg(guests[i].wrong == 0, "%llu pages of guest %u are wrong", (unsigned long long)guests[i].wrong, i);
}

static void set_page(unsigned i, uint32_t page, uint64_t content)
{
	guests[i].contents[page] = content;
	guests[i].changed[page] = true;
}

static void write_all(void)
{
	all(WRITE);
	for (unsigned i = 0; i < GUESTS; i++)
		memset(guests[i].changed, 0, sizeof(guests[i].changed));
}

/* Every guest has all contents up to so many, each in an order of its own, and then pages like nobody else's. */
static void fill(uint32_t common, uint32_t run)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		uint32_t shift = (uint32_t)random_below(common) / run;
		for (uint32_t page = 0; page < PAGES; page++) {
			uint64_t own = 1000000ull * (i + 1) + page;
			uint32_t at = page / run, nr = common / run;
			/* Multiples of the place by a number that has no factor in common with nr are all places. */
			uint64_t content = page >= common ? own : ((at * (6 * i + 1ull) + shift) % nr) * run + page % run + 1;
			set_page(i, page, content);
		}
	}
	write_all();
}

static void set_up(void)
{
	pthread_mutexattr_t shared;
	random_start();
	pagodad_set_up();
	guests = mmap(NULL, GUESTS * sizeof(*guests), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(guests != MAP_FAILED);
	pthread_mutexattr_init(&shared);
	pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	scanner_settings_init(&settings);
	settings.cpu_percent = 100;
	settings.pass_ms = 20;
	settings.huge = SCANNER_HUGE_ON;
	for (unsigned i = 0; i < GUESTS; i++) {
		pthread_mutex_init(&guests[i].lock, &shared);
		processes[i] = fork();
		ck_assert_int_ge(processes[i], 0);
		self = &guests[i];
		if (processes[i] == 0)
			guest_main();
	}
}

static void tear_down(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		int status;
		begin(i, END);
		ck_assert_int_eq(waitpid(processes[i], &status, 0), processes[i]);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "guest %u ended with status %#x", i, (unsigned)status);
	}
	munmap(guests, GUESTS * sizeof(*guests));
	pagodad_tear_down();
}

static struct scanner_stats stats(unsigned i)
{
	pthread_mutex_lock(&guests[i].lock);
	struct scanner_stats s = guests[i].stats;
	pthread_mutex_unlock(&guests[i].lock);
	return s;
}

static uint64_t sharing(void)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < GUESTS; i++)
		sum += stats(i).pages_sharing;
	return sum;
}

static uint64_t references(void)
{
	struct protocol_status s = pagodad_status();
	return s.pages_shared + s.pages_sharing;
}

static void print_stats(void)
{
	for (unsigned i = 0; i < GUESTS; i++) {
		struct scanner_stats s = stats(i);
#define SHOW(name, text) fprintf(stderr, " " #name " %llu", (unsigned long long)s.name);
		SCANNER_STATS(SHOW)
		fprintf(stderr, " \"%s\"\n", s.trouble);
	}
}

/* Waits up to twenty seconds for the condition, which it names. */
#define WAIT_FOR(condition)                                                                               \
	do {                                                                                              \
		unsigned tries_ = 0;                                                                      \
		while (!(condition) && tries_++ < 4000)                                                   \
			usleep(5000);                                                                     \
		if (tries_ > 4000)                                                                        \
			print_stats();                                                                    \
		ck_assert_msg(tries_ <= 4000, "never: " #condition "; the daemon counts %llu references", \
			      (unsigned long long)references());                                          \
	} while (0)

static void start_both(const char *first, const char *second)
{
	pagodad_start(NULL);
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].settings = settings;
		strcpy(guests[i].domain, i ? second : first);
	}
	all(START_SCANNER);
}

/* --- tests --- */

START_TEST(equal_pages_of_two_guests_are_shared)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	verify_all();
	WAIT_FOR(references() == 6000);
	ck_assert_uint_eq(pagodad_status().pages_shared, 3000);
	/* The guests write to some. */
	for (uint32_t page = 0; page < 3000; page += 7)
		set_page(1, page, 500000 + page);
	write_all();
	WAIT_FOR(sharing() == 6000 - 429 && references() == sharing());
	verify_all();
	ck_assert_uint_ge(stats(1).pages_broken, 429);
	/* And back: a page that was written can share again. */
	for (uint32_t page = 0; page < 3000; page += 7)
		set_page(1, page, guests[0].contents[page]);
	write_all();
	WAIT_FOR(sharing() >= 6000);
	WAIT_FOR(references() == sharing());
	verify_all();
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(sequences_take_few_mappings)
{
	/* A guest may hold no more references than it has pages: none is to be held in vain. */
	fill(4096, 64);
	start_both("one", "one");
	WAIT_FOR(sharing() == 8192);
	verify_all();
	for (unsigned i = 0; i < GUESTS; i++)
		ck_assert_msg(stats(i).mappings <= 4 * PAGES / 64, "%llu mappings", (unsigned long long)stats(i).mappings);
}
END_TEST

START_TEST(batches_hold_the_scanner_back)
{
	fill(4096, 64);
	settings.batch_pages = 100;
	settings.pass_ms = 200;
	uint64_t begun = clock_now_ms();
	start_both("one", "one");
	WAIT_FOR(stats(0).pages_scanned >= 500);
	uint64_t scanned = stats(0).pages_scanned, batches = (clock_now_ms() - begun) / 200 + 1;
	ck_assert_msg(scanned <= batches * 100, "%llu pages in the time of %llu batches", (unsigned long long)scanned,
		      (unsigned long long)batches);
	WAIT_FOR(sharing() > 0);
	verify_all();
}
END_TEST

START_TEST(zero_pages_are_dropped)
{
	for (uint32_t page = 0; page < PAGES; page++)
		set_page(0, page, page % 2 ? page : 0);
	write_all();
	start_both("one", "one");
	WAIT_FOR(stats(0).ksm_zero_pages >= PAGES / 2);
	verify_all();
	ck_assert_uint_eq(sharing(), 0);
}
END_TEST

START_TEST(guests_of_different_domains_share_nothing)
{
	fill(3000, 1);
	start_both("one", "two");
	WAIT_FOR(stats(0).full_scans > 4 && stats(1).full_scans > 4);
	ck_assert_uint_eq(sharing(), 0);
	ck_assert_uint_eq(references(), 0);
	ck_assert_uint_eq(stats(0).pages_unshared, PAGES);
}
END_TEST

START_TEST(huge_pages_stay_unless_enough_of_one_merges)
{
	/* One page in eight is alike. */
	for (unsigned i = 0; i < GUESTS; i++)
		for (uint32_t page = 0; page < PAGES; page++)
			set_page(i, page, page % 8 ? 1000000ull * (i + 1) + page : page + 1);
	write_all();
	settings.huge_percent = 50;
	start_both("one", "one");
	WAIT_FOR(stats(0).full_scans > 4 && stats(1).full_scans > 4);
	uint64_t small = sharing(); /* of chunks that the kernel did not give huge pages for */
	if (small == 2 * PAGES / 8)
		return; /* there are no huge pages here */
	ck_assert_uint_eq(small, 0);
	ck_assert_uint_gt(stats(0).no_gain + stats(1).no_gain, 0);
	settings.huge_percent = 5;
	for (unsigned i = 0; i < GUESTS; i++)
		guests[i].settings = settings;
	all(CONFIGURE);
	/* A page that was offered stays known; what is written is offered again. */
	for (unsigned i = 0; i < GUESTS; i++)
		for (uint32_t page = 0; page < PAGES; page++)
			set_page(i, page, guests[i].contents[page]);
	write_all();
	WAIT_FOR(sharing() == 2 * PAGES / 8);
	verify_all();
}
END_TEST

START_TEST(huge_pages_are_left_alone_while_memory_is_not_short)
{
	settings.huge = SCANNER_HUGE_OFF;
	fill(4096, 1);
	start_both("one", "one");
	WAIT_FOR(stats(0).full_scans > 3 && stats(1).full_scans > 3);
	ck_assert_uint_eq(sharing() + stats(0).pages_skipped + stats(1).pages_skipped, 2 * PAGES);
}
END_TEST

START_TEST(no_more_mappings_are_made_than_there_may_be)
{
	settings.most_mappings = 1000;
	fill(4096, 1);
	start_both("one", "one");
	WAIT_FOR(stats(0).full_scans > 6 && stats(1).full_scans > 6);
	for (unsigned i = 0; i < GUESTS; i++)
		ck_assert_uint_le(stats(i).mappings, 1000);
	ck_assert_uint_gt(sharing(), 100);
	verify_all();
}
END_TEST

START_TEST(a_daemon_that_comes_back_finds_all_as_it_was)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	for (unsigned round = 0; round < 3; round++) {
		pagodad_end(round % 2 ? SIGTERM : SIGKILL);
		for (uint32_t page = round; page < 3000; page += 100)
			set_page(0, page, 600000 + page);
		write_all();
		pagodad_start(NULL);
		WAIT_FOR(stats(0).connections == round + 2 && stats(1).connections == round + 2);
		WAIT_FOR(references() == sharing() && pagodad_status().slots_unclaimed == 0);
		verify_all();
	}
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(a_scanner_that_stands_still_tells_a_daemon_what_it_holds)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	for (unsigned i = 0; i < GUESTS; i++)
		guests[i].settings.cpu_percent = 0;
	all(CONFIGURE);
	for (unsigned round = 0; round < 2; round++) {
		pagodad_end(SIGKILL);
		pagodad_start(NULL);
		WAIT_FOR(stats(0).connections == round + 2 && stats(1).connections == round + 2);
		WAIT_FOR(references() == 6000 && pagodad_status().slots_unclaimed == 0);
	}
	verify_all();
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

/* Lets the daemon forget what it knows, or that guest alone, and start again. */
static void forget(unsigned i, bool all_of_it)
{
	char command[300];
	pagodad_end(SIGKILL);
	if (all_of_it)
		snprintf(command, sizeof(command), "rm -rf %s", pagodad_state);
	else
		snprintf(command, sizeof(command), "sed -i '/^process %d /d' %s/pools", (int)processes[i], pagodad_state);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	pagodad_start(NULL);
}

START_TEST(a_daemon_that_has_forgotten_all_begins_anew)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	forget(0, true);
	WAIT_FOR(stats(0).connections == 2 && stats(1).connections == 2);
	verify_all();
	/* What it knows of is shared anew, and what was shared before stays so. */
	for (unsigned i = 0; i < GUESTS; i++)
		for (uint32_t page = 0; page < 1000; page++)
			set_page(i, page, 700000 + page);
	write_all();
	/* A chunk in which little is shared any more is put together again. */
	WAIT_FOR(references() >= 2000 && references() <= 2100 && sharing() >= 5900);
	verify_all();
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(a_guest_that_memory_is_too_short_for_takes_the_new_pool_later)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	guests[1].no_memory = true;
	forget(1, true);
	/* The second time the daemon knows the pool that the guest has of it. */
	WAIT_FOR(guests[1].refused >= 2 && stats(0).connections == 2);
	ck_assert(!stats(1).connected);
	ck_assert_ptr_nonnull(strstr(stats(1).trouble, "Cannot allocate memory"));
	guests[1].no_memory = false;
	WAIT_FOR(stats(1).connected && stats(1).connections == 2);
	verify_all();
	for (unsigned i = 0; i < GUESTS; i++)
		for (uint32_t page = 0; page < 1000; page++)
			set_page(i, page, 700000 + page);
	write_all();
	WAIT_FOR(references() >= 2000 && references() <= 2100 && sharing() >= 5900);
	verify_all();
	/* Nothing was claimed, and nothing given back, that is another pool's. */
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(pages_whose_slots_are_gone_become_ordinary_as_soon_as_they_can)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	guests[1].stays = true;
	forget(1, false);
	/* Tried more than once, for each chunk. */
	WAIT_FOR(stats(1).connections == 2 && guests[1].asked > 4 * 3000 / 512);
	ck_assert_uint_eq(stats(1).restored, 0);
	guests[1].stays = false;
	WAIT_FOR(stats(1).restored >= 3000 / 512);
	verify_all();
	/* And they share again. */
	WAIT_FOR(sharing() == 6000 && references() == 6000);
	verify_all();
	ck_assert_uint_eq(pagodad_status().refused, 0);
}
END_TEST

START_TEST(a_chunk_with_few_broken_merges_becomes_ordinary_memory)
{
	/* Seven of one chunk are alike. */
	for (unsigned i = 0; i < GUESTS; i++)
		for (uint32_t page = 0; page < PAGES; page++)
			set_page(i, page, page >= 600 && page < 670 && page % 10 == 0 ? page : 1000000ull * (i + 1) + page);
	write_all();
	settings.huge_percent = 1;
	start_both("one", "one");
	WAIT_FOR(sharing() == 14 && stats(0).mappings > 0 && stats(1).mappings > 0);
	for (uint32_t page = 600; page < 670; page += 10)
		set_page(1, page, 500000 + page);
	write_all();
	WAIT_FOR(stats(1).mappings == 0 && references() == 7);
	ck_assert_uint_eq(sharing(), 7);
	verify_all();
}
END_TEST

START_TEST(what_a_guest_gives_up_is_given_back_to_the_daemon)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000);
	begin(1, DROP);
	finish(1);
	WAIT_FOR(references() == 6000 - PAGES / 2 && sharing() == references());
	verify_all();
}
END_TEST

START_TEST(a_guest_whose_scanner_ends_keeps_what_it_shares)
{
	fill(3000, 1);
	start_both("one", "one");
	WAIT_FOR(sharing() == 6000 && references() == 6000);
	begin(1, END_SCANNER);
	finish(1);
	usleep(300000);
	verify_all();
	ck_assert_uint_eq(references(), 6000);
}
END_TEST

START_TEST(every_byte_stays_right_while_pages_are_written_and_taken_away)
{
	const char *seconds = getenv("PAGODA_STRESS_SECONDS");
	fill(2000, 1);
	start_both("one", "one");
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i].random = random_bits();
		begin(i, RACE);
	}
	for (unsigned round = 0; round < (seconds ? (unsigned)strtoul(seconds, NULL, 10) : 4); round++) {
		usleep(700000);
		pagodad_end(SIGKILL);
		usleep((useconds_t)random_below(300000));
		pagodad_start(NULL);
	}
	sleep(1);
	for (unsigned i = 0; i < GUESTS; i++)
		guests[i].stop = true;
	for (unsigned i = 0; i < GUESTS; i++)
		finish(i);
	verify_all();
	WAIT_FOR(stats(0).connected && stats(1).connected);
	WAIT_FOR(references() == sharing() && pagodad_status().slots_unclaimed == 0);
	ck_assert_uint_eq(pagodad_status().refused, 0);
	printf("merged %llu and %llu, broken %llu and %llu, differed %llu, busy %llu, restored %llu\n",
	       (unsigned long long)stats(0).pages_merged, (unsigned long long)stats(1).pages_merged,
	       (unsigned long long)stats(0).pages_broken, (unsigned long long)stats(1).pages_broken,
	       (unsigned long long)stats(0).differed, (unsigned long long)stats(0).busy, (unsigned long long)stats(0).restored);
	ck_assert_uint_gt(stats(0).pages_merged, 100);
	ck_assert_uint_gt(stats(0).pages_broken, 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("dedup_scanner");
	TCase *tests = tcase_create("scanner"), *race = tcase_create("race");
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 120);
	tcase_add_test(tests, equal_pages_of_two_guests_are_shared);
	tcase_add_test(tests, sequences_take_few_mappings);
	tcase_add_test(tests, batches_hold_the_scanner_back);
	tcase_add_test(tests, zero_pages_are_dropped);
	tcase_add_test(tests, guests_of_different_domains_share_nothing);
	tcase_add_test(tests, huge_pages_stay_unless_enough_of_one_merges);
	tcase_add_test(tests, huge_pages_are_left_alone_while_memory_is_not_short);
	tcase_add_test(tests, no_more_mappings_are_made_than_there_may_be);
	tcase_add_test(tests, a_daemon_that_comes_back_finds_all_as_it_was);
	tcase_add_test(tests, a_scanner_that_stands_still_tells_a_daemon_what_it_holds);
	tcase_add_test(tests, a_daemon_that_has_forgotten_all_begins_anew);
	tcase_add_test(tests, a_guest_that_memory_is_too_short_for_takes_the_new_pool_later);
	tcase_add_test(tests, pages_whose_slots_are_gone_become_ordinary_as_soon_as_they_can);
	tcase_add_test(tests, a_chunk_with_few_broken_merges_becomes_ordinary_memory);
	tcase_add_test(tests, what_a_guest_gives_up_is_given_back_to_the_daemon);
	tcase_add_test(tests, a_guest_whose_scanner_ends_keeps_what_it_shares);
	tcase_add_checked_fixture(race, set_up, tear_down);
	tcase_set_timeout(race, 1000);
	tcase_add_test(race, every_byte_stays_right_while_pages_are_written_and_taken_away);
	suite_add_tcase(suite, tests);
	suite_add_tcase(suite, race);
	return suite_run(suite);
}
