/* See tls.h. */
#include "rpc/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/name_pattern.h"
#include "rpc/tls_lib.h"

#define MOST_CHAIN 8               /* certificates that a client may show */
#define MOST_KEY_BITS 16384        /* of one of them */
#define MOST_HANDSHAKE_BYTES 65536 /* of one message */
#define PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2"

struct rpc_tls_identity {
	const struct tls_lib *lib;
	gnutls_certificate_credentials_t credentials;
	gnutls_priority_t priorities;
	const char *const *names;
	unsigned nr_names;
};

struct rpc_tls {
	const struct rpc_tls_identity *identity;
	const struct tls_lib *lib;
	gnutls_session_t session;
	bool stuck; /* a record waits to leave */
	char name[RPC_TLS_NAME_BYTES];
};

/* --- who we are --- */

/* GnuTLS says "error while reading file", whatever it was. */
static int check_file(const char *what, const char *path, bool secret, struct error *err)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return error_set(err, errno, "%s %s: %s", what, path, strerror(errno));
	int ret = fstat(fd, &st) < 0 ? -errno : 0;
	close(fd);
	if (ret)
		return error_set(err, -ret, "%s %s: %s", what, path, strerror(-ret));
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "%s %s: is no file", what, path);
	if (secret && st.st_mode & 7)
		return error_set(err, EPERM,
				 "%s %s: everybody may read it, so that it is no secret; chmod o= it, or make a new one", what,
				 path);
	return 0;
}

static int load(struct rpc_tls_identity *id, const struct rpc_tls_files *f, struct error *err)
{
	const struct tls_lib *lib = id->lib;
	if (lib->certificate_allocate_credentials(&id->credentials) < 0 ||
	    lib->priority_init(&id->priorities, PRIORITIES, NULL) < 0)
		return error_set(err, ENOMEM,
				 "GnuTLS cannot be set up: memory is short, or this host's policy forbids TLS 1.2 and 1.3");
	int ret = lib->certificate_set_x509_trust_file(id->credentials, f->authority, GNUTLS_X509_FMT_PEM);
	if (ret <= 0)
		return error_set(err, EINVAL, "the authority's certificate %s: %s", f->authority,
				 ret ? lib->strerror(ret) : "there is none in it");
	ret = lib->certificate_set_x509_key_file(id->credentials, f->certificate, f->key, GNUTLS_X509_FMT_PEM);
	if (ret < 0)
		return error_set(err, EINVAL, "the certificate %s with the key %s: %s", f->certificate, f->key, lib->strerror(ret));
	lib->certificate_set_verify_limits(id->credentials, MOST_KEY_BITS, MOST_CHAIN);
	return 0;
}

int rpc_tls_load(const struct rpc_tls_files *f, struct rpc_tls_identity **identity, struct error *err)
{
	const struct tls_lib *lib;
	int ret = check_file("the authority's certificate", f->authority, false, err);
	if (ret == 0)
		ret = check_file("the certificate", f->certificate, false, err);
	if (ret == 0)
		ret = check_file("the key", f->key, true, err);
	if (ret == 0)
		ret = tls_lib_load(&lib, err);
	if (ret)
		return ret;
	struct rpc_tls_identity *id = calloc(1, sizeof(*id));
	if (!id)
		return error_set(err, ENOMEM, "out of memory");
	*id = (struct rpc_tls_identity){.lib = lib, .names = f->names, .nr_names = f->nr_names};
	ret = load(id, f, err);
	if (ret)
		rpc_tls_unload(id);
	else
		*identity = id;
	return ret;
}

void rpc_tls_unload(struct rpc_tls_identity *id)
{
	if (!id)
		return;
	if (id->priorities)
		id->lib->priority_deinit(id->priorities);
	if (id->credentials)
		id->lib->certificate_free_credentials(id->credentials);
	free(id);
}

/* --- who comes --- */

int rpc_tls_begin(const struct rpc_tls_identity *id, int fd, struct rpc_tls **out)
{
	const struct tls_lib *lib = id->lib;
	struct rpc_tls *tls = calloc(1, sizeof(*tls));
	if (!tls)
		return -ENOMEM;
	*tls = (struct rpc_tls){.identity = id, .lib = lib};
	/* libvirt's clients take a ticket of TLS 1.3 for the byte that they wait for. */
	if (lib->init(&tls->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS) < 0) {
		free(tls);
		return -ENOMEM;
	}
	if (lib->priority_set(tls->session, id->priorities) < 0 ||
	    lib->credentials_set(tls->session, GNUTLS_CRD_CERTIFICATE, id->credentials) < 0) {
		lib->deinit(tls->session);
		free(tls);
		return -ENOMEM;
	}
	lib->certificate_server_set_request(tls->session, GNUTLS_CERT_REQUIRE);
	lib->handshake_set_max_packet_length(tls->session, MOST_HANDSHAKE_BYTES);
	lib->transport_set_int2(tls->session, fd, fd);
	*out = tls;
	return 0;
}

/* The name of the client's own certificate. Returns false when it has none that fits. */
static bool read_name(struct rpc_tls *tls)
{
	const struct tls_lib *lib = tls->lib;
	unsigned nr = 0;
	size_t size = sizeof(tls->name);
	gnutls_x509_crt_t certificate;
	const gnutls_datum_t *chain = lib->certificate_get_peers(tls->session, &nr);
	if (!chain || nr == 0 || lib->x509_crt_init(&certificate) < 0)
		return false;
	bool ok = lib->x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER) >= 0 &&
		  lib->x509_crt_get_dn(certificate, tls->name, &size) >= 0;
	lib->x509_crt_deinit(certificate);
	for (size_t i = 0; ok && tls->name[i]; i++)
		if ((unsigned char)tls->name[i] < ' ' || tls->name[i] == 127)
			tls->name[i] = '?'; /* it is logged */
	if (!ok)
		tls->name[0] = '\0';
	return ok && tls->name[0];
}

static bool is_listed(const struct rpc_tls *tls)
{
	for (unsigned i = 0; i < tls->identity->nr_names; i++)
		if (name_pattern_fits(tls->identity->names[i], tls->name))
			return true;
	return tls->identity->nr_names == 0;
}

static const char *why_bad(unsigned status)
{
	if (status & GNUTLS_CERT_EXPIRED)
		return "has expired";
	if (status & GNUTLS_CERT_NOT_ACTIVATED)
		return "is not valid yet";
	if (status & (GNUTLS_CERT_SIGNER_NOT_FOUND | GNUTLS_CERT_SIGNER_NOT_CA | GNUTLS_CERT_SIGNATURE_FAILURE))
		return "is not signed by our authority";
	if (status & GNUTLS_CERT_PURPOSE_MISMATCH)
		return "is not for clients";
	if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
		return "is signed by an algorithm that is no longer safe";
	return "is not valid";
}

static int check_certificate(struct rpc_tls *tls, struct error *err)
{
	const struct tls_lib *lib = tls->lib;
	unsigned status = 0;
	gnutls_typed_vdata_st purpose = {.type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)GNUTLS_KP_TLS_WWW_CLIENT};
	int ret = lib->certificate_verify_peers(tls->session, &purpose, 1, &status);
	bool named = read_name(tls);
	if (ret < 0)
		return error_set(err, EACCES, "its certificate cannot be checked: %s", lib->strerror(ret));
	if (status)
		return error_set(err, EACCES, "its certificate %s: %.200s", why_bad(status), tls->name);
	if (!named)
		return error_set(err, EACCES, "its certificate has no name, or one that is too long");
	if (!is_listed(tls))
		return error_set(err, EACCES, "the name in its certificate is not in the list (--tls-allow): %.200s", tls->name);
	return 0;
}

int rpc_tls_shake(struct rpc_tls *tls, bool *for_writing, struct error *err)
{
	const struct tls_lib *lib = tls->lib;
	int ret = lib->handshake(tls->session);
	if (ret < 0 && !lib->error_is_fatal(ret)) {
		*for_writing = lib->record_get_direction(tls->session) == 1;
		return -EAGAIN;
	}
	if (ret == GNUTLS_E_NO_CERTIFICATE_FOUND || ret == GNUTLS_E_CERTIFICATE_REQUIRED)
		return error_set(err, EACCES, "it has no certificate");
	if (ret < 0)
		return error_set(err, EACCES, "the handshake failed: %s", lib->strerror(ret));
	ret = check_certificate(tls, err);
	if (ret)
		(void)lib->alert_send(tls->session, GNUTLS_AL_FATAL, GNUTLS_A_BAD_CERTIFICATE);
	return ret;
}

const char *rpc_tls_name(const struct rpc_tls *tls)
{
	return tls->name;
}

/* --- bytes --- */

static ssize_t error_number(const struct rpc_tls *tls, ssize_t ret)
{
	return tls->lib->error_is_fatal((int)ret) || ret == GNUTLS_E_REHANDSHAKE ? -EPROTO : -EAGAIN;
}

ssize_t rpc_tls_receive(struct rpc_tls *tls, void *data, size_t size)
{
	ssize_t got = tls->lib->record_recv(tls->session, data, size);
	return got < 0 ? error_number(tls, got) : got;
}

ssize_t rpc_tls_send(struct rpc_tls *tls, const void *data, size_t len)
{
	/* What waits has been sealed already. */
	ssize_t put = tls->lib->record_send(tls->session, tls->stuck ? NULL : data, tls->stuck ? 0 : len);
	tls->stuck = put < 0;
	return put < 0 ? error_number(tls, put) : put;
}

void rpc_tls_end(struct rpc_tls *tls)
{
	(void)tls->lib->bye(tls->session, GNUTLS_SHUT_WR);
	tls->lib->deinit(tls->session);
	free(tls);
}
