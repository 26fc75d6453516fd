/* See tls_lib.h. */
#include "rpc/tls_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libgnutls.so.30"

/* Where each function goes in the table. */
static const struct {
	const char *symbol;
	size_t offset;
} functions[] = {
#define TLS_LIB_ENTRY(name) {"gnutls_" #name, offsetof(struct tls_lib, name)},
	TLS_LIB_FUNCTIONS(TLS_LIB_ENTRY)
#undef TLS_LIB_ENTRY
};

int tls_lib_load(const struct tls_lib **out, struct error *err)
{
	static struct tls_lib lib;
	static void *handle; /* never closed: the table outlives every client */
	if (!handle) {
		void *opened = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
		if (!opened)
			return error_set(err, ENOENT, "TLS needs GnuTLS: %s; install the package libgnutls30", dlerror());
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
			void *function = dlsym(opened, functions[i].symbol);
			if (!function) {
				dlclose(opened);
				return error_set(err, ENOENT, "%s has no %s: it is too old; install libgnutls30 3.7 or newer",
						 LIBRARY, functions[i].symbol);
			}
			/* POSIX has dlsym() return functions as pointers to data. */
			memcpy((char *)&lib + functions[i].offset, &function, sizeof(function));
		}
		handle = opened;
	}
	*out = &lib;
	return 0;
}
