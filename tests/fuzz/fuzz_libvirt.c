/*
 * Fuzzes what clients of libvirt's protocol send, from the bytes of the stream to the procedures: the input chooses procedures and their arguments, for guests that there
 * are and for others, or is the stream itself; it comes in pieces. Every answer must be a whole message. Guests are defined, changed and renamed, but none
 * can be started: there is no memory for them.
 */
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "libvirt/call.h"
#include "libvirt/server.h"
#include "tests/fuzz/fuzz_input.h"

#define NAMES 2

static struct ev_loop *loop;
static struct host_options options;
static struct guests guests;
static struct libvirt_server server;
static struct arbiter_loop arbiter;
static char directory[64], paths[4][100];

static int admit(struct guests *all, const struct definition *definition, struct error *err)
{
	(void)all;
	return error_set(err, EDQUOT, "%s: there is no memory", definition->name);
}

static bool has_room(struct guests *all, const struct guest *guest)
{
	(void)all, (void)guest;
	return false;
}

static void remove_directory(void)
{
	char command[100];
	libvirt_server_destroy(&server);
	guests_destroy(&guests);
	arbiter_loop_destroy(&arbiter);
	snprintf(command, sizeof(command), "rm -rf %s", directory);
	fuzz_need(system(command) == 0); // NOLINT(cert-env33-c)
}

static void set_up(void)
{
	static const char *const names[] = {"run", "definitions", "logs", "libvirt"};
	static const int no_sockets[LIBVIRT_SOCKETS] = {-1, -1, -1};
	struct error err;
	struct stat st;
	log_open("fuzz", LOG_LEVEL_ERROR);
	signal(SIGPIPE, SIG_IGN);
	snprintf(directory, sizeof(directory), "%s/pagoda-fuzz-XXXXXX", stat("/dev/shm", &st) == 0 ? "/dev/shm" : "/tmp");
	fuzz_need(mkdtemp(directory) != NULL);
	for (unsigned i = 0; i < 4; i++)
		snprintf(paths[i], sizeof(paths[i]), "%s/%s", directory, names[i]);
	loop = ev_loop_new(0);
	options = (struct host_options){
		.run = paths[0], .definitions = paths[1], .logs = paths[2], .libvirt = paths[3], .vmm = "/vmm"};
	fuzz_need(loop && guests_create(loop, &options, &guests, &err) == 0);
	fuzz_need(arbiter_loop_create(loop, &guests, NULL, &arbiter, &err) == 0);
	fuzz_need(libvirt_server_create(loop, &options, &guests, NULL, no_sockets, &server, &err) == 0);
	server.arbiter = &arbiter;
	guests.admit = admit;
	guests.has_room = has_room;
	atexit(remove_directory);
}

/* The same guests for each input: a and b. */
static void make_guests(void)
{
	struct error err;
	struct guest *g;
	while (guests.first)
		fuzz_need(guest_undefine(guests.first, &err) == 0);
	for (unsigned i = 0; i < NAMES; i++) {
		json_t *d = json_pack("{s:s, s:s, s:i, s:s, s:[{s:s}], s:[{s:s, s:s}]}", "name", i ? "b" : "a", "uuid",
				      i ? "00000000-0000-4000-8000-000000000001" : "00000000-0000-4000-8000-000000000000", "memory",
				      64 << 20, "kernel", "/kernel", "drives", "file", "/dev/null", "netdevs", "kind", "tap",
				      "ifname", "tap0");
		fuzz_need(d && guests_define(&guests, d, false, &g, &err) == 0);
		json_decref(d);
	}
}

/* One message: a procedure, perhaps a guest that there is, and whatever follows. */
static void put_message(struct xdr_writer *stream, struct fuzz_input *in, uint32_t serial)
{
	static const uint32_t programs[] = {RPC_PROGRAM, RPC_PROGRAM, RPC_PROGRAM, RPC_KEEPALIVE_PROGRAM};
	static const uint32_t types[] = {RPC_CALL, RPC_CALL, RPC_CALL, RPC_STREAM};
	struct xdr_writer w = {.data = NULL};
	uint8_t choice = (uint8_t)fuzz_take(in, 1);
	struct rpc_header h = {programs[choice & 3],   RPC_VERSION, (uint32_t)fuzz_take(in, 2) % 512,
			       types[choice >> 2 & 3], serial,      RPC_OK};
	rpc_begin(&w);
	if (choice & 0x10) {
		static const uint8_t uuid[16] = {[6] = 0x40, [8] = 0x80};
		xdr_put_string(&w, "a");
		xdr_put_fixed(&w, uuid, sizeof(uuid));
		xdr_put_i32(&w, -1);
	}
	size_t len = 4 * (size_t)fuzz_take(in, 1);
	len = len < in->left ? len : in->left;
	xdr_put_fixed(&w, in->at, len);
	in->at += len;
	in->left -= len;
	if (h.type == RPC_STREAM)
		h.status = choice >> 5;
	rpc_end(&w, &h);
	xdr_put_fixed(stream, w.data, w.len);
	xdr_writer_free(&w);
}

static void hear(int fd, struct rpc_input *heard)
{
	struct rpc_header h;
	struct xdr_reader payload;
	ssize_t got;
	do {
		uint8_t *room = rpc_input_room(heard, 65536);
		got = recv(fd, room, 65536, MSG_DONTWAIT);
		rpc_input_add(heard, got > 0 ? (size_t)got : 0);
		int ret;
		while ((ret = rpc_input_next(heard, &h, &payload)) > 0)
			fuzz_need(h.type == RPC_REPLY || h.type == RPC_EVENT || h.type == RPC_STREAM);
		fuzz_need(ret == 0);
	} while (got > 0);
}

static void turn(void)
{
	ev_run(loop, EVRUN_NOWAIT);
	ev_run(loop, EVRUN_NOWAIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct xdr_writer stream = {.data = NULL};
	struct rpc_input heard = {.data = NULL};
	int fds[2];
	if (!loop)
		set_up();
	make_guests();
	uint8_t choice = (uint8_t)fuzz_take(&in, 1);
	size_t piece = 1 + fuzz_take(&in, 2);
	if (choice & 1)
		xdr_put_fixed(&stream, in.at, in.left);
	for (uint32_t serial = 0; !(choice & 1) && in.left; serial++)
		put_message(&stream, &in, serial);
	fuzz_need(!stream.failed && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	fuzz_need(rpc_server_take(&server.rpc, fds[1], choice & 2 ? RPC_READ_ONLY : RPC_READ_WRITE) == 0);
	for (size_t sent = 0; sent < stream.len;) {
		size_t now = piece < stream.len - sent ? piece : stream.len - sent;
		ssize_t put = send(fds[0], stream.data + sent, now, MSG_NOSIGNAL);
		if (put < 0 && errno != EAGAIN)
			break; /* it has hung up */
		sent += put > 0 ? (size_t)put : 0;
		turn();
		hear(fds[0], &heard);
	}
	turn();
	hear(fds[0], &heard);
	close(fds[0]);
	turn();
	fuzz_need(server.rpc.nr_clients == 0 && !server.subscriptions && !server.consoles);
	if (choice & 2)
		fuzz_need(guests.first && guests.first->next && !guests.first->next->next &&
			  !strcmp(guests.first->definition->name, "a"));
	rpc_input_free(&heard);
	xdr_writer_free(&stream);
	return 0;
}
