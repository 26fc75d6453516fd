/* See devices.h. */
#include "libvirt/devices.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libvirt/xml_tree.h"

/* A guest that was defined by XML has the names that stand there, the others count from vda. */
static void name_disks(const struct definition *d, struct libvirt_disk disks[], unsigned nr)
{
	const char *xml = json_string_value(json_object_get(d->json, "xml"));
	struct xml_tree tree;
	struct error err;
	for (unsigned i = 0; i < nr; i++)
		snprintf(disks[i].name, sizeof(disks[i].name), "vd%c", 'a' + (int)i);
	if (!xml || xml_tree_parse(xml, strlen(xml), "domain", &tree, &err))
		return;
	const xmlNode *disk = xml_at(tree.root, "devices/disk");
	for (unsigned i = 0; disk && i < nr; disk = xml_next(disk, "disk"), i++) {
		const xmlNode *target = xml_child(disk, "target");
		const char *name = target ? xml_attribute(target, "dev") : NULL;
		if (name)
			snprintf(disks[i].name, sizeof(disks[i].name), "%s", name);
	}
	xml_tree_free(&tree);
}

unsigned libvirt_disks(const struct definition *d, struct libvirt_disk disks[LIBVIRT_MOST_DISKS])
{
	const json_t *drives = json_object_get(d->json, "drives"), *drive;
	unsigned nr = 0;
	size_t i;
	json_array_foreach(drives, i, drive)
	{
		if (nr < LIBVIRT_MOST_DISKS)
			disks[nr++].file = json_string_value(json_object_get(drive, "file"));
	}
	if (nr)
		name_disks(d, disks, nr);
	return nr;
}

int libvirt_find_disk(const struct definition *d, const char *name)
{
	struct libvirt_disk disks[LIBVIRT_MOST_DISKS];
	unsigned nr = libvirt_disks(d, disks);
	for (unsigned i = 0; i < nr; i++)
		if (!strcmp(disks[i].name, name) || !strcmp(disks[i].file, name))
			return (int)i;
	return -1;
}

bool libvirt_disk_size(const char *file, struct libvirt_disk_size *size)
{
	struct stat st;
	if (*file != '/' || stat(file, &st) < 0)
		return false;
	if (S_ISREG(st.st_mode)) {
		*size = (struct libvirt_disk_size){(uint64_t)st.st_blocks * 512, (uint64_t)st.st_size, (uint64_t)st.st_size};
		return true;
	}
	int fd = S_ISBLK(st.st_mode) ? open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	uint64_t bytes = 0;
	bool known = fd >= 0 && ioctl(fd, BLKGETSIZE64, &bytes) == 0;
	if (fd >= 0)
		close(fd);
	*size = (struct libvirt_disk_size){bytes, bytes, bytes};
	return known;
}

/* --- interfaces --- */

unsigned libvirt_taps(const struct definition *d, const char *names[LIBVIRT_MOST_INTERFACES])
{
	const json_t *netdevs = json_object_get(d->json, "netdevs"), *netdev;
	unsigned nr = 0;
	size_t i;
	json_array_foreach(netdevs, i, netdev)
	{
		const char *name = json_string_value(json_object_get(netdev, "ifname"));
		if (name && nr < LIBVIRT_MOST_INTERFACES)
			names[nr++] = name;
	}
	return nr;
}

/* A line of /proc/net/dev, which is of the daemon's own network namespace, whatever is mounted on /sys: "tap7: bytes packets errors dropped", four more, and the same sent. */
bool libvirt_tap_traffic(const char *name, struct libvirt_traffic *t)
{
	char line[512];
	bool known = false;
	size_t len = strlen(name);
	FILE *file = fopen("/proc/net/dev", "re");
	while (file && !known && fgets(line, sizeof(line), file)) {
		const char *at = line + strspn(line, " ");
		uint64_t *c = t->counts;
		/* What the host sends into the tap the guest receives. */
		known = len && !strncmp(at, name, len) && at[len] == ':' &&
			sscanf(at + len + 1,
			       "%" SCNu64 "%" SCNu64 "%" SCNu64 "%" SCNu64 "%*u %*u %*u %*u%" SCNu64 "%" SCNu64 "%" SCNu64
			       "%" SCNu64,
			       &c[4], &c[5], &c[6], &c[7], &c[0], &c[1], &c[2], &c[3]) == 8;
	}
	if (file)
		fclose(file);
	return known;
}
