/* Pins of a definition: what they say, that they are kept in order, and that changing one leaves the others. */
#include "host/pins.h"

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/guest.h"
#include "tests/unit/random_test.h"
#include "tests/unit/suite.h"

static json_t *load(const char *text)
{
	json_t *pins = json_loads(text, 0, NULL);
	ck_assert_msg(pins != NULL, "%s", text);
	return pins;
}

static void expect(json_t *pins, const char *text)
{
	char *has = json_dumps(pins, JSON_COMPACT);
	ck_assert_str_eq(has, text);
	free(has);
}

START_TEST(lists_of_cpus_are_understood_or_refused)
{
	static const char *const bad[] = {"",  "x", "-1", "1-", "2-1", "1,", ",1", "1 2", "0x1", "4096", "1-4096", "99999999999999",
					  "^1"};
	struct topology_cpus cpus;
	char text[PINS_CPUS_BYTES];
	ck_assert_int_eq(pins_parse_cpus("7,0-2,4,1-2,4095", &cpus), 0);
	topology_list_cpus(&cpus, text, sizeof(text));
	ck_assert_str_eq(text, "0-2,4,7,4095");
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(pins_parse_cpus(bad[i], &cpus) == -EINVAL, "\"%s\"", bad[i]);
	/* Every second one is more than can be written. */
	char many[TOPOLOGY_MOST_CPUS * 5];
	size_t len = 0;
	for (unsigned i = 0; i < TOPOLOGY_MOST_CPUS; i += 2)
		len += (size_t)sprintf(many + len, "%s%u", i ? "," : "", i);
	ck_assert_int_eq(pins_parse_cpus(many, &cpus), -EINVAL);
}
END_TEST

START_TEST(pins_are_put_into_order)
{
	struct error err;
	json_t *pins = load("[\"12:3\", \"emulator:5,4\", \"0:1-2\"]");
	ck_assert_int_eq(pins_check(pins, &err), 0);
	expect(pins, "[\"emulator:4-5\",\"0:1-2\",\"12:3\"]");
	json_decref(pins);
	pins = load("[\"0:1\", \"0:2\"]");
	ck_assert_int_eq(pins_check(pins, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "pins[1]"));
	json_decref(pins);
}
END_TEST

/* Against a table, at random. */
START_TEST(one_is_changed_and_the_others_stay)
{
	struct topology_cpus model[5] = {{{0}}}, cpus;
	bool is_pinned[5] = {false};
	json_t *pins = NULL;
	for (unsigned round = 0; round < 2000; round++) {
		int who = (int)random_below(5) - 1;
		bool pin = random_below(3) > 0;
		memset(&cpus, 0, sizeof(cpus));
		for (unsigned i = 0; i < 3; i++) {
			uint64_t cpu = random_below(200);
			cpus.bits[cpu / 64] |= 1ull << cpu % 64;
		}
		json_t *changed = pins_with(pins, who, pin ? &cpus : NULL);
		ck_assert_ptr_nonnull(changed);
		json_decref(pins);
		pins = changed;
		is_pinned[who + 1] = pin;
		model[who + 1] = cpus;
		for (int i = -1; i < 4; i++) {
			struct topology_cpus has;
			ck_assert_int_eq(pins_find(pins, i, &has), is_pinned[i + 1]);
			ck_assert(!is_pinned[i + 1] || !memcmp(&has, &model[i + 1], sizeof(has)));
		}
	}
	json_decref(pins);
}
END_TEST

/* --- threads: this process is the VMM --- */

static pthread_barrier_t named, ended;
static pid_t ids[2];

static void *thread_main(void *arg)
{
	unsigned i = *(unsigned *)arg;
	pthread_setname_np(pthread_self(), i ? "mem-reclaim" : "CPU 3/KVM");
	ids[i] = gettid();
	pthread_barrier_wait(&named);
	pthread_barrier_wait(&ended);
	return NULL;
}

static bool runs_on(pid_t thread, const cpu_set_t *wanted)
{
	cpu_set_t has;
	ck_assert_int_eq(sched_getaffinity(thread, sizeof(has), &has), 0);
	return CPU_EQUAL(&has, wanted);
}

START_TEST(threads_get_the_cpus_of_their_pins_and_lose_them)
{
	static unsigned numbers[2] = {0, 1};
	struct definition before = {.json = json_object()}, now = {.json = json_object()};
	struct guest g = {.state = GUEST_RUNNING, .definition = &before, .started = &now};
	struct error err;
	pthread_t threads[2];
	cpu_set_t all, first, second;
	char text[64];
	unsigned cpu = 0;
	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	if (CPU_COUNT(&all) < 2) {
		printf("threads are not pinned: one CPU is all that there is\n");
		return;
	}
	CPU_ZERO(&first);
	CPU_ZERO(&second);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	unsigned one = cpu++;
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_SET(one, &first);
	CPU_SET(cpu, &second);
	pthread_barrier_init(&named, NULL, 3);
	pthread_barrier_init(&ended, NULL, 3);
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_main, &numbers[i]), 0);
	pthread_barrier_wait(&named);
	g.process = (struct process){.pid = getpid(), .fd = 0};
	snprintf(text, sizeof(text), "[\"3:%u\", \"1:%u\"]", one, one);
	json_object_set_new(now.json, "pins", load(text));
	ck_assert_int_eq(pins_apply(&g, NULL, &err), 0);
	ck_assert(runs_on(ids[0], &first));
	ck_assert(runs_on(ids[1], &all));
	ck_assert(runs_on(getpid(), &all));
	/* The emulator instead of the vCPU. */
	json_t *was = json_incref(json_object_get(now.json, "pins"));
	snprintf(text, sizeof(text), "[\"emulator:%u\"]", cpu);
	json_object_set_new(now.json, "pins", load(text));
	ck_assert_int_eq(pins_apply(&g, was, &err), 0);
	json_decref(was);
	ck_assert(runs_on(ids[0], &all));
	ck_assert(runs_on(ids[1], &all));
	ck_assert(runs_on(getpid(), &second));
	/* CPUs that there are not. */
	json_object_set_new(now.json, "pins", load("[\"3:4095\"]"));
	ck_assert_int_eq(pins_apply(&g, NULL, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "vCPU 3"));
	pthread_barrier_wait(&ended);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	json_decref(now.json);
	json_decref(before.json);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pins");
	TCase *tests = tcase_create("pins");
	tcase_add_checked_fixture(tests, random_start, NULL);
	tcase_add_test(tests, lists_of_cpus_are_understood_or_refused);
	tcase_add_test(tests, pins_are_put_into_order);
	tcase_add_test(tests, one_is_changed_and_the_others_stay);
	tcase_add_test(tests, threads_get_the_cpus_of_their_pins_and_lose_them);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
