/* See socket_of_uri.h. */
#include "remote/socket_of_uri.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int check_uri(const char *uri, struct error *err)
{
	static const char *const schemes[] = {"qemu", "pagoda"};
	size_t scheme = strcspn(uri, ":"), i = 0;
	const char *rest = uri + scheme;
	while (i < 2 && (strlen(schemes[i]) != scheme || strncmp(uri, schemes[i], scheme) != 0))
		i++;
	if (i == 2)
		return error_set(
			err, ENOTSUP,
			"%.100s: is not for Pagoda, and libvirt is not installed here; give qemu:///system or pagoda:///system",
			uri);
	if (strncmp(rest, ":///", 4) != 0 || strncmp(rest + 4, "system", 6) != 0 || (rest[10] && rest[10] != '?'))
		return error_set(err, ENOTSUP, "%.100s: there is one daemon for the host and none for users; give %s:///system",
				 uri, schemes[i]);
	return 0;
}

int remote_socket_of_uri(const char *uri, const char *directory, bool read_only, char path[REMOTE_PATH_BYTES], struct error *err)
{
	static const char *const directories[] = {"/run/pagoda", "/run/libvirt"};
	static const char *const names[] = {"virtpagodad-sock", "virtqemud-sock"};
	char found[REMOTE_PATH_BYTES];
	int ret = check_uri(uri, err);
	for (size_t i = 0; ret == 0 && i < (directory ? 1 : 2); i++)
		for (size_t k = 0; ret == 0 && k < 2; k++) {
			const char *where = directory ? directory : directories[i];
			int len = snprintf(found, sizeof(found), "%s/%s%s", where, names[k], read_only ? "-ro" : "");
			if (len < 0 || (size_t)len >= sizeof(found))
				ret = error_set(err, ENAMETOOLONG, "%.100s: is longer than a socket's directory may be", where);
			else if (access(found, F_OK) == 0) {
				memcpy(path, found, (size_t)len + 1);
				return 0;
			}
		}
	return ret ? ret
		   : error_set(err, ENOENT, "%s: there is no %s%s; is pagodad running? PAGODA_LIBVIRT names another directory",
			       directory ? directory : "/run/pagoda and /run/libvirt", names[0], read_only ? "-ro" : "");
}
