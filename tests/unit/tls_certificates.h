/* Authorities and certificates made for a test, and written where daemon and clients read them. */
#ifndef TESTS_UNIT_TLS_CERTIFICATES_H
#define TESTS_UNIT_TLS_CERTIFICATES_H

#include <check.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define TLS_DAY 86400

struct tls_authority {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t certificate;
};

static void tls_write(const char *path, gnutls_datum_t *text)
{
	FILE *file = fopen(path, "w");
	ck_assert_msg(file != NULL, "%s", path);
	size_t put = fwrite(text->data, 1, text->size, file);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_uint_eq(put, text->size);
	ck_assert_int_eq(chmod(path, 0600), 0);
	gnutls_free(text->data);
}

static void tls_make_key(gnutls_x509_privkey_t *key)
{
	ck_assert_int_eq(gnutls_x509_privkey_init(key), 0);
	ck_assert_int_eq(gnutls_x509_privkey_generate(*key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
			 0);
}

/* Not signed yet; valid for so many days, from a day ago or, when they are negative, until so many days ago. */
static gnutls_x509_crt_t tls_begin(const char *name, int days, gnutls_x509_privkey_t key)
{
	static unsigned char serial;
	gnutls_x509_crt_t c;
	time_t now = time(NULL);
	serial++;
	ck_assert_int_eq(gnutls_x509_crt_init(&c), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_version(c, 3), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_serial(c, &serial, 1), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_dn(c, name, NULL), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_key(c, key), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_activation_time(c, now + (days < 0 ? 2 * days : -1) * TLS_DAY), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_expiration_time(c, now + days * TLS_DAY), 0);
	return c;
}

static void tls_make_authority(const char *name, struct tls_authority *a)
{
	tls_make_key(&a->key);
	a->certificate = tls_begin(name, 30, a->key);
	ck_assert_int_eq(gnutls_x509_crt_set_ca_status(a->certificate, 1), 0);
	ck_assert_int_eq(gnutls_x509_crt_set_key_usage(a->certificate, GNUTLS_KEY_KEY_CERT_SIGN), 0);
	ck_assert_int_eq(gnutls_x509_crt_sign2(a->certificate, a->certificate, a->key, GNUTLS_DIG_SHA256, 0), 0);
}

static void tls_free_authority(struct tls_authority *a)
{
	gnutls_x509_crt_deinit(a->certificate);
	gnutls_x509_privkey_deinit(a->key);
}

static void tls_write_authority(const struct tls_authority *a, const char *path)
{
	gnutls_datum_t text;
	ck_assert_int_eq(gnutls_x509_crt_export2(a->certificate, GNUTLS_X509_FMT_PEM, &text), 0);
	tls_write(path, &text);
}

/* One and its key. purpose: an object identifier, or NULL for any; host: a name that it has besides, or NULL. */
static void tls_make_certificate(const struct tls_authority *a, const char *name, const char *purpose, const char *host, int days,
				 const char *path, const char *key_path)
{
	gnutls_x509_privkey_t key;
	gnutls_datum_t text;
	tls_make_key(&key);
	gnutls_x509_crt_t c = tls_begin(name, days, key);
	if (purpose)
		ck_assert_int_eq(gnutls_x509_crt_set_key_purpose_oid(c, purpose, 0), 0);
	if (host)
		ck_assert_int_eq(gnutls_x509_crt_set_subject_alt_name(c, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host),
								      GNUTLS_FSAN_SET),
				 0);
	ck_assert_int_eq(gnutls_x509_crt_set_key_usage(c, GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_ENCIPHERMENT), 0);
	ck_assert_int_eq(gnutls_x509_crt_sign2(c, a->certificate, a->key, GNUTLS_DIG_SHA256, 0), 0);
	ck_assert_int_eq(gnutls_x509_crt_export2(c, GNUTLS_X509_FMT_PEM, &text), 0);
	tls_write(path, &text);
	ck_assert_int_eq(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &text), 0);
	tls_write(key_path, &text);
	gnutls_x509_crt_deinit(c);
	gnutls_x509_privkey_deinit(key);
}

#endif
