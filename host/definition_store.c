/* See definition_store.h. */
#include "host/definition_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/directory.h"
#include "host/whole_file.h"

#define MOST_BYTES (2u << 20)
#define MOST_ASIDE 1000
#define SUFFIX ".json"

struct definition_cursor {
	char **names; /* of files */
	size_t nr, at;
};

int definition_store_open(const char *directory, struct definition_store *store, struct error *err)
{
	int fd = directory_open("--definitions", directory, 0700, err);
	if (fd < 0)
		return fd;
	char *path = strdup(directory);
	if (!path) {
		close(fd);
		return error_set(err, ENOMEM, "out of memory");
	}
	*store = (struct definition_store){.dir_fd = fd, .path = path};
	return 0;
}

void definition_store_close(struct definition_store *store)
{
	if (store->dir_fd >= 0)
		close(store->dir_fd);
	free(store->path);
	*store = (struct definition_store){.dir_fd = -1};
}

/* --- loading --- */

static void cursor_free(struct definition_cursor *c)
{
	for (size_t i = 0; c && i < c->nr; i++)
		free(c->names[i]);
	if (c)
		free(c->names);
	free(c);
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_ours(const char *name)
{
	size_t len = strlen(name), suffix = strlen(SUFFIX);
	return len > suffix && *name != '.' && !strcmp(name + len - suffix, SUFFIX);
}

static int add_name(struct definition_cursor *c, const char *name)
{
	if ((c->nr & (c->nr - 1)) == 0) {
		char **more = realloc(c->names, (c->nr ? c->nr * 2 : 1) * sizeof(*more));
		if (!more)
			return -ENOMEM;
		c->names = more;
	}
	c->names[c->nr] = strdup(name);
	if (!c->names[c->nr])
		return -ENOMEM;
	c->nr++;
	return 0;
}

static int list(struct definition_store *store, struct definition_cursor **cursor)
{
	struct definition_cursor *c = calloc(1, sizeof(*c));
	int ret = c ? 0 : -ENOMEM, fd = openat(store->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);
	if (!directory) {
		ret = ret ? ret : -errno;
		if (fd >= 0)
			close(fd);
	}
	while (ret == 0 && directory) {
		errno = 0;
		const struct dirent *entry = readdir(directory);
		if (!entry) {
			ret = -errno;
			break;
		}
		if (is_ours(entry->d_name))
			ret = add_name(c, entry->d_name);
	}
	if (directory)
		closedir(directory);
	if (ret) {
		cursor_free(c);
		return ret;
	}
	if (c->nr)
		qsort(c->names, c->nr, sizeof(*c->names), compare);
	*cursor = c;
	return 0;
}

static int load(struct definition_store *store, const char *file, struct definition **definition, struct error *err)
{
	char *data;
	size_t len;
	json_error_t where;
	int ret = whole_file_read(store->dir_fd, file, MOST_BYTES, &data, &len);
	if (ret)
		return error_set(err, -ret, "%s", ret == -EFBIG ? "larger than 1 MiB" : strerror(-ret));
	json_t *json = json_loadb(data, len, JSON_REJECT_DUPLICATES, &where);
	free(data);
	if (!json)
		return json_error_code(&where) == json_error_out_of_memory
			       ? error_set(err, ENOMEM, "out of memory")
			       : error_set(err, EINVAL, "line %d: %.100s", where.line, where.text);
	ret = definition_parse(json, definition, err);
	json_decref(json);
	if (ret == 0 && strncmp((*definition)->name, file, strlen(file) - strlen(SUFFIX)) != 0)
		ret = error_set(err, EINVAL, "is the definition of \"%s\"", (*definition)->name);
	else if (ret == 0 && strlen((*definition)->name) != strlen(file) - strlen(SUFFIX))
		ret = error_set(err, EINVAL, "is the definition of \"%s\"", (*definition)->name);
	else
		return ret;
	definition_free(*definition);
	*definition = NULL;
	return ret;
}

/* Files that say nothing wrong, but cannot be read just now, stay. */
static bool is_damage(const struct error *why)
{
	return why->code == EINVAL || why->code == EFBIG || why->code == ELOOP;
}

static void set_aside(struct definition_store *store, const char *file, const struct error *why, struct definition_damage *damage)
{
	char name[300];
	*damage = (struct definition_damage){.file = ""};
	snprintf(damage->file, sizeof(damage->file), "%s", file);
	snprintf(damage->reason, sizeof(damage->reason), "%s", why->text);
	for (unsigned n = 1; is_damage(why) && n < MOST_ASIDE; n++) {
		struct stat st;
		snprintf(name, sizeof(name), "%.255s.damaged-%u", file, n);
		if (fstatat(store->dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		if (errno == ENOENT && whole_file_rename(store->dir_fd, file, name) == 0)
			strcpy(damage->set_aside, name);
		return;
	}
}

int definition_store_next(struct definition_store *store, struct definition_cursor **cursor, struct definition **definition,
			  struct definition_damage *damage, struct error *err)
{
	struct error why = {.code = 0};
	int ret = *cursor ? 0 : list(store, cursor);
	if (ret)
		return error_set(err, -ret, "--definitions %s: cannot be read: %s", store->path, strerror(-ret));
	struct definition_cursor *c = *cursor;
	*definition = NULL;
	if (c->at == c->nr) {
		cursor_free(c);
		*cursor = NULL;
		return 0;
	}
	const char *file = c->names[c->at++];
	ret = load(store, file, definition, &why);
	if (ret)
		set_aside(store, file, &why, damage);
	return 1;
}

/* --- changing --- */

int definition_store_save(struct definition_store *store, const struct definition *definition, struct error *err)
{
	char file[DEFINITION_NAME_BYTES + sizeof(SUFFIX)];
	char *text = json_dumps(definition->json, JSON_INDENT(2));
	if (!text)
		return error_set(err, ENOMEM, "out of memory");
	snprintf(file, sizeof(file), "%s" SUFFIX, definition->name);
	int ret = whole_file_write(store->dir_fd, file, text, strlen(text));
	free(text);
	if (ret)
		return error_set(err, -ret, "%s/%s: cannot be written: %s", store->path, file, strerror(-ret));
	return 0;
}

int definition_store_remove(struct definition_store *store, const char *name, struct error *err)
{
	char file[DEFINITION_NAME_BYTES + sizeof(SUFFIX)];
	snprintf(file, sizeof(file), "%s" SUFFIX, name);
	int ret = whole_file_remove(store->dir_fd, file);
	if (ret && ret != -ENOENT)
		return error_set(err, -ret, "%s/%s: cannot be removed: %s", store->path, file, strerror(-ret));
	return 0;
}
