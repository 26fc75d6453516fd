/*
 * The API's server: two sockets, clients, requests. docs/API.md says what is spoken. Commands are in api_guests.c and api_host.c. Everything happens in the
 * loop's thread.
 */
#ifndef HOST_API_H
#define HOST_API_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "host/api_message.h"
#include "host/guest.h"

enum api_access {
	API_READ_WRITE,
	API_READ_ONLY,
};

struct api_client;
struct arbiter_loop;
struct placement_loop;
struct dedup_server;

struct api {
	struct ev_loop *loop;
	const struct host_options *options;
	struct guests *guests;
	struct dedup_server *dedup;
	struct arbiter_loop *arbiter; /* set once there is one */
	struct placement_loop *placement;
	struct api_door {
		struct api *api;
		enum api_access access;
		int fd;
		char *path; /* NULL: somebody else has made it, and removes it */
		ev_io acceptor;
	} doors[2];
	ev_timer accept_again;
	struct api_client *clients;
	unsigned nr_clients[2];
	struct guests_listener listener;
	double started;
};

/*
 * Listens. inherited: sockets that systemd has made, in the order of enum api_access, -1: none. guests->listener is set. Returns 0 or -errno with a
 * sentence.
 */
int api_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests, struct dedup_server *dedup,
	       const int inherited[2], struct api *api, struct error *err);
/* Hangs up. Requests that wait are answered to nobody. */
void api_destroy(struct api *api);

/* --- requests, for commands --- */

/* One request until it is answered: exactly once, by one of the functions below, which free it. */
struct api_request {
	struct api *api;
	struct api_client *client; /* NULL when it has gone */
	struct api_request *next;  /* of the client's */
	json_t *id;
	/* For commands that wait; their own. */
	struct guest_wait wait;
	struct guest_qmp_question question;
	struct guest *guest;
	bool is_done; /* what the VMM returns is of no interest */
	bool start_again;
};

/* Takes the reference; NULL: memory is short. */
void api_answer(struct api_request *request, json_t *result);
void api_refuse(struct api_request *request, const struct error *err);
/* The first of them when ret is 0, with {}, else the other. */
void api_done(struct api_request *request, int ret, const struct error *err);

struct api_command {
	const char *name;
	bool read_only; /* changes nothing */
	void (*run)(struct api_request *request, const json_t *arguments);
	const struct api_argument *arguments;
	size_t nr_arguments;
};
struct api_command_table {
	const struct api_command *commands;
	size_t nr;
};
extern const struct api_command_table api_guest_commands; /* api_guests.c */
extern const struct api_command_table api_host_commands;  /* api_host.c */
extern const struct api_command_table api_why_commands;   /* api_why.c */
/* By number over all tables; NULL past the last. */
const struct api_command *api_command_at(size_t index);

/* Which events the client of this request wants. names: an array, or NULL for all. Returns 0 or -ENOMEM. */
int api_watch(struct api_request *request, const json_t *names, bool on);

#endif
