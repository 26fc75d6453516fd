/* What procedures have in common: a call's guest, flags and errors, in libvirt's words. */
#ifndef LIBVIRT_CALL_H
#define LIBVIRT_CALL_H

#include "base/container_of.h"
#include "libvirt/server.h"
#include "rpc/parameters.h"
#include "rpc/server.h"

struct libvirt_call {
	struct rpc_call rpc; /* first */
	/* For procedures that wait; their own. */
	struct guest_wait wait;
	struct guest_qmp_question question;
	struct guest *guest;
	uint32_t number;
	bool flag;
};

static inline struct libvirt_call *libvirt_call(struct rpc_call *call)
{
	return container_of(call, struct libvirt_call, rpc);
}

static inline struct libvirt_server *libvirt_server_of(const struct rpc_call *call)
{
	return container_of(call->server, struct libvirt_server, rpc);
}

#define LIBVIRT_UUID_BYTES 16
#define LIBVIRT_NAME_BYTES 256
#define LIBVIRT_UNLIMITED 9007199254740991ull /* KiB: how memory without a limit is said */

/* A guest as clients name it. */
struct libvirt_domain {
	char name[LIBVIRT_NAME_BYTES];
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	int32_t id;
};
#define LIBVIRT_DOMAIN_LEAST_BYTES 24

void libvirt_get_domain(struct xdr_reader *r, struct libvirt_domain *domain);
void libvirt_put_guest(struct xdr_writer *w, const struct guest *guest);
/* Its number while it has a VMM, else -1. */
int32_t libvirt_id(const struct guest *guest);
/* 16 bytes of "8-4-4-4-12" digits. */
void libvirt_uuid_bytes(const char *text, uint8_t bytes[LIBVIRT_UUID_BYTES]);
struct guest *libvirt_guest_of_uuid(struct guests *guests, const uint8_t uuid[LIBVIRT_UUID_BYTES]);

/* The next four return NULL or false when the call is answered already: its arguments were wrong, there is no such guest, or not that flag. */
bool libvirt_arguments_end(struct rpc_call *call);
struct guest *libvirt_find(struct rpc_call *call, const struct libvirt_domain *domain);
bool libvirt_check_flags(struct rpc_call *call, uint32_t flags, uint32_t known);
/* Arguments that are a guest alone; a guest and flags of which known are known. */
struct guest *libvirt_guest(struct rpc_call *call);
struct guest *libvirt_guest_flags(struct rpc_call *call, uint32_t known, uint32_t *flags);

/* Logs who asks for a change. libvirt_find() does that, once the arguments are known to be whole. */
void libvirt_note(const struct rpc_call *call, const char *guest);

/* By errno value. */
void libvirt_refuse(struct rpc_call *call, const struct error *err);
/* An answer without content when ret is 0. */
void libvirt_done(struct rpc_call *call, int ret, const struct error *err);
void libvirt_answer_i32(struct rpc_call *call, int32_t value);
void libvirt_answer_string(struct rpc_call *call, const char *text);
__attribute__((format(printf, 3, 4))) void libvirt_refuse_text(struct rpc_call *call, enum rpc_error code, const char *format, ...);

/* Flags that say whether a change is for the guest that runs, for its definition, or (neither) for what it is now. */
#define LIBVIRT_LIVE 1u
#define LIBVIRT_CONFIG 2u
/*
 * Changes members of the definition (guest_tune()) and answers with nothing. Takes the reference to set; NULL: memory is short.
 */
void libvirt_tune(struct rpc_call *call, struct guest *guest, json_t *set, uint32_t flags);
/* What a question with these flags is about: the definition in force, or the one for the next start. NULL: it does not run, and the call is answered. */
const struct definition *libvirt_look(struct rpc_call *call, const struct guest *guest, uint32_t flags);

#endif
