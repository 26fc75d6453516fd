/*
 * The front door for libvirt's clients: virsh, virt-manager, virt-top, exporters. It says in their words what the rest of the daemon knows and does, by the same
 * functions that the API's commands call. Procedures are grouped by what they are about, one file each (procedures.h).
 */
#ifndef LIBVIRT_SERVER_H
#define LIBVIRT_SERVER_H

#include "host/arbiter_loop.h"
#include "host/guest.h"
#include "host/options.h"
#include "rpc/server.h"

struct dedup_server;
struct libvirt_subscription;
struct libvirt_console;
struct libvirt_question;
struct libvirt_reboot;
struct rpc_tls_door;

struct libvirt_server {
	struct rpc_server rpc;
	struct rpc_tls_door *tls; /* for clients from other machines; NULL: none */
	const struct host_options *options;
	struct guests *guests;
	struct dedup_server *dedup;
	struct arbiter_loop *arbiter; /* the owner sets it */
	struct guests_listener listener;
	struct libvirt_subscription *subscriptions; /* events.c */
	int last_subscription;
	struct libvirt_console *consoles;   /* console.c */
	struct libvirt_question *questions; /* polkit.c */
	struct libvirt_reboot *reboots;     /* lifecycle.c */
	char *paths[2];                     /* of the sockets that we have made */
};

/* Sockets that systemd may have made, in the order of enum rpc_access; the last is for TLS. */
#define LIBVIRT_SOCKETS 3

/*
 * Listens at virtpagodad-sock and virtpagodad-sock-ro in the directory that the options name. With claim_qemu they are called virtqemud-sock, where clients look for
 * libvirt's own daemon; -EEXIST when that is installed. inherited: LIBVIRT_SOCKETS that listen already, -1:
 * none; they are the server's from now on. Returns 0 or -errno with a sentence.
 */
int libvirt_server_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests,
			  struct dedup_server *dedup, const int inherited[LIBVIRT_SOCKETS], struct libvirt_server *server,
			  struct error *err);
/* A number that no client has for its events. */
int libvirt_next_subscription(struct libvirt_server *server);
/* Hangs up. May be called on what is all zero. */
void libvirt_server_destroy(struct libvirt_server *server);

#endif
