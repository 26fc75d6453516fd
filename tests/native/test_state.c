/*
 * A running guest is paused, its state and its RAM are moved into a new machine of the same make, and it goes on there: several times, at
 * moments that fall as they may. The guest itself verifies its memory, and says so at the end.
 */
#include <check.h>
#include <errno.h>
#include <ev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/native/vm_process.h"
#include "tests/unit/random_test.h"
#include "vmm/machine_internal.h"
#include "vmm/machine_state.h"

#define MAX_MOVES 6
#define TIMEOUT_S 50.0

struct home {
	struct machine *machine;
	struct config config;
	char append[128];
	char output[256]; /* the file behind the serial port */
};

static struct ev_loop *loop;
static struct error err;

static void make_home(struct home *h, unsigned number, const char *guest, const char *append, const char *more)
{
	static char words[2048];
	char name[32], *argv[40];
	int argc = 0;
	bool done = false;
	const char *guests = getenv("PAGODA_GUESTS");
	memset(h, 0, sizeof(*h));
	snprintf(name, sizeof(name), "output%u", number);
	snprintf(h->output, sizeof(h->output), "%s", vm_process_path(name));
	snprintf(h->append, sizeof(h->append), "%s", append);
	snprintf(words, sizeof(words), "pagoda-vmm -S -m 16M -kernel %s/%s.elf -serial file:%s %s -append",
		 guests ? guests : "build/guests", guest, h->output, more);
	for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc++] = h->append;
	ck_assert_msg(config_parse(argc, argv, &h->config, &done, &err) == 0, "%s", err.text);
	ck_assert_msg(machine_create(loop, &h->config, &h->machine, &err) == 0, "%s", err.text);
	ck_assert_msg(machine_start(h->machine, &err) == 0, "%s", err.text);
}

static void leave_home(struct home *h)
{
	machine_destroy(h->machine);
	config_free(&h->config);
}

static void on_timer(struct ev_loop *l, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(l, EVBREAK_ALL);
}

static void run_for(double seconds)
{
	ev_timer timer;
	ev_timer_init(&timer, on_timer, seconds, 0);
	ev_timer_start(loop, &timer);
	ev_run(loop, 0);
	ev_timer_stop(loop, &timer);
}

static void copy_ram(const struct machine *from, const struct machine *to)
{
	size_t nr, nr_to;
	const struct guest_ram_region *source = guest_ram_regions(from->ram, &nr), *target = guest_ram_regions(to->ram, &nr_to);
	ck_assert_uint_eq(nr, nr_to);
	for (size_t i = 0; i < nr; i++) {
		ck_assert_uint_eq(source[i].size, target[i].size);
		memcpy(target[i].hva, source[i].hva, source[i].size);
	}
}

static void move(struct home *from, struct home *to)
{
	struct state_writer *w = state_writer_new();
	struct state_reader *r;
	const void *data;
	size_t len;
	machine_pause(from->machine);
	ck_assert_msg(machine_save(from->machine, w, &err) == 0, "%s", err.text);
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	copy_ram(from->machine, to->machine);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	int ret = machine_load(to->machine, r, &err);
	state_reader_free(r);
	state_writer_free(w);
	ck_assert_msg(ret == 0, "%s", err.text);
	ck_assert_msg(machine_resume(to->machine, &err) == 0, "%s", err.text);
}

/* Appends what the guest has printed there. */
static void collect(const struct home *h, char *text, size_t size)
{
	size_t at = strlen(text);
	FILE *file = fopen(h->output, "r");
	ck_assert_ptr_nonnull(file);
	at += fread(text + at, 1, size - at - 1, file);
	text[at] = '\0';
	fclose(file);
}

static void wander(const char *guest, const char *append, const char *more, const char *said)
{
	static struct home homes[MAX_MOVES + 1];
	static char text[65536];
	unsigned at = 0;
	text[0] = '\0';
	random_start();
	make_home(&homes[0], 0, guest, append, more);
	ck_assert_int_eq(machine_resume(homes[0].machine, &err), 0);
	while (at < MAX_MOVES) {
		run_for(0.02 + (double)random_below(150) / 1000);
		if (machine_run_state(homes[at].machine) != RUN_STATE_RUNNING)
			break;
		make_home(&homes[at + 1], at + 1, guest, append, more);
		move(&homes[at], &homes[at + 1]);
		leave_home(&homes[at]);
		collect(&homes[at], text, sizeof(text));
		at++;
	}
	ck_assert_uint_ge(at, 2);
	if (machine_run_state(homes[at].machine) == RUN_STATE_RUNNING)
		run_for(TIMEOUT_S);
	enum run_state state = machine_run_state(homes[at].machine);
	leave_home(&homes[at]);
	collect(&homes[at], text, sizeof(text));
	ck_assert_msg(state == RUN_STATE_SHUTDOWN, "after %u moves %s:\n%s", at, run_state_name(state), text);
	ck_assert_msg(strstr(text, said) != NULL, "after %u moves:\n%s", at, text);
}

static void set_up(void)
{
	log_open("test", LOG_LEVEL_INFO);
	loop = ev_default_loop(0);
	vm_process_files_make();
}

START_TEST(a_guest_goes_on_in_other_machines_with_its_memory)
{
	wander("memory", "pages=1000 rounds=400 order=random quiet", "-smp 1", "memory: 0 wrong pages");
}
END_TEST

START_TEST(a_guest_of_two_processors_takes_its_devices_along)
{
	wander("memory", "pages=1000 rounds=400 order=zipf quiet",
	       "-smp 2 -object rng-random,id=r -device virtio-rng-pci,rng=r -serial null", "memory: 0 wrong pages");
}
END_TEST

START_TEST(a_machine_with_other_devices_refuses_the_state)
{
	struct home from, to;
	struct state_writer *w = state_writer_new();
	struct state_reader *r;
	const void *data;
	size_t len;
	make_home(&from, 0, "memory", "pages=10", "-object rng-random,id=r -device virtio-rng-pci,rng=r");
	make_home(&to, 1, "memory", "pages=10", "-smp 1");
	ck_assert_int_eq(machine_save(from.machine, w, &err), 0);
	ck_assert_int_eq(state_writer_end(w, &data, &len), 0);
	ck_assert_int_eq(state_reader_open(data, len, &r, &err), 0);
	ck_assert_int_eq(machine_load(to.machine, r, &err), -EINVAL);
	ck_assert_msg(strstr(err.text, "pci-1.0") != NULL, "%s", err.text);
	ck_assert_int_eq(machine_run_state(to.machine), RUN_STATE_INTERNAL_ERROR);
	ck_assert_int_ne(machine_resume(to.machine, &err), 0);
	/* It can be reset, and boots then. */
	ck_assert_int_eq(machine_reset(to.machine), 0);
	ck_assert_int_eq(machine_resume(to.machine, &err), 0);
	/* One that runs is neither saved nor loaded. */
	ck_assert_int_eq(machine_save(to.machine, w, &err), -EBUSY);
	ck_assert_int_eq(machine_load(to.machine, r, &err), -EBUSY);
	run_for(TIMEOUT_S);
	ck_assert_int_eq(machine_run_state(to.machine), RUN_STATE_SHUTDOWN);
	state_reader_free(r);
	state_writer_free(w);
	leave_home(&from);
	leave_home(&to);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("state of a machine");
	TCase *tests = tcase_create("state");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, vm_process_files_remove);
	tcase_add_test(tests, a_guest_goes_on_in_other_machines_with_its_memory);
	tcase_add_test(tests, a_guest_of_two_processors_takes_its_devices_along);
	tcase_add_test(tests, a_machine_with_other_devices_refuses_the_state);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
