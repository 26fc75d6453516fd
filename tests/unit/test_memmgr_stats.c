/* The counters' names, and the shared page: what a reader gets is one write's, whole, or an error. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "memmgr/memmgr_stats.h"
#include "tests/unit/suite.h"

static struct memmgr_stats_page *page;
static int fd;

static void set_up(void)
{
	page = NULL;
	fd = memmgr_stats_page_create(&page);
	ck_assert_int_ge(fd, 0);
}

static void tear_down(void)
{
	memmgr_stats_page_destroy(page, fd);
}

static struct memmgr_stats all_equal(uint64_t value)
{
	struct memmgr_stats stats = {0};
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++)
		memcpy((char *)&stats + memmgr_stats_fields[i].offset, &value, sizeof(value));
	return stats;
}

static bool is_all_equal(const struct memmgr_stats *stats, uint64_t value)
{
	struct memmgr_stats other = all_equal(value);
	return memcmp(stats, &other, sizeof(other)) == 0;
}

START_TEST(every_field_is_in_the_table)
{
	for (size_t i = 0; i < MEMMGR_STATS_NR; i++) {
		const struct memmgr_stats_field *field = &memmgr_stats_fields[i];
		ck_assert_uint_eq(field->offset, i * sizeof(uint64_t));
		ck_assert(field->name[0] && field->text[0]);
		for (size_t k = 0; k < i; k++)
			ck_assert_str_ne(field->name, memmgr_stats_fields[k].name);
	}
	ck_assert_str_eq(memmgr_stats_fields[0].name, "total_pages");
	ck_assert(!memmgr_stats_fields[0].is_count);
	const struct memmgr_stats_field *last = &memmgr_stats_fields[MEMMGR_STATS_NR - 1];
	ck_assert_str_eq(last->name, "kernel_swap_bytes");
	ck_assert_str_eq(last->text, "RAM that these pages take in zram");
	ck_assert(!last->is_count);
}
END_TEST

START_TEST(a_write_is_read_in_another_mapping)
{
	struct memmgr_stats stats = all_equal(1);
	uint64_t time = 1;
	const struct memmgr_stats_page *theirs = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert(theirs != MAP_FAILED);
	ck_assert_int_eq(memmgr_stats_page_read(theirs, &stats, &time), 0);
	ck_assert(is_all_equal(&stats, 0));
	ck_assert_uint_eq(time, 0);
	ck_assert_uint_eq(theirs->pid, (uint32_t)getpid());
	stats = all_equal(77);
	stats.migrated = ~0ull;
	memmgr_stats_page_write(page, &stats, 123);
	struct memmgr_stats read;
	ck_assert_int_eq(memmgr_stats_page_read(theirs, &read, &time), 0);
	ck_assert(memcmp(&read, &stats, sizeof(read)) == 0);
	ck_assert_uint_eq(time, 123);
	munmap((void *)theirs, 4096);
	memmgr_stats_page_destroy(NULL, -1);
}
END_TEST

START_TEST(holders_of_the_descriptor_can_only_read)
{
	ck_assert_int_lt(ftruncate(fd, 0), 0);
	ck_assert_int_lt(ftruncate(fd, 8192), 0);
	ck_assert_int_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
	ck_assert_int_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	ck_assert(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	struct memmgr_stats stats = all_equal(5);
	uint64_t time;
	memmgr_stats_page_write(page, &stats, 6);
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), 0);
}
END_TEST

START_TEST(a_page_that_cannot_be_made_is_an_error)
{
	struct rlimit old;
	struct memmgr_stats_page *none = NULL;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){0, old.rlim_max});
	int ret = memmgr_stats_page_create(&none);
	setrlimit(RLIMIT_NOFILE, &old);
	ck_assert_int_eq(ret, -EMFILE);
	ck_assert_ptr_null(none);
}
END_TEST

START_TEST(other_pages_are_refused)
{
	struct memmgr_stats stats = all_equal(5);
	uint64_t time = 9;
	page->magic++;
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), -EPROTO);
	page->magic--;
	page->version++;
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), -EPROTO);
	page->version--;
	ck_assert(is_all_equal(&stats, 5) && time == 9);
}
END_TEST

START_TEST(pages_with_more_or_fewer_fields_are_read)
{
	struct memmgr_stats stats = all_equal(5);
	uint64_t time;
	memmgr_stats_page_write(page, &stats, 6);
	page->nr_fields = UINT32_MAX;
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), 0);
	ck_assert(is_all_equal(&stats, 5));
	page->nr_fields = 2;
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), 0);
	ck_assert_uint_eq(stats.target_pages, 5);
	ck_assert_uint_eq(stats.used_pages, 0);
	ck_assert_uint_eq(stats.migrated, 0);
}
END_TEST

START_TEST(a_writer_that_died_within_is_told)
{
	struct memmgr_stats stats = all_equal(5);
	uint64_t time = 9;
	page->sequence = 7;
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), -EAGAIN);
	ck_assert(is_all_equal(&stats, 5) && time == 9);
	/* Its successor puts that right; and the sequence may wrap. */
	page->sequence = UINT32_MAX;
	memmgr_stats_page_write(page, &stats, 10);
	ck_assert_uint_eq(page->sequence, 0);
	ck_assert_int_eq(memmgr_stats_page_read(page, &stats, &time), 0);
	ck_assert_uint_eq(time, 10);
}
END_TEST

/* --- readers beside a writer --- */

#define NR_READERS 3
static atomic_bool stop;
static atomic_ulong nr_read;

static void *write_on(void *unused)
{
	(void)unused;
	for (uint64_t i = 1; !atomic_load(&stop); i++) {
		struct memmgr_stats stats = all_equal(i);
		memmgr_stats_page_write(page, &stats, i);
		if (i % 100 == 0)
			usleep(1);
	}
	return NULL;
}

static void *read_on(void *unused)
{
	(void)unused;
	uint64_t last = 0;
	uint64_t time;
	struct memmgr_stats stats;
	for (unsigned i = 0; i < 20000; i++) {
		int ret = memmgr_stats_page_read(page, &stats, &time);
		if (ret == -EAGAIN)
			continue;
		if (ret || !is_all_equal(&stats, time) || time < last)
			ck_abort_msg("a reader saw parts of two writes, or went back in time");
		last = time;
		nr_read++;
	}
	return NULL;
}

START_TEST(each_snapshot_is_one_writes)
{
	pthread_t writer, readers[NR_READERS];
	stop = false;
	nr_read = 0;
	ck_assert_int_eq(pthread_create(&writer, NULL, write_on, NULL), 0);
	for (unsigned i = 0; i < NR_READERS; i++)
		ck_assert_int_eq(pthread_create(&readers[i], NULL, read_on, NULL), 0);
	for (unsigned i = 0; i < NR_READERS; i++)
		pthread_join(readers[i], NULL);
	stop = true;
	pthread_join(writer, NULL);
	ck_assert_uint_gt(nr_read, 1000);
}
END_TEST

START_TEST(a_killed_writer_leaves_a_state_or_an_error)
{
	struct memmgr_stats stats;
	uint64_t time;
	for (unsigned round = 0; round < 30; round++) {
		pid_t child = fork();
		if (child == 0) {
			stop = false;
			write_on(NULL);
		}
		usleep(500 + round * 37);
		kill(child, SIGKILL);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
		int ret = memmgr_stats_page_read(page, &stats, &time);
		ck_assert(page->sequence % 2 ? ret == -EAGAIN : ret == 0 && is_all_equal(&stats, time));
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("memmgr stats");
	TCase *tests = tcase_create("memmgr stats");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, every_field_is_in_the_table);
	tcase_add_test(tests, a_write_is_read_in_another_mapping);
	tcase_add_test(tests, holders_of_the_descriptor_can_only_read);
	tcase_add_test(tests, a_page_that_cannot_be_made_is_an_error);
	tcase_add_test(tests, other_pages_are_refused);
	tcase_add_test(tests, pages_with_more_or_fewer_fields_are_read);
	tcase_add_test(tests, a_writer_that_died_within_is_told);
	tcase_add_test(tests, each_snapshot_is_one_writes);
	tcase_add_test(tests, a_killed_writer_leaves_a_state_or_an_error);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
