/* Threads that publish on which CPU they run, and those who ask for it while they come and go. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/thread_cpu.h"
#include "tests/unit/suite.h"

enum { THREADS = 300, ROUNDS = 20, ASKS = 200000 };

static atomic_int ids[THREADS];
static atomic_bool stop;

static int own_id(void)
{
	return (int)syscall(SYS_gettid);
}

static void bind_to(int cpu)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((unsigned)cpu, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
}

static void *publish_and_wait(void *arg)
{
	atomic_int *id = arg;
	thread_cpu_publish();
	thread_cpu_publish();
	atomic_store(id, own_id());
	while (!atomic_load(&stop))
		usleep(20000);
	return NULL;
}

static void *publish_and_end(void *arg)
{
	atomic_int *id = arg;
	thread_cpu_publish();
	atomic_store(id, own_id());
	return NULL;
}

START_TEST(a_thread_that_publishes_is_found_where_it_runs)
{
	cpu_set_t all;
	ck_assert_int_eq(thread_cpu_of(own_id()), -1);
	thread_cpu_publish();
	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((unsigned)cpu, &all))
			continue;
		bind_to(cpu);
		ck_assert_int_eq(thread_cpu_of(own_id()), cpu);
	}
	sched_setaffinity(0, sizeof(all), &all);
}
END_TEST

START_TEST(only_threads_that_publish_are_found)
{
	ck_assert_int_eq(thread_cpu_of(0), -1);
	ck_assert_int_eq(thread_cpu_of(-5), -1);
	ck_assert_int_eq(thread_cpu_of(0x7ffffffe), -1);
	ck_assert_int_eq(thread_cpu_of(own_id()), -1);
}
END_TEST

START_TEST(many_threads_are_told_apart_and_forgotten_when_they_end)
{
	static pthread_t threads[THREADS];
	atomic_store(&stop, false);
	for (unsigned i = 0; i < THREADS; i++) {
		atomic_store(&ids[i], 0);
		ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_and_wait, &ids[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		while (!atomic_load(&ids[i]))
			usleep(100);
		ck_assert_int_ge(thread_cpu_of(atomic_load(&ids[i])), 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(thread_cpu_of(atomic_load(&ids[i])), -1);
	}
}
END_TEST

START_TEST(asking_races_with_threads_that_end)
{
	pthread_t threads[8];
	for (unsigned round = 0; round < ROUNDS; round++) {
		for (unsigned i = 0; i < 8; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_and_end, &ids[i]), 0);
		for (unsigned ask = 0; ask < ASKS / ROUNDS; ask++)
			ck_assert_int_lt(thread_cpu_of(atomic_load(&ids[ask % 8])), CPU_SETSIZE);
		for (unsigned i = 0; i < 8; i++)
			pthread_join(threads[i], NULL);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("thread CPUs");
	TCase *tests = tcase_create("all");
	if (__rseq_size)
		tcase_add_test(tests, a_thread_that_publishes_is_found_where_it_runs);
	tcase_add_test(tests, only_threads_that_publish_are_found);
	if (__rseq_size)
		tcase_add_test(tests, many_threads_are_told_apart_and_forgotten_when_they_end);
	tcase_add_test(tests, asking_races_with_threads_that_end);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
