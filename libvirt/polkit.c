/* See polkit.h. */
#include "libvirt/polkit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "host/process.h"
#include "libvirt/call.h"
#include "libvirt/procedures.h"

#define PKCHECK "/usr/bin/pkcheck"
#define ACTION "org.libvirt.unix.manage"

/* What pkcheck exits with besides 0. */
enum answer {
	NOT_AUTHORIZED = 1,
	NO_AGENT = 2,
	DISMISSED = 3,
};

struct libvirt_question {
	struct libvirt_server *server;
	struct libvirt_question *next;
	struct rpc_call *call;
	struct process pkcheck;
	ev_io ended;
};

int libvirt_polkit_check(struct error *err)
{
	if (access(PKCHECK, X_OK) == 0)
		return 0;
	return error_set(err, ENOENT, "--polkit: there is no " PKCHECK "; install polkitd, or leave --polkit out and give --group");
}

/* --- a question --- */

static void forget(struct libvirt_question *q)
{
	struct libvirt_question **at = &q->server->questions;
	while (*at != q)
		at = &(*at)->next;
	*at = q->next;
	ev_io_stop(q->server->rpc.loop, &q->ended);
	process_close(&q->pkcheck);
	free(q);
}

static void answer(struct rpc_call *call, int status)
{
	const char *who = call->client ? rpc_client_who(call->client) : "who has gone";
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
		log_info("a client of libvirt's protocol is let in by polkit: %s", who);
		if (call->client)
			rpc_let_in(call->client);
		libvirt_answer_i32(call, 1);
		return;
	}
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : NOT_AUTHORIZED;
	log_guest_error("a client of libvirt's protocol is not let in by polkit (%d): %s", code, who);
	if (code == NO_AGENT)
		libvirt_refuse_text(call, RPC_AUTH_UNAVAILABLE,
				    "authentication unavailable: polkit asks for a password for " ACTION
				    ", and there is no agent to type it at; start one, or let an administrator write a rule");
	else if (code == DISMISSED)
		libvirt_refuse_text(call, RPC_AUTH_CANCELLED, "polkit: who was asked for a password gave none");
	else
		libvirt_refuse_text(call, RPC_AUTH_FAILED, "polkit does not authorize you for " ACTION);
}

static void on_ended(struct ev_loop *loop, ev_io *w, int events)
{
	struct libvirt_question *q = container_of(w, struct libvirt_question, ended);
	struct rpc_call *call = q->call;
	int status = 0;
	(void)loop, (void)events;
	if (waitpid(q->pkcheck.pid, &status, WNOHANG) == 0)
		return;
	forget(q);
	answer(call, status);
}

/* A process with nothing of the daemon's. Returns its number or -errno. */
static int spawn(const char *subject)
{
	const char *words[] = {PKCHECK, "--action-id", ACTION, "--process", subject, "--allow-user-interaction", NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t pipe, none;
	pid_t pid = 0;
	int ret = posix_spawn_file_actions_init(&files);
	if (ret)
		return -ret;
	ret = posix_spawnattr_init(&attributes);
	if (ret) {
		posix_spawn_file_actions_destroy(&files);
		return -ret;
	}
	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	for (int fd = 0; ret == 0 && fd < 3; fd++)
		ret = posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	if (ret == 0)
		ret = posix_spawnattr_setsigmask(&attributes, &none);
	if (ret == 0)
		ret = posix_spawnattr_setsigdefault(&attributes, &pipe);
	if (ret == 0)
		ret = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (ret == 0)
		ret = posix_spawn(&pid, PKCHECK, &files, &attributes, (char *const *)words, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&files);
	return ret ? -ret : (int)pid;
}

/* The subject is process, time of its start, and user as the kernel had them when it connected: another that has its number by now is another user's, or another. */
static int ask(struct libvirt_server *s, struct rpc_call *call)
{
	struct process peer;
	char subject[80];
	int ret = process_of_peer(rpc_client_socket(call->client), &peer);
	if (ret)
		return ret;
	snprintf(subject, sizeof(subject), "%d,%" PRIu64 ",%u", (int)peer.pid, peer.start, (unsigned)peer.uid);
	process_close(&peer);
	struct libvirt_question *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	int pid = spawn(subject);
	ret = pid < 0 ? pid : process_of_child(pid, &q->pkcheck);
	if (ret) {
		if (pid > 0) {
			kill(pid, SIGKILL);
			waitpid(pid, NULL, 0);
		}
		free(q);
		return ret;
	}
	q->server = s;
	q->call = call;
	q->next = s->questions;
	s->questions = q;
	ev_io_init(&q->ended, on_ended, q->pkcheck.fd, EV_READ);
	ev_io_start(s->rpc.loop, &q->ended);
	return 0;
}

static bool is_asked(const struct libvirt_server *s, const struct rpc_client *client)
{
	for (const struct libvirt_question *q = s->questions; q; q = q->next)
		if (q->call->client == client)
			return true;
	return false;
}

static void run_auth_polkit(struct rpc_call *call)
{
	struct libvirt_server *s = libvirt_server_of(call);
	if (!libvirt_arguments_end(call))
		return;
	if (!rpc_is_outside(call->client)) {
		libvirt_answer_i32(call, 1);
	} else if (is_asked(s, call->client)) {
		libvirt_refuse_text(call, RPC_BUSY, "polkit is being asked already");
	} else {
		int ret = ask(s, call);
		if (ret)
			libvirt_refuse_text(call, RPC_AUTH_FAILED, "polkit cannot be asked: %s", strerror(-ret));
	}
}

/* --- ends --- */

void libvirt_polkit_forget(struct libvirt_server *s, const struct rpc_client *client)
{
	/* What is left is done when it has ended. */
	for (const struct libvirt_question *q = s->questions; q; q = q->next)
		if (q->call->client == client)
			kill(q->pkcheck.pid, SIGKILL);
}

void libvirt_polkit_end(struct libvirt_server *s)
{
	for (struct libvirt_question *q = s->questions, *next; q; q = next) {
		struct rpc_call *call = q->call;
		next = q->next;
		kill(q->pkcheck.pid, SIGKILL);
		waitpid(q->pkcheck.pid, NULL, 0);
		forget(q);
		libvirt_refuse_text(call, RPC_AUTH_FAILED, "the daemon ends");
	}
}

static const struct rpc_procedure procedures[] = {
	{.number = 70, .name = "auth-polkit", .outside = true, .run = run_auth_polkit},
};
const struct libvirt_procedures libvirt_polkit_procedures = LIBVIRT_PROCEDURES(procedures);
