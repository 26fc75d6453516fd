/* Placement at work, on a topology from a file, with VMMs that are threads of this test: where guests are put, who moves, what is told of it, and what a refusal does. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "host/placement_loop.h"
#include "tests/unit/suite.h"

enum { GUESTS = 12, MIB = 1 << 20, SOON_S = 20 };

static char directory[64];
static struct ev_loop *loop;
static struct guests guests;
static struct guest all[GUESTS];
static unsigned nr_guests;
static struct arbiter_loop arbiter; /* has decided nothing yet */
static struct placement_loop placement;
static char events[1024];

static void on_event(struct guests_listener *listener, const char *event, const json_t *data)
{
	(void)listener, (void)data;
	strncat(events, event, sizeof(events) - strlen(events) - 2);
	strcat(events, " ");
}
static struct guests_listener listener = {.event = on_event};

static void create(const char *topology)
{
	char path[100];
	struct error err;
	snprintf(path, sizeof(path), "%s/topology", directory);
	FILE *file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(topology, file);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_msg(placement_loop_create(loop, &guests, &arbiter, NULL, path, &placement, &err) == 0, "%s", err.text);
}

static void set_up(void)
{
	strcpy(directory, "/tmp/pagoda-placement-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	loop = ev_loop_new(0);
	guests = (struct guests){.loop = loop, .listeners = &listener};
	nr_guests = 0;
	*events = '\0';
}

static void tear_down(void)
{
	char command[100];
	for (unsigned i = 0; i < nr_guests; i++) {
		guest_qmp_close(&all[i].qmp);
		close(all[i].process.fd);
		definition_free(all[i].started);
	}
	placement_loop_destroy(&placement);
	ev_loop_destroy(loop);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}

static struct definition *define(const char *name, unsigned mib, const char *more)
{
	char text[400];
	struct definition *d;
	struct error err;
	snprintf(text, sizeof(text), "{\"name\": \"%s\", \"memory\": %llu, \"kernel\": \"/k\"%s}", name,
		 (unsigned long long)mib * MIB, more);
	json_t *json = json_loads(text, 0, NULL);
	ck_assert_msg(definition_parse(json, &d, &err) == 0, "%s", err.text);
	json_decref(json);
	return d;
}

/* As guest_start() does. */
static struct guest *start(const char *name, unsigned mib, const char *more, struct placement_words *words)
{
	struct guest *g = &all[nr_guests++];
	struct error err;
	struct definition *d = define(name, mib, more);
	*g = (struct guest){
		.guests = &guests, .next = guests.first, .definition = d, .state = GUEST_RUNNING, .process = {.fd = -1}};
	ck_assert_msg(placement_loop_choose(&placement, g, d, words, &err) == 0, "%s", err.text);
	g->vmm_id = ++guests.last_vmm_id;
	g->started = d;
	g->process.pid = getpid();
	g->process.fd = dup(0);
	guests.first = g;
	return g;
}

static const struct placement *place(const char *name, unsigned mib, const char *more)
{
	struct placement_words words;
	const struct guest *g = start(name, mib, more, &words);
	ck_assert_uint_gt(words.nr, 0);
	placement_words_free(&words);
	const struct placement_seat *s = placement_loop_seat(&placement, g);
	ck_assert_ptr_nonnull(s);
	return &s->at;
}

START_TEST(promises_that_are_more_than_there_is_split_nobody)
{
	unsigned on_first = 0;
	create("node 0 cpus 0-15 memory 4G\nnode 1 cpus 16-31 memory 4G\n");
	for (unsigned i = 0; i + 1 < GUESTS; i++) {
		char name[8];
		snprintf(name, sizeof(name), "g%u", i);
		const struct placement *at = place(name, 1800, "");
		ck_assert_uint_eq(at->nr_vnodes, 1);
		ck_assert(!at->overfull);
		on_first += at->vnodes[0].node == 0;
	}
	ck_assert_uint_ge(on_first, GUESTS / 2 - 1);
	ck_assert_uint_le(on_first, GUESTS / 2);
	/* One that no node could hold is split all the same. */
	ck_assert_uint_eq(place("large", 5000, ", \"vcpus\": 2")->nr_vnodes, 2);
}
END_TEST

START_TEST(who_says_where_to_be_is_heard)
{
	struct placement_words words;
	struct error err;
	create("node 0 cpus 0 memory 4G\nnode 3 cpus 1 memory 4G\n");
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(place(i == 0 ? "a" : i == 1 ? "b" : "c", 256, ", \"nodes\": [3]")->vnodes[0].node, 1);
	struct definition *d = define("d", 256, ", \"nodes\": [2]");
	struct guest none = {.process = {.fd = -1}};
	ck_assert_int_eq(placement_loop_choose(&placement, &none, d, &words, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "none of the nodes"));
	definition_free(d);
	/* Options of its own. */
	const struct guest *g = start("e", 256, ", \"words\": [\"-object\", \"memory-backend-ram,id=x,size=256M\"]", &words);
	ck_assert_uint_eq(words.nr, 0);
	ck_assert_ptr_null(placement_loop_seat(&placement, g));
	json_t *why = placement_loop_explain(&placement, &all[0]);
	ck_assert_ptr_nonnull(strstr(json_string_value(json_object_get(why, "why")), "its definition allows"));
	ck_assert_int_eq(json_integer_value(json_object_get(json_array_get(json_object_get(why, "parts"), 0), "node")), 3);
	json_decref(why);
}
END_TEST

START_TEST(on_one_node_there_is_nothing_to_do)
{
	struct placement_words words;
	create("node 0 cpus 0 memory 4G\n");
	const struct guest *g = start("a", 256, ", \"nodes\": [0]", &words);
	ck_assert_uint_eq(words.nr, 0);
	ck_assert_ptr_null(placement_loop_seat(&placement, g));
	ck_assert_ptr_null(placement_loop_explain(&placement, g));
	ck_assert(!ev_is_active(&placement.timer));
}
END_TEST

/* --- a VMM --- */

static struct vmm {
	char path[100];
	int listener;
	pthread_t thread;
	_Atomic int node;       /* that it is bound to */
	_Atomic int looks_left; /* of its move: it is over when somebody has looked so often */
	_Atomic bool refuses;
	_Atomic unsigned orders;
	int64_t bytes;
} vmms[GUESTS];

static void answer(struct vmm *v, int fd, const char *line)
{
	char text[500] = "";
	json_t *message = json_loads(line, 0, NULL);
	const char *command = json_string_value(json_object_get(message, "execute"));
	long long id = json_integer_value(json_object_get(message, "id"));
	if (!strcmp(command, "query-memory-nodes")) {
		bool moving = v->looks_left > 0 && v->looks_left-- > 0;
		snprintf(text, sizeof(text),
			 "{\"id\": %lld, \"return\": [{\"node\": 0, \"bytes\": %lld, \"host-nodes\": [%d], \"moving\": %s, \"on\": "
			 "[{\"host-node\": %d, \"pages\": 1000}]}]}\n",
			 id, (long long)v->bytes, v->node, moving ? "true" : "false", moving ? 1 - v->node : v->node);
	} else if (!strcmp(command, "memory-bind-node")) {
		const json_t *arguments = json_object_get(message, "arguments");
		v->orders++;
		if (v->refuses) {
			snprintf(text, sizeof(text),
				 "{\"id\": %lld, \"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\n", id);
		} else {
			v->node = (int)json_integer_value(json_array_get(json_object_get(arguments, "host-nodes"), 0));
			v->looks_left = 2;
			snprintf(text, sizeof(text), "{\"id\": %lld, \"return\": {}}\n", id);
		}
	} else if (!strcmp(command, "query-cpus-fast")) {
		/* A thread that is none of its process's. */
		snprintf(text, sizeof(text), "{\"id\": %lld, \"return\": [{\"thread-id\": 1, \"props\": {}}]}\n", id);
	} else {
		snprintf(text, sizeof(text), "{\"id\": %lld, \"return\": {}}\n", id);
	}
	json_decref(message);
	ssize_t put = send(fd, text, strlen(text), MSG_NOSIGNAL);
	(void)put;
}

static void *vmm_main(void *arg)
{
	struct vmm *v = arg;
	char line[1000];
	int fd = accept(v->listener, NULL, NULL);
	FILE *in = fdopen(fd, "r");
	if (!in || send(fd, "{\"QMP\": {}}\n", 12, MSG_NOSIGNAL) != 12)
		return NULL;
	while (fgets(line, sizeof(line), in))
		answer(v, fd, line);
	fclose(in);
	return NULL;
}

static void ignore(struct guest_qmp_owner *owner)
{
	(void)owner;
}
static void ignore_loss(struct guest_qmp_owner *owner, const char *why)
{
	(void)owner, (void)why;
}
static struct guest_qmp_owner owner = {.ready = ignore, .lost = ignore_loss};

/* Gives the guest a VMM that is bound to that node. */
static struct vmm *give_vmm(struct guest *g, int node)
{
	struct vmm *v = &vmms[g - all];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	*v = (struct vmm){.node = node, .bytes = (int64_t)g->started->memory};
	snprintf(v->path, sizeof(v->path), "%s/vmm%u", directory, (unsigned)(g - all));
	strcpy(address.sun_path, v->path);
	v->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(v->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(v->listener, 1), 0);
	ck_assert_int_eq(pthread_create(&v->thread, NULL, vmm_main, v), 0);
	ck_assert_int_eq(guest_qmp_open(&g->qmp, loop, &owner, v->path), 0);
	return v;
}

static void end_vmm(struct guest *g)
{
	guest_qmp_close(&g->qmp);
	pthread_join(vmms[g - all].thread, NULL);
	close(vmms[g - all].listener);
}

/* Runs the loop until the guest's sentence begins so. Looks come ten times a second. */
static void run_until(const struct guest *g, const char *why)
{
	double end = ev_time() + SOON_S;
	const struct placement_seat *s = NULL;
	placement.settings.rest_ms = 0;
	placement.timer.repeat = 0.1;
	ev_timer_again(loop, &placement.timer);
	do {
		ev_run(loop, EVRUN_ONCE);
		s = placement_loop_seat(&placement, g);
	} while (!(s && strstr(s->why, why) == s->why) && ev_time() < end);
	ck_assert_msg(s && strstr(s->why, why) == s->why, "never: %s; it is: %s", why, s ? s->why : "unknown");
}

/* A guest that is free to go, and one that may be nowhere else and takes nearly all of the node. */
static void crowd_first_node(struct placement_words *words)
{
	create("node 0 cpus 0-7 memory 1G\nnode 1 cpus 8-15 memory 1G\n");
	start("wanders", 300, "", words);
	placement_words_free(words);
	const char *why = placement_loop_seat(&placement, &all[0])->why;
	ck_assert_ptr_nonnull(strstr(why, "Started on node 0"));
	start("stays", 660, ", \"nodes\": [0]", words);
	placement_words_free(words);
}

START_TEST(a_guest_moves_away_from_a_node_that_is_to_become_full)
{
	struct placement_words words;
	crowd_first_node(&words);
	const struct vmm *wanders = give_vmm(&all[0], 0), *stays = give_vmm(&all[1], 0);
	run_until(&all[0], "Moves from node 0 to node 1");
	ck_assert_uint_eq(placement_loop_seat(&placement, &all[0])->at.vnodes[0].node, 1);
	json_t *why = placement_loop_explain(&placement, &all[0]);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(why, "move"), "to")), 1);
	json_decref(why);
	run_until(&all[0], "Moved from node 0 to node 1.");
	ck_assert_int_eq(wanders->node, 1);
	ck_assert_uint_eq(wanders->orders, 1);
	ck_assert_uint_eq(stays->orders, 0);
	ck_assert_str_eq(events, "guest-moves guest-moved ");
	ck_assert_uint_eq(placement_seat_resident(placement_loop_seat(&placement, &all[0]), 1), 1000);
	end_vmm(&all[0]);
	end_vmm(&all[1]);
}
END_TEST

START_TEST(a_guest_whose_vmm_refuses_stays_and_rests)
{
	struct placement_words words;
	crowd_first_node(&words);
	struct vmm *wanders = give_vmm(&all[0], 0);
	give_vmm(&all[1], 0);
	wanders->refuses = true;
	run_until(&all[0], "Could not be moved to node 1: not now");
	ck_assert_uint_eq(placement_loop_seat(&placement, &all[0])->at.vnodes[0].node, 0);
	ck_assert(!placement_loop_seat(&placement, &all[0])->move.under_way);
	/* It is tried again, later. */
	wanders->refuses = false;
	run_until(&all[0], "Moved from node 0 to node 1.");
	end_vmm(&all[0]);
	end_vmm(&all[1]);
}
END_TEST

START_TEST(a_loop_that_starts_anew_finds_guests_where_they_are)
{
	struct placement_words words;
	crowd_first_node(&words);
	give_vmm(&all[0], 1);
	give_vmm(&all[1], 0);
	placement_loop_destroy(&placement);
	create("node 0 cpus 0-7 memory 1G\nnode 1 cpus 8-15 memory 1G\n");
	ck_assert_ptr_null(placement_loop_seat(&placement, &all[0]));
	run_until(&all[0], "Found on node 1");
	run_until(&all[1], "Found on node 0");
	ck_assert_str_eq(events, "");
	end_vmm(&all[0]);
	end_vmm(&all[1]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("placement at work");
	TCase *tests = tcase_create("loop");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, promises_that_are_more_than_there_is_split_nobody);
	tcase_add_test(tests, who_says_where_to_be_is_heard);
	tcase_add_test(tests, on_one_node_there_is_nothing_to_do);
	tcase_add_test(tests, a_guest_moves_away_from_a_node_that_is_to_become_full);
	tcase_add_test(tests, a_guest_whose_vmm_refuses_stays_and_rests);
	tcase_add_test(tests, a_loop_that_starts_anew_finds_guests_where_they_are);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
