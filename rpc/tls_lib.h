/*
 * GnuTLS, loaded when the daemon is to listen for TLS: it and the libraries that it needs cost memory that hosts without such a door should not pay. So it is
 * called through a table of its functions, typed by its own header.
 */
#ifndef RPC_TLS_LIB_H
#define RPC_TLS_LIB_H

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/error.h"

#define TLS_LIB_FUNCTIONS(X)                \
	X(strerror)                         \
	X(error_is_fatal)                   \
	X(certificate_allocate_credentials) \
	X(certificate_free_credentials)     \
	X(certificate_set_x509_trust_file)  \
	X(certificate_set_x509_key_file)    \
	X(certificate_set_verify_limits)    \
	X(priority_init)                    \
	X(priority_deinit)                  \
	X(init)                             \
	X(deinit)                           \
	X(priority_set)                     \
	X(credentials_set)                  \
	X(certificate_server_set_request)   \
	X(transport_set_int2)               \
	X(handshake_set_max_packet_length)  \
	X(handshake)                        \
	X(record_get_direction)             \
	X(record_recv)                      \
	X(record_send)                      \
	X(alert_send)                       \
	X(bye)                              \
	X(certificate_verify_peers)         \
	X(certificate_get_peers)            \
	X(x509_crt_init)                    \
	X(x509_crt_deinit)                  \
	X(x509_crt_import)                  \
	X(x509_crt_get_dn)

#define TLS_LIB_MEMBER(name) typeof(gnutls_##name) *name;
struct tls_lib {
	TLS_LIB_FUNCTIONS(TLS_LIB_MEMBER)
};
#undef TLS_LIB_MEMBER

/* Loads it, once. *lib stays valid. Returns 0, or -ENOENT with a sentence that names the package. */
int tls_lib_load(const struct tls_lib **lib, struct error *err);

#endif
