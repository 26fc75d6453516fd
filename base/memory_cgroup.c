/* See memory_cgroup.h. */
#include "base/memory_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 4096
#define PARENT "pagoda"
#define STEP_BYTES (4u << 20) /* version 1: the limit is low for moments only */

/* --- where it is --- */

/* Whether word is in the list, whose words are separated by commas. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ',') && (at[len] == '\0' || at[len] == ','))
			return true;
	return false;
}

/* A line of /proc/PID/cgroup: "ID:CONTROLLERS:PATH". Returns the version it is about, 0: of no use. */
static int read_membership(char *line, const char **path)
{
	char *controllers = strchr(line, ':'), *at = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!at || at[1] != '/')
		return 0;
	*controllers++ = *at++ = '\0';
	*path = at;
	if (!strcmp(line, "0") && !*controllers)
		return 2;
	return has_word(controllers, "memory") ? 1 : 0;
}

/* A line of mountinfo: "ID PARENT MAJOR:MINOR ROOT MOUNT OPTIONS ... - TYPE SOURCE OPTIONS". Returns the version of the hierarchy that is mounted there, 0: another file system. */
static int read_mount(char *line, const char **root, const char **mount)
{
	char *dash = strstr(line, " - "), *rest = NULL, *words[5];
	if (!dash)
		return 0;
	*dash = '\0';
	for (unsigned i = 0; i < 5; i++)
		if (!(words[i] = strtok_r(i ? NULL : line, " ", &rest)))
			return 0;
	*root = words[3];
	*mount = words[4];
	char *type = strtok_r(dash + 3, " ", &rest), *source = strtok_r(NULL, " ", &rest), *options = strtok_r(NULL, " ", &rest);
	if (!type || !source || !options || **mount != '/' || strchr(*mount, '\\'))
		return 0;
	if (!strcmp(type, "cgroup2"))
		return 2;
	return !strcmp(type, "cgroup") && has_word(options, "memory") ? 1 : 0;
}

/* Reads a line without its end. Returns false at the end, or for one that is too long. */
static bool next_line(FILE *file, char *line, size_t size)
{
	if (!fgets(line, (int)size, file))
		return false;
	size_t len = strcspn(line, "\n");
	bool whole = line[len] == '\n';
	line[len] = '\0';
	return whole;
}

int memory_cgroup_locate(FILE *cgroup, FILE *mountinfo, char *path, char *top, size_t size)
{
	char line[PATH_BYTES], own[PATH_BYTES] = "";
	int version = 0;
	while (next_line(cgroup, line, sizeof(line))) {
		const char *found;
		int v = read_membership(line, &found);
		/* The memory controller is in one hierarchy; version 2 is meant if none of version 1 has it. */
		if (v == 1 || (v == 2 && version == 0)) {
			version = v;
			snprintf(own, sizeof(own), "%s", found);
		}
	}
	while (version && next_line(mountinfo, line, sizeof(line))) {
		const char *root, *mount, *below = own;
		if (read_mount(line, &root, &mount) != version)
			continue;
		size_t len = strcmp(root, "/") != 0 ? strlen(root) : 0;
		if (strncmp(own, root, len) != 0 || (own[len] && own[len] != '/'))
			continue;
		below += len;
		if (strstr(below, "/..")) /* outside of what this name space sees */
			return -EPROTO;
		if ((size_t)snprintf(path, size, "%s%s", mount, strcmp(below, "/") != 0 ? below : "") >= size ||
		    (size_t)snprintf(top, size, "%s", mount) >= size)
			return -ENAMETOOLONG;
		return version;
	}
	return -ENOENT;
}

static int locate(char *path, char *top)
{
	FILE *cgroup = fopen("/proc/self/cgroup", "re"), *mountinfo = fopen("/proc/self/mountinfo", "re");
	int ret = cgroup && mountinfo ? memory_cgroup_locate(cgroup, mountinfo, path, top, PATH_BYTES) : -errno;
	if (cgroup)
		fclose(cgroup);
	if (mountinfo)
		fclose(mountinfo);
	return ret;
}

/* --- files --- */

static int write_file(int dir_fd, const char *name, const char *text)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

static int read_file(int dir_fd, const char *name, char *text, size_t size)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t len = read(fd, text, size - 1);
	int ret = len < 0 ? -errno : 0;
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return ret;
}

static int64_t usage(const struct memory_cgroup *g)
{
	char text[32];
	int ret = read_file(g->dir_fd, g->version == 1 ? "memory.usage_in_bytes" : "memory.current", text, sizeof(text));
	return ret ? ret : strtoll(text, NULL, 10);
}

/* --- groups --- */

static int open_at(int dir_fd, const char *path, int version, struct memory_cgroup *group)
{
	*group = (struct memory_cgroup){openat(dir_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), version};
	return group->dir_fd < 0 ? -errno : 0;
}

int memory_cgroup_open_own(struct memory_cgroup *group)
{
	char path[PATH_BYTES], top[PATH_BYTES];
	*group = (struct memory_cgroup){.dir_fd = -1};
	int version = locate(path, top);
	return version < 0 ? version : open_at(AT_FDCWD, path, version, group);
}

int memory_cgroup_open_parent(struct memory_cgroup *group)
{
	char path[PATH_BYTES], top[PATH_BYTES];
	*group = (struct memory_cgroup){.dir_fd = -1};
	int version = locate(path, top);
	if (version < 0)
		return version;
	/* A daemon that has entered its guests' group is still one level below the parent. */
	char *last = strrchr(path, '/');
	if (!strcmp(last + 1, MEMORY_CGROUP_SHARED))
		*last = '\0';
	if (version == 1)
		return open_at(AT_FDCWD, path, 1, group);
	struct memory_cgroup all;
	int ret = open_at(AT_FDCWD, top, 2, &all);
	if (ret)
		return ret;
	/* Where the controller is not given to children, it cannot be had: then the child has no files of it. */
	write_file(all.dir_fd, "cgroup.subtree_control", "+memory");
	ret = mkdirat(all.dir_fd, PARENT, 0755) < 0 && errno != EEXIST ? -errno : open_at(all.dir_fd, PARENT, 2, group);
	if (ret == 0)
		ret = write_file(group->dir_fd, "cgroup.subtree_control", "+memory");
	if (ret)
		memory_cgroup_close(group);
	memory_cgroup_close(&all);
	return ret;
}

int memory_cgroup_make(const struct memory_cgroup *parent, const char *name, struct memory_cgroup *child)
{
	*child = (struct memory_cgroup){.dir_fd = -1};
	if (mkdirat(parent->dir_fd, name, 0755) < 0 && errno != EEXIST)
		return -errno;
	int ret = open_at(parent->dir_fd, name, parent->version, child);
	if (ret == 0 && child->version == 1)
		ret = write_file(child->dir_fd, "memory.swappiness", "100");
	if (ret == 0 && usage(child) < 0)
		ret = -EOPNOTSUPP;
	if (ret) {
		memory_cgroup_close(child);
		memory_cgroup_remove(parent, name);
	}
	return ret;
}

int memory_cgroup_remove(const struct memory_cgroup *parent, const char *name)
{
	return unlinkat(parent->dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

void memory_cgroup_close(struct memory_cgroup *group)
{
	if (group->dir_fd >= 0)
		close(group->dir_fd);
	group->dir_fd = -1;
}

int memory_cgroup_enter(const struct memory_cgroup *group)
{
	return write_file(group->dir_fd, "cgroup.procs", "0");
}

static bool has_children(int dir_fd)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	bool found = false;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return true;
	}
	for (struct dirent *entry; !found && (entry = readdir(dir));)
		found = entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
	closedir(dir);
	return found;
}

bool memory_cgroup_is_ours_alone(const struct memory_cgroup *group)
{
	char text[64], *end;
	if (read_file(group->dir_fd, "cgroup.procs", text, sizeof(text)) != 0)
		return false;
	return strtol(text, &end, 10) == getpid() && !strcmp(end, "\n") && !has_children(group->dir_fd);
}

/* --- reclaiming --- */

static int reclaim_v2(const struct memory_cgroup *g, uint64_t bytes)
{
	char text[64];
	/* As much as possible from anonymous memory, which is the guest's; kernels before 6.9 know no second word. */
	snprintf(text, sizeof(text), "%" PRIu64 " swappiness=200", bytes);
	int ret = write_file(g->dir_fd, "memory.reclaim", text);
	if (ret == -EINVAL) {
		snprintf(text, sizeof(text), "%" PRIu64, bytes);
		ret = write_file(g->dir_fd, "memory.reclaim", text);
	}
	return ret == -EAGAIN ? 0 : ret == -ENOENT ? -EOPNOTSUPP : ret;
}

/* A limit is set only once so much is free: until then the kernel reclaims in this thread. It is lifted at once, so that no other thread runs into it. */
static int reclaim_v1(const struct memory_cgroup *g, uint64_t now, uint64_t bytes)
{
	char text[32];
	for (uint64_t done = 0; done < bytes && done < now;) {
		done += bytes - done < STEP_BYTES ? bytes - done : STEP_BYTES;
		snprintf(text, sizeof(text), "%" PRIu64, now > done ? now - done : 0);
		int ret = write_file(g->dir_fd, "memory.limit_in_bytes", text);
		int lifted = write_file(g->dir_fd, "memory.limit_in_bytes", "-1");
		if (lifted)
			return lifted;
		if (ret)
			return ret == -EBUSY ? 0 : ret;
	}
	return 0;
}

int64_t memory_cgroup_reclaim(const struct memory_cgroup *group, uint64_t bytes)
{
	int64_t before = usage(group);
	if (before < 0)
		return before;
	int ret = group->version == 1 ? reclaim_v1(group, (uint64_t)before, bytes) : reclaim_v2(group, bytes);
	if (ret)
		return ret;
	int64_t after = usage(group);
	return after < 0 ? after : before > after ? before - after : 0;
}
