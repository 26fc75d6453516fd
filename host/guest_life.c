/* A guest's VMM from its start to its end; see the diagram in guest.h. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "host/guest.h"
#include "host/guest_group.h"
#include "host/guest_log.h"
#include "host/pins.h"

#define START_SECONDS 60.
#define QUIT_SECONDS 5. /* from "quit" to SIGKILL */
#define FIRST_PAUSE 1.
#define LONGEST_PAUSE 60.
#define PROVED_SECONDS 600.

static void begin_forcing(struct guest *g);

const char *guest_state_name(enum guest_state state)
{
	static const char *const names[] = {"defined", "starting", "running", "paused", "stopping", "stopped", "crashed"};
	return names[state];
}

bool guest_has_vmm(const struct guest *g)
{
	return g->process.fd >= 0;
}

static void signal_vmm(struct guest *g, int number)
{
	if (syscall(SYS_pidfd_send_signal, g->process.fd, number, NULL, 0) < 0 && errno != ESRCH)
		log_warning("%s: signal %d cannot be sent to its VMM: %s", g->definition->name, number, strerror(errno));
}

/* --- states --- */

void guests_listen(struct guests *guests, struct guests_listener *listener)
{
	listener->next = guests->listeners;
	guests->listeners = listener;
}

void guest_announce(struct guest *g, const char *event, json_t *more)
{
	if (!more)
		more = json_object();
	if (more && json_object_set_new(more, "guest", json_string(g->definition->name)) == 0)
		guests_announce(g->guests, event, json_incref(more));
	json_decref(more);
}

void guests_announce(struct guests *guests, const char *event, json_t *data)
{
	for (struct guests_listener *l = data ? guests->listeners : NULL; l; l = l->next)
		l->event(l, event, data);
	json_decref(data);
}

/* Those whose wait is over, one by one: what they do may start the guest again. */
static void end_waits(struct guest *g)
{
	bool ended = g->state == GUEST_STOPPED || g->state == GUEST_CRASHED || g->state == GUEST_DEFINED;
	bool runs = g->state == GUEST_RUNNING || g->state == GUEST_PAUSED;
	struct guest_wait *list = g->waits, *left = NULL;
	g->waits = NULL;
	while (list) {
		struct guest_wait *wait = list;
		struct error err = {.code = 0};
		list = wait->next;
		if (!(ended || (runs && !wait->for_end))) {
			wait->next = left;
			left = wait;
			continue;
		}
		if (ended && !wait->for_end)
			error_set(&err, EIO, "%s: %s", g->definition->name, *g->reason ? g->reason : "it has ended");
		wait->done(wait, g, &err);
	}
	while (left) {
		struct guest_wait *wait = left;
		left = wait->next;
		wait->next = g->waits;
		g->waits = wait;
	}
}

void guest_enter(struct guest *g, enum guest_state state, const char *reason)
{
	enum guest_state before = g->state;
	if (g->reason != reason)
		snprintf(g->reason, sizeof(g->reason), "%s", reason);
	if (before == state)
		return;
	g->state = state;
	g->since = ev_time();
	log_info("%s: %s%s%s", g->definition->name, guest_state_name(state), *g->reason ? ": " : "", g->reason);
	guest_announce(g, "guest-state",
		       json_pack("{s:s, s:s, s:s}", "state", guest_state_name(state), "before", guest_state_name(before), "reason",
				 g->reason));
	end_waits(g);
}

void guest_wait(struct guest *g, struct guest_wait *wait, bool for_end)
{
	wait->for_end = for_end;
	wait->next = g->waits;
	g->waits = wait;
	end_waits(g);
}

void guest_forget_wait(struct guest *g, struct guest_wait *wait)
{
	for (struct guest_wait **at = &g->waits; *at; at = &(*at)->next)
		if (*at == wait) {
			*at = wait->next;
			return;
		}
}

/* --- restarts --- */

static void on_restart(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guest *g = container_of(w, struct guest, restart);
	struct error err;
	(void)loop, (void)events;
	g->restarts++;
	log_info("%s: is started again", g->definition->name);
	unsigned failures = g->failures;
	int ret = guest_start(g, false, &err);
	g->failures = failures;
	if (ret) {
		log_error("%s: cannot be started again: %s", g->definition->name, err.text);
		g->failures++;
		ev_timer_set(&g->restart, LONGEST_PAUSE, 0.);
		ev_timer_start(g->guests->loop, &g->restart);
	}
}

void guest_plan_restart(struct guest *g)
{
	bool wanted = g->definition->restart == DEFINITION_RESTART_ALWAYS ||
		      (g->definition->restart == DEFINITION_RESTART_ON_CRASH && g->state == GUEST_CRASHED);
	double pause = FIRST_PAUSE;
	if (!wanted || g->gone)
		return;
	for (unsigned i = 0; i < g->failures && pause < LONGEST_PAUSE; i++)
		pause *= 2;
	g->failures++;
	ev_timer_set(&g->restart, pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE, 0.);
	ev_timer_start(g->guests->loop, &g->restart);
}

/* --- the end --- */

void guest_let_go(struct guest *g)
{
	struct ev_loop *loop = g->guests->loop;
	ev_io_stop(loop, &g->exited);
	ev_io_stop(loop, &g->executed);
	ev_timer_stop(loop, &g->patience);
	if (g->executed_fd >= 0)
		close(g->executed_fd);
	g->executed_fd = -1;
	guest_qmp_close(&g->qmp);
	guest_stats_close(&g->stats);
	process_close(&g->process);
	json_decref(g->words);
	g->words = NULL;
}

/* What is left when the process has gone. */
static void clean_up(struct guest *g, enum guest_state state, const char *reason)
{
	char how[400];
	bool asked = g->state == GUEST_STOPPING;
	bool proved = clock_now_s() - g->started_at > PROVED_SECONDS;
	guest_let_go(g);
	snprintf(how, sizeof(how), "%s %s", guest_state_name(state), reason);
	guest_run_ended(&g->run, how);
	if (g->started)
		guest_group_remove(g->started);
	definition_free(g->started);
	g->started = NULL;
	g->target = 0;
	if (proved)
		g->failures = 0;
	guest_enter(g, state, reason);
	if (!asked && g->state == state && !guest_has_vmm(g))
		guest_plan_restart(g);
}

static void describe_end(struct guest *g, const siginfo_t *info, bool known, char *text, size_t size)
{
	char line[200];
	if (known && info->si_code != CLD_EXITED) {
		snprintf(text, size, "its VMM was killed by signal %d (%s)", info->si_status, strsignal(info->si_status));
	} else if (known && info->si_status != 0) {
		guest_log_last_line(g->guests->options->logs, g->definition->name, line, sizeof(line));
		snprintf(text, size, "its VMM ended with status %d%s%s", info->si_status, *line ? ": " : "", line);
	} else {
		snprintf(text, size, "its VMM was killed");
	}
}

static void on_exited(struct ev_loop *loop, ev_io *w, int events)
{
	struct guest *g = container_of(w, struct guest, exited);
	siginfo_t info = {.si_pid = 0};
	char reason[sizeof(g->reason)] = "";
	(void)loop, (void)events;
	/* Of one that another daemon has started, init knows. */
	bool known = waitid(P_PIDFD, (id_t)g->process.fd, &info, WEXITED | WNOHANG) == 0 && info.si_pid;
	bool clean = known ? info.si_code == CLD_EXITED && info.si_status == 0 : g->shut_down || guest_run_was_clean(&g->run);
	if (g->state == GUEST_STOPPING) {
		clean_up(g, GUEST_STOPPED, g->forced ? "its VMM was ended" : "");
	} else if (clean && g->state != GUEST_STARTING) {
		clean_up(g, GUEST_STOPPED, g->shut_down ? "it powered itself off" : "its VMM ended");
	} else {
		struct error err;
		if (g->executed_fd >= 0 && guest_run_failure(g->executed_fd, g->guests->options->vmm, &err))
			snprintf(reason, sizeof(reason), "%.290s", err.text);
		else
			describe_end(g, &info, known, reason, sizeof(reason));
		clean_up(g, GUEST_CRASHED, reason);
	}
}

/* --- questions nobody waits for --- */

struct order {
	struct guest_qmp_question question;
	struct guest *guest;
	char command[32];
};

static void on_order_done(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct order *order = container_of(question, struct order, question);
	if (!result)
		log_warning("%s: its VMM has not done %s: %s", order->guest->definition->name, order->command, err->text);
	free(order);
}

int guest_order(struct guest *g, const char *command, const json_t *arguments, struct error *err)
{
	struct order *order = calloc(1, sizeof(*order));
	if (!order)
		return error_set(err, ENOMEM, "out of memory");
	order->question.answered = on_order_done;
	order->guest = g;
	snprintf(order->command, sizeof(order->command), "%s", command);
	int ret = guest_ask(g, command, arguments, &order->question, err);
	if (ret)
		free(order);
	return ret;
}

int guest_ask(struct guest *g, const char *command, const json_t *arguments, struct guest_qmp_question *question, struct error *err)
{
	if (!guest_has_vmm(g))
		return error_set(err, EBADFD, "%s: is not running; it is %s", g->definition->name, guest_state_name(g->state));
	int ret = guest_qmp_ask(&g->qmp, command, arguments, question, err);
	return ret ? error_prefix(err, "%s", g->definition->name) : 0;
}

int guest_set_target(struct guest *g, uint64_t bytes, struct error *err)
{
	if (bytes == g->target)
		return 0;
	json_t *arguments = json_pack("{s:I}", "target", (json_int_t)bytes);
	int ret = arguments ? guest_order(g, "set-memory", arguments, err) : error_set(err, ENOMEM, "out of memory");
	json_decref(arguments);
	if (ret == 0)
		g->target = bytes;
	return ret;
}

/* --- what the VMM says --- */

static void press_button(struct guest *g)
{
	struct error err;
	/* A guest that stands still would not notice. */
	int ret = guest_order(g, "cont", NULL, &err);
	if (ret == 0)
		ret = guest_order(g, "system_powerdown", NULL, &err);
	if (ret)
		log_warning("%s: its power button cannot be pressed: %s", g->definition->name, err.text);
}

static void on_status(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct guest *g = container_of(question, struct guest, status_question);
	const json_t *running = json_object_get(result, "running");
	struct error why;
	g->asking_status = false;
	if (!json_is_boolean(running)) {
		if (guest_has_vmm(g))
			log_debug("%s: its state is not known: %s", g->definition->name, result ? "nothing said" : err->text);
		return;
	}
	if (g->state == GUEST_STOPPING)
		return;
	if (g->state == GUEST_STARTING)
		ev_timer_stop(g->guests->loop, &g->patience);
	if (pins_apply(g, NULL, &why))
		log_warning("%s", why.text);
	guest_enter(g, json_is_true(running) ? GUEST_RUNNING : GUEST_PAUSED, "");
}

static void on_page(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct guest *g = container_of(question, struct guest, page_question);
	const json_t *fd = json_object_get(result, "fd");
	g->asking_page = false;
	if (!guest_has_vmm(g))
		return;
	if (!json_is_integer(fd) || json_integer_value(fd) < 0 || json_integer_value(fd) > 1 << 20) {
		log_warning("%s: there are no statistics: %s", g->definition->name, result ? "its VMM names no page" : err->text);
		return;
	}
	guest_stats_close(&g->stats);
	int ret = guest_stats_open(&g->stats, (int)g->process.pid, (int)json_integer_value(fd));
	if (ret)
		log_warning("%s: there are no statistics: %s", g->definition->name, strerror(-ret));
}

static void on_ready(struct guest_qmp_owner *owner)
{
	struct guest *g = container_of(owner, struct guest, owner);
	struct error err;
	if (!g->asking_status) {
		g->status_question.answered = on_status;
		g->asking_status = guest_ask(g, "query-status", NULL, &g->status_question, &err) == 0;
	}
	if (!g->stats.page && !g->asking_page) {
		g->page_question.answered = on_page;
		g->asking_page = guest_ask(g, "query-memory-stats-page", NULL, &g->page_question, &err) == 0;
	}
	if (g->state == GUEST_STOPPING)
		press_button(g);
}

static void on_lost(struct guest_qmp_owner *owner, const char *why)
{
	struct guest *g = container_of(owner, struct guest, owner);
	log_debug("%s: connection to its VMM lost: %s", g->definition->name, why);
}

static void on_event(struct guest_qmp_owner *owner, const char *event, const json_t *data)
{
	struct guest *g = container_of(owner, struct guest, owner);
	if (!strcmp(event, "SHUTDOWN")) {
		g->shut_down = true;
	} else if (!strcmp(event, "STOP") && g->state == GUEST_RUNNING) {
		guest_enter(g, GUEST_PAUSED, "");
	} else if (!strcmp(event, "RESUME") && g->state == GUEST_PAUSED) {
		guest_enter(g, GUEST_RUNNING, "");
	} else if (!strcmp(event, "RESET")) {
		guest_announce(g, "guest-reset", NULL);
	} else if (!strcmp(event, "MEMORY_ERROR")) {
		const char *reason = json_string_value(json_object_get(data, "reason"));
		const char *detail = json_string_value(json_object_get(data, "detail"));
		guest_announce(g, "guest-memory-error",
			       json_pack("{s:s, s:s}", "reason", reason ? reason : "", "detail", detail ? detail : ""));
		snprintf(g->reason, sizeof(g->reason), "memory cannot be brought back: %s", detail ? detail : "");
	}
}

/* --- starting --- */

static void on_executed(struct ev_loop *loop, ev_io *w, int events)
{
	struct guest *g = container_of(w, struct guest, executed);
	struct error err;
	(void)events;
	ev_io_stop(loop, w);
	/* Why it failed is read again when its process has ended. */
	if (guest_run_failure(g->executed_fd, g->guests->options->vmm, &err) == 0) {
		close(g->executed_fd);
		g->executed_fd = -1;
		return;
	}
	close(g->executed_fd);
	g->executed_fd = -1;
	waitid(P_PIDFD, (id_t)g->process.fd, &(siginfo_t){.si_pid = 0}, WEXITED);
	clean_up(g, GUEST_CRASHED, err.text);
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guest *g = container_of(w, struct guest, patience);
	(void)loop, (void)events;
	if (g->state == GUEST_STARTING) {
		log_error("%s: its VMM does not answer, and is killed", g->definition->name);
		signal_vmm(g, SIGKILL);
	} else if (!g->forced) {
		begin_forcing(g);
	} else {
		log_warning("%s: its VMM does not end, and is killed", g->definition->name);
		signal_vmm(g, SIGKILL);
	}
}

static void be_patient(struct guest *g, double seconds)
{
	ev_timer_stop(g->guests->loop, &g->patience);
	ev_timer_set(&g->patience, seconds > 0 ? seconds : 0., 0.);
	ev_timer_start(g->guests->loop, &g->patience);
}

/* The process is known: watches and talks to it. */
static int attach(struct guest *g, struct error *err)
{
	char path[300];
	g->owner = (struct guest_qmp_owner){on_ready, on_lost, on_event};
	snprintf(path, sizeof(path), "%s/qmp", g->run.path);
	int ret = guest_qmp_open(&g->qmp, g->guests->loop, &g->owner, path);
	if (ret)
		return error_set(err, -ret, "%s: %s", path, strerror(-ret));
	g->shut_down = g->forced = false;
	g->asking_status = g->asking_page = false;
	g->vmm_id = ++g->guests->last_vmm_id;
	g->started_at = clock_now_s();
	ev_timer_init(&g->patience, on_patience, 0., 0.);
	ev_io_init(&g->exited, on_exited, g->process.fd, EV_READ);
	ev_io_start(g->guests->loop, &g->exited);
	return 0;
}

int guest_watch_start(struct guest *g, struct error *err)
{
	int ret = attach(g, err);
	if (ret) {
		signal_vmm(g, SIGKILL);
		waitid(P_PIDFD, (id_t)g->process.fd, &(siginfo_t){.si_pid = 0}, WEXITED);
		clean_up(g, GUEST_CRASHED, err->text);
		return ret;
	}
	ev_io_init(&g->executed, on_executed, g->executed_fd, EV_READ);
	ev_io_start(g->guests->loop, &g->executed);
	be_patient(g, START_SECONDS);
	guest_enter(g, GUEST_STARTING, "");
	return 0;
}

/* --- stopping --- */

static void note_stopping(struct guest *g, double seconds)
{
	char text[64];
	snprintf(text, sizeof(text), "%.3f %d\n", clock_now_s() + seconds, g->forced);
	int ret = guest_run_put(&g->run, "stopping", text);
	if (ret)
		log_warning("%s/stopping: cannot be written: %s", g->run.path, strerror(-ret));
}

static void begin_forcing(struct guest *g)
{
	struct error err;
	g->forced = true;
	if (guest_order(g, "quit", NULL, &err))
		signal_vmm(g, SIGTERM);
	note_stopping(g, QUIT_SECONDS);
	be_patient(g, QUIT_SECONDS);
}

int guest_stop(struct guest *g, double timeout, struct error *err)
{
	bool was_stopping = g->state == GUEST_STOPPING;
	/* One that waits to be started again is not. */
	if (!guest_has_vmm(g) && ev_is_active(&g->restart)) {
		ev_timer_stop(g->guests->loop, &g->restart);
		return 0;
	}
	if (guest_waits_for_room(g)) {
		ev_timer_stop(g->guests->loop, &g->room);
		g->forced = true;
		guest_enter(g, GUEST_STOPPED, "it was stopped before there was memory for it");
		return 0;
	}
	if (!guest_has_vmm(g))
		return error_set(err, EBADFD, "%s: is not running; it is %s", g->definition->name, guest_state_name(g->state));
	if (was_stopping && (timeout > 0 || g->forced))
		return 0; /* as it is */
	guest_enter(g, GUEST_STOPPING, "");
	if (timeout <= 0) {
		begin_forcing(g);
		return 0;
	}
	note_stopping(g, timeout);
	be_patient(g, timeout);
	if (g->qmp.ready)
		press_button(g);
	return 0;
}

int guest_shutdown(struct guest *g, struct error *err)
{
	return guest_order(g, "system_powerdown", NULL, err);
}

/* --- after a restart of the daemon --- */

static void adopt_running(struct guest *g)
{
	struct error err;
	double deadline;
	int forced;
	g->is_shared = shared_group_has(g->process.pid);
	if (g->is_shared && !g->guests->shared && shared_group_create(&g->guests->shared) != 0)
		log_warning("%s: is in a control group with others that cannot be opened: it may stay above its target",
			    g->definition->name);
	if (attach(g, &err)) {
		log_error("%s: runs, but cannot be watched: %s", g->definition->name, err.text);
		guest_let_go(g);
		return;
	}
	g->target = UINT64_MAX; /* not known */
	char *stopping = guest_run_get(&g->run, "stopping");
	log_info("%s: found running, process %d", g->definition->name, (int)g->process.pid);
	if (stopping && sscanf(stopping, "%lf %d", &deadline, &forced) == 2) {
		g->forced = forced != 0;
		guest_enter(g, GUEST_STOPPING, "");
		be_patient(g, deadline - clock_now_s());
	} else {
		guest_enter(g, GUEST_RUNNING, "");
	}
	free(stopping);
}

static void adopt_ended(struct guest *g, bool ran)
{
	char *ended = guest_run_get(&g->run, "ended");
	if (ran) {
		/* It ended while nobody looked. */
		char *stopping = guest_run_get(&g->run, "stopping");
		bool clean = guest_run_was_clean(&g->run) || stopping;
		g->state = stopping ? GUEST_STOPPING : GUEST_RUNNING;
		free(stopping);
		clean_up(g, clean ? GUEST_STOPPED : GUEST_CRASHED,
			 clean ? "its VMM ended while the daemon was away" : "its VMM was killed while the daemon was away");
	} else if (ended) {
		const char *reason = strchr(ended, ' ');
		g->state = !strncmp(ended, "crashed", 7) ? GUEST_CRASHED : GUEST_STOPPED;
		snprintf(g->reason, sizeof(g->reason), "%s", reason ? reason + 1 : "");
		if (g->state == GUEST_CRASHED)
			guest_plan_restart(g);
	}
	free(ended);
}

void guest_adopt(struct guest *g)
{
	struct error err = {.code = 0};
	bool was;
	g->executed_fd = -1;
	g->process.fd = -1;
	ev_timer_init(&g->restart, on_restart, 0., 0.);
	guest_start_init(g);
	ev_timer_init(&g->patience, on_patience, 0., 0.);
	int ret = guest_run_find(&g->run, &g->process, &was, &err);
	if (ret == 0) {
		adopt_running(g);
		return;
	}
	g->process.fd = -1;
	if (ret != -ESRCH)
		log_error("%s: %s", g->definition->name, err.text);
	definition_free(g->started);
	g->started = NULL;
	adopt_ended(g, was && ret == -ESRCH);
}
