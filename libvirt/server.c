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

static int open_tls(struct libvirt_server *s, struct error *err)
{
	const struct host_options *o = s->options;
	const struct rpc_tls_files files = {o->tls_authority, o->tls_certificate, o->tls_key, o->tls_names, o->nr_tls_names};
	struct rpc_tls_identity *identity = NULL;
	struct inet_address where;
	int ret = inet_address_parse("--tls", "0.0.0.0:16514", o->tls, &where, err);
	if (ret == 0)
		ret = rpc_tls_load(&files, &identity, err);
	if (ret)
		return ret;
	int fd = inet_door_open("--tls", &where, err);
	if (fd < 0) {
		rpc_tls_unload(identity);
		return fd;
	}
	if (rpc_tls_door_create(&s->rpc, fd, identity, HANDSHAKE_SECONDS, &s->tls)) {
		close(fd);
		rpc_tls_unload(identity);
		return error_set(err, ENOMEM, "out of memory");
	}
	log_info("libvirt's clients on other machines, with %s: TLS at %s",
		 o->nr_tls_names ? "a certificate whose name is in the list" : "any certificate of the authority", where.text);
	return 0;
}

int libvirt_server_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests,
			  struct dedup_server *dedup, struct libvirt_server *s, struct error *err)
{
	static const char *const suffixes[] = {"", "-ro"};
	const char *name = options->claim_qemu ? "virtqemud-sock" : "virtpagodad-sock";
	int fds[2] = {-1, -1};
	int ret = options->claim_qemu ? check_claim(err) : 0;
	int dir_fd = ret ? ret : directory_open("--libvirt", options->libvirt, 0755, err);
	if (dir_fd < 0)
		return dir_fd;
	close(dir_fd);
	*s = (struct libvirt_server){.options = options, .guests = guests, .dedup = dedup, .listener = {.event = libvirt_on_event}};
	for (int i = 0; ret == 0 && i < 2; i++) {
		bool for_group = i == RPC_READ_WRITE && options->group;
		if (asprintf(&s->paths[i], "%s/%s%s", options->libvirt, name, suffixes[i]) < 0) {
			s->paths[i] = NULL;
			ret = error_set(err, ENOMEM, "out of memory");
			break;
		}
		fds[i] = door_open("--libvirt", s->paths[i],
				   i == RPC_READ_ONLY ? 0666
				   : for_group        ? 0660
						      : 0600,
				   for_group ? options->group : NULL, err);
		ret = fds[i] < 0 ? fds[i] : 0;
	}
	rpc_server_create(loop, &program, fds, &s->rpc);
	if (ret == 0 && options->tls)
		ret = open_tls(s, err);
	if (ret) {
		libvirt_server_destroy(s);
		return ret;
	}
	guests_listen(guests, &s->listener);
	log_info("libvirt's clients: virsh -c 'qemu+unix:///system?socket=%s'", s->paths[0]);
	return 0;
}

void libvirt_server_destroy(struct libvirt_server *s)
{
	rpc_server_destroy(&s->rpc);
	/* Behind those who came by it. */
	rpc_tls_door_destroy(s->tls);
	s->tls = NULL;
	for (int i = 0; i < 2; i++) {
		if (s->paths[i])
			unlink(s->paths[i]);
		free(s->paths[i]);
		s->paths[i] = NULL;
	}
}
