/*
 * TLS under libvirt's protocol: who we are, who may come, and a session over a socket that does not block. A client must show a certificate that our authority has
 * signed, which is valid today and may be a client's, and whose name is in the list if there is one. The lists are written as libvirt's own daemon has them
 * (tls_allowed_dn_list), and names are spelled as by it.
 *
 *   begin --shake() says -EAGAIN, until the socket is ready--> shaken, its certificate checked --receive(), send()--> end
 */
#ifndef RPC_TLS_H
#define RPC_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"

#define RPC_TLS_RECORD_BYTES 16384 /* what one record holds at most */
#define RPC_TLS_NAME_BYTES 512

struct rpc_tls_identity;
struct rpc_tls;

struct rpc_tls_files {
	const char *authority, *certificate, *key; /* in PEM */
	const char *const *names;                  /* patterns (name_pattern.h); they must outlive the identity */
	unsigned nr_names;                         /* 0: everybody whom the authority has signed */
};

/* Reads the files. Returns 0, or -errno with a sentence that names the file. */
int rpc_tls_load(const struct rpc_tls_files *files, struct rpc_tls_identity **identity, struct error *err);
/* After all its sessions. NULL is let through. */
void rpc_tls_unload(struct rpc_tls_identity *identity);

/* A session as the server, over a socket that does not block and stays the caller's. Returns 0 or -ENOMEM. */
int rpc_tls_begin(const struct rpc_tls_identity *identity, int fd, struct rpc_tls **tls);
/* Goes on with the handshake. Returns 0 when it is done and the client may come in; -EAGAIN: when the socket is ready for *for_writing; -EACCES with a sentence. */
int rpc_tls_shake(struct rpc_tls *tls, bool *for_writing, struct error *err);
/* Whose certificate it is, when it is shaken. */
const char *rpc_tls_name(const struct rpc_tls *tls);
/*
 * Room for a whole record is a must: then nothing is left in the session that the loop, which watches the socket, would not see. Returns bytes, 0 at the end, -EAGAIN,
 * or -EPROTO.
 */
ssize_t rpc_tls_receive(struct rpc_tls *tls, void *data, size_t size);
/* After -EAGAIN the next call must begin with the same bytes. Returns how many have left, -EAGAIN, or -EPROTO. */
ssize_t rpc_tls_send(struct rpc_tls *tls, const void *data, size_t len);
/* Says good-bye if that does not take waiting. */
void rpc_tls_end(struct rpc_tls *tls);

#endif
