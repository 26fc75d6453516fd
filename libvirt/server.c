/* See server.h. */
#include "libvirt/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "host/directory.h"
#include "host/door.h"
#include "host/inet_door.h"
#include "libvirt/call.h"
#include "libvirt/console.h"
#include "libvirt/events.h"
#include "libvirt/lifecycle.h"
#include "libvirt/polkit.h"
#include "libvirt/procedures.h"
#include "rpc/tls_door.h"

#define HANDSHAKE_SECONDS 10.

static struct libvirt_server *server_of(const struct rpc_client *client)
{
	return container_of(rpc_client_server(client), struct libvirt_server, rpc);
}

static void on_stream(struct rpc_client *client, const struct rpc_header *header, struct xdr_reader *data)
{
	libvirt_console_packet(server_of(client), client, header, data);
}

static void on_drained(struct rpc_client *client)
{
	libvirt_console_resume(server_of(client), client);
}

static void on_gone(struct rpc_client *client)
{
	libvirt_polkit_forget(server_of(client), client);
	libvirt_console_forget(server_of(client), client);
	libvirt_events_forget(server_of(client), client);
}

static const struct rpc_program program = {
	.call_bytes = sizeof(struct libvirt_call),
	.find = libvirt_procedure,
	.stream = on_stream,
	.drained = on_drained,
	.gone = on_gone,
};

int libvirt_next_subscription(struct libvirt_server *s)
{
	s->last_subscription = s->last_subscription < INT32_MAX ? s->last_subscription + 1 : 1;
	return s->last_subscription;
}

/* Two daemons that both say to be QEMU's confuse everybody. */
static int check_claim(struct error *err)
{
	static const char *const programs[] = {"/usr/sbin/virtqemud", "/usr/sbin/libvirtd", "/usr/local/sbin/virtqemud",
					       "/usr/local/sbin/libvirtd"};
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (access(programs[i], F_OK) == 0)
			return error_set(err, EEXIST,
					 "--claim-qemu: libvirt's own daemon is installed (%s), and its clients look for it at "
					 "that socket; remove it, or "
					 "leave --claim-qemu out and give clients the socket's path",
					 programs[i]);
	return 0;
}

/* For clients on other machines; inherited: -1 or a socket that listens. */
static int open_tls(struct libvirt_server *s, int inherited, struct error *err)
{
	const struct host_options *o = s->options;
	const struct rpc_tls_files files = {o->tls_authority, o->tls_certificate, o->tls_key, o->tls_names, o->nr_tls_names};
	struct rpc_tls_identity *identity = NULL;
	struct inet_address where = {.text = "systemd's socket"};
	int ret = rpc_tls_load(&files, &identity, err), fd = inherited;
	if (ret == 0 && fd < 0)
		ret = inet_address_parse("--tls", "0.0.0.0:16514", o->tls, &where, err);
	if (ret == 0 && fd < 0) {
		fd = inet_door_open("--tls", &where, err);
		ret = fd < 0 ? fd : 0;
	}
	if (ret == 0 && rpc_tls_door_create(&s->rpc, fd, identity, HANDSHAKE_SECONDS, &s->tls))
		ret = error_set(err, ENOMEM, "out of memory");
	if (ret) {
		rpc_tls_unload(identity);
		if (fd >= 0)
			close(fd);
		return ret;
	}
	log_info("libvirt's clients on other machines, with %s: TLS at %s",
		 o->nr_tls_names ? "a certificate whose name is in the list" : "any certificate of the authority", where.text);
	return 0;
}

/* Returns a descriptor, or -errno with a sentence. */
static int open_local(struct libvirt_server *s, enum rpc_access access, struct error *err)
{
	static const char *const suffixes[] = {"", "-ro"};
	const struct host_options *o = s->options;
	bool for_all = access == RPC_READ_ONLY || o->polkit, for_group = !for_all && o->group;
	unsigned mode = for_all ? 0666 : for_group ? 0660 : 0600;
	if (asprintf(&s->paths[access], "%s/%s%s", o->libvirt, o->claim_qemu ? "virtqemud-sock" : "virtpagodad-sock",
		     suffixes[access]) < 0) {
		s->paths[access] = NULL;
		return error_set(err, ENOMEM, "out of memory");
	}
	return door_open("--libvirt", s->paths[access], mode, for_group ? o->group : NULL, err);
}

int libvirt_server_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests,
			  struct dedup_server *dedup, const int inherited[LIBVIRT_SOCKETS], struct libvirt_server *s,
			  struct error *err)
{
	int fds[2] = {inherited[RPC_READ_WRITE], inherited[RPC_READ_ONLY]}, tls = inherited[2];
	int ret = options->claim_qemu ? check_claim(err) : 0;
	*s = (struct libvirt_server){.options = options, .guests = guests, .dedup = dedup, .listener = {.event = libvirt_on_event}};
	if (ret == 0 && options->nr_tls_names && !options->tls && tls < 0)
		ret = error_set(err, EINVAL, "--tls-allow: says who may come by TLS, but there is no --tls=ADDRESS:PORT");
	if (ret == 0 && (fds[0] < 0 || fds[1] < 0)) {
		ret = directory_open("--libvirt", options->libvirt, 0755, err);
		if (ret >= 0)
			ret = close(ret);
	}
	for (int i = 0; ret == 0 && i < 2; i++)
		if (fds[i] < 0) {
			fds[i] = open_local(s, (enum rpc_access)i, err);
			ret = fds[i] < 0 ? fds[i] : 0;
		}
	rpc_server_create(loop, &program, fds, &s->rpc);
	s->rpc.asks = options->polkit;
	if (ret == 0 && options->polkit)
		ret = libvirt_polkit_check(err);
	if (ret == 0 && (options->tls || tls >= 0))
		ret = open_tls(s, tls, err);
	if (ret) {
		libvirt_server_destroy(s);
		return ret;
	}
	guests_listen(guests, &s->listener);
	if (s->paths[RPC_READ_WRITE])
		log_info("libvirt's clients: virsh -c 'qemu+unix:///system?socket=%s'", s->paths[RPC_READ_WRITE]);
	return 0;
}

void libvirt_server_destroy(struct libvirt_server *s)
{
	libvirt_polkit_end(s);
	rpc_server_destroy(&s->rpc);
	/* Behind those who came by it. */
	rpc_tls_door_destroy(s->tls);
	s->tls = NULL;
	libvirt_forget_reboots(s, NULL);
	for (int i = 0; i < 2; i++) {
		if (s->paths[i])
			unlink(s->paths[i]);
		free(s->paths[i]);
		s->paths[i] = NULL;
	}
}
