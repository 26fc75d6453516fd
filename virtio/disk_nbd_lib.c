/* See disk_nbd_lib.h. */
#include "virtio/disk_nbd_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define LIBRARY "libnbd.so.0"

/* Where each function goes in the table. */
static const struct {
	const char *symbol;
	size_t offset;
} functions[] = {
#define NBD_LIB_ENTRY(name) {"nbd_" #name, offsetof(struct nbd_lib, name)},
	NBD_LIB_FUNCTIONS(NBD_LIB_ENTRY)
#undef NBD_LIB_ENTRY
};

int nbd_lib_load(const struct nbd_lib **out, struct error *err)
{
	static struct nbd_lib lib;
	static void *handle; /* never closed: the table outlives every disk */
	if (!handle) {
		void *opened = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
		if (!opened)
			return error_set(err, ENOENT, "NBD disks need libnbd: %s; install the package libnbd0", dlerror());
		for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
			void *function = dlsym(opened, functions[i].symbol);
			if (!function) {
				dlclose(opened);
				return error_set(err, ENOENT, "%s has no %s: it is too old; install libnbd0 1.12 or newer", LIBRARY,
						 functions[i].symbol);
			}
			/* POSIX has dlsym() return functions as pointers to data. */
			memcpy((char *)&lib + functions[i].offset, &function, sizeof(function));
		}
		handle = opened;
	}
	*out = &lib;
	return 0;
}
