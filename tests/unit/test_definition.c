/*
 * Definitions of guests: what is accepted and what is refused, and that what is on disk survives a loss of power at any moment, a disk that fails,
 * and files that were damaged.
 *
 * Loss of power is a model: before each system call that changes the directory, the disk is taken to hold what was synced until then, once with the
 * directory as it was synced, once with the directory as it is now (a file system may write names before data). Both are loaded.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/definition_store.h"
#include "host/guest_group.h"
#include "host/guest_words.h"
#include "tests/unit/suite.h"

#define LEAST "\"name\": \"g\", \"memory\": 67108864, \"kernel\": \"/k\""

static char directory[64], image[80];

static void set_up(void)
{
	strcpy(directory, "/tmp/pagoda-definition-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(image, sizeof(image), "%s.image", directory);
}

/* Files alone lie there. */
static void remove_all(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ck_assert_int_eq(syscall(SYS_unlinkat, dirfd(dir), entry->d_name, 0), 0);
	if (dir) {
		closedir(dir);
		ck_assert_int_eq(rmdir(path), 0);
	}
}

static void tear_down(void)
{
	remove_all(directory);
	remove_all(image);
}

/* --- the disk --- */

enum { MOST_FILES = 32, MOST_BYTES = 4096 };

struct model_file {
	char name[256];
	ino_t inode;
};

static bool modelled; /* calls are looked at */
static unsigned calls;
static unsigned fail_at; /* the call that fails; 0: none */
static int fail_with;
static struct {
	struct model_file names[MOST_FILES]; /* the directory as it was synced */
	unsigned nr_names;
	struct {
		ino_t inode;
		size_t len;
		char bytes[MOST_BYTES];
	} files[MOST_FILES]; /* contents as they were synced */
	unsigned nr_files;
} disk;

static unsigned list_names(struct model_file names[])
{
	unsigned nr = 0;
	DIR *dir = opendir(directory);
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL)
		if (*entry->d_name != '.') {
			snprintf(names[nr].name, sizeof(names[nr].name), "%s", entry->d_name);
			names[nr++].inode = entry->d_ino;
		}
	closedir(dir);
	return nr;
}

static void sync_file(int fd)
{
	struct stat st;
	ck_assert_int_eq(fstat(fd, &st), 0);
	if (S_ISDIR(st.st_mode)) {
		disk.nr_names = list_names(disk.names);
		return;
	}
	unsigned i = 0;
	while (i < disk.nr_files && disk.files[i].inode != st.st_ino)
		i++;
	disk.nr_files += i == disk.nr_files;
	ck_assert_uint_le(disk.nr_files, MOST_FILES);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_RDONLY);
	disk.files[i].inode = st.st_ino;
	disk.files[i].len = (size_t)pread(again, disk.files[i].bytes, MOST_BYTES, 0);
	close(again);
}

static void lose_power(const struct model_file names[], unsigned nr);

/* Before each change. Returns whether it is to fail. */
static bool change(void)
{
	struct model_file now[MOST_FILES];
	if (!modelled)
		return false;
	calls++;
	modelled = false;
	lose_power(disk.names, disk.nr_names);
	unsigned nr = list_names(now);
	lose_power(now, nr);
	modelled = true;
	errno = fail_with;
	return calls == fail_at;
}

int openat(int dir_fd, const char *path, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return flags & O_CREAT && change() ? -1 : (int)syscall(SYS_openat, dir_fd, path, flags, mode);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
	if (!modelled)
		return syscall(SYS_write, fd, bytes, len);
	/* In pieces, as it may be. */
	return change() ? -1 : syscall(SYS_write, fd, bytes, len > 100 ? 100 : len);
}

int fsync(int fd)
{
	if (change())
		return -1;
	if (modelled)
		sync_file(fd);
	return 0;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	return change() ? -1 : (int)syscall(SYS_renameat, from_fd, from, to_fd, to);
}

int unlinkat(int fd, const char *path, int flags)
{
	return change() ? -1 : (int)syscall(SYS_unlinkat, fd, path, flags);
}

/* --- what is found there --- */

static struct definition *parse(const char *members)
{
	char text[2000];
	struct definition *d;
	struct error err;
	snprintf(text, sizeof(text), "{%s}", members);
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	ck_assert_ptr_nonnull(json);
	ck_assert_msg(definition_parse(json, &d, &err) == 0, "%s: %s", text, err.text);
	json_decref(json);
	return d;
}

static const json_t *old_json, *new_json; /* NULL: there is none */
static bool told_new;                     /* it has been said that the new one is there */
static unsigned images;

static void lose_power(const struct model_file names[], unsigned nr)
{
	struct definition_store store;
	struct definition_cursor *cursor = NULL;
	struct definition *d;
	struct definition_damage damage;
	struct error err;
	const json_t *found = NULL;
	char path[400];
	ck_assert_int_eq(mkdir(image, 0700), 0);
	for (unsigned i = 0; i < nr; i++) {
		snprintf(path, sizeof(path), "%s/%s", image, names[i].name);
		int fd = open(path, O_WRONLY | O_CREAT, 0600);
		for (unsigned k = 0; k < disk.nr_files; k++)
			if (disk.files[k].inode == names[i].inode)
				ck_assert_int_eq(syscall(SYS_write, fd, disk.files[k].bytes, disk.files[k].len),
						 (long)disk.files[k].len);
		close(fd);
	}
	ck_assert_int_eq(definition_store_open(image, &store, &err), 0);
	struct definition *kept = NULL;
	while (definition_store_next(&store, &cursor, &d, &damage, &err) > 0) {
		ck_assert_msg(d != NULL, "damaged after a loss of power: %s", damage.reason);
		ck_assert_ptr_null(kept);
		kept = d;
	}
	found = kept ? kept->json : NULL;
	bool is_new = new_json && found ? json_equal(new_json, found) : !new_json && !found;
	bool is_old = old_json && found ? json_equal(old_json, found) : !old_json && !found;
	ck_assert(is_new || (is_old && !told_new));
	definition_free(kept);
	definition_store_close(&store);
	images++;
	remove_all(image);
}

/* Both as they are on a disk that has been synced. */
static void begin_model(struct definition_store *store)
{
	memset(&disk, 0, sizeof(disk));
	struct model_file names[MOST_FILES];
	unsigned nr = list_names(names);
	for (unsigned i = 0; i < nr; i++) {
		int fd = (int)syscall(SYS_openat, store->dir_fd, names[i].name, O_RDONLY);
		sync_file(fd);
		close(fd);
	}
	disk.nr_names = list_names(disk.names);
	calls = 0;
	told_new = false;
	modelled = true;
}

static void end_model(bool told)
{
	struct model_file now[MOST_FILES];
	modelled = false;
	told_new = told;
	lose_power(disk.names, disk.nr_names);
	unsigned nr = list_names(now);
	lose_power(now, nr);
}

/* Without failures. */
static void put_back(struct definition_store *store, const struct definition *old)
{
	struct error err;
	fail_at = 0;
	ck_assert_int_eq(old ? definition_store_save(store, old, &err) : definition_store_remove(store, "g", &err), 0);
}

static unsigned count_fresh(void)
{
	struct model_file names[MOST_FILES];
	unsigned nr = list_names(names), fresh = 0;
	for (unsigned i = 0; i < nr; i++)
		fresh += strstr(names[i].name, ".new") != NULL;
	return fresh;
}

static void try_change(const struct definition *old, const struct definition *new)
{
	struct definition_store store;
	struct error err;
	ck_assert_int_eq(definition_store_open(directory, &store, &err), 0);
	old_json = old ? old->json : NULL;
	new_json = new ? new->json : NULL;
	for (unsigned n = 0;; n++) {
		put_back(&store, old);
		fail_at = n;
		fail_with = n % 2 ? ENOSPC : EIO;
		begin_model(&store);
		int ret = new ? definition_store_save(&store, new, &err) : definition_store_remove(&store, "g", &err);
		bool failed = n > 0 && calls >= n;
		if (failed)
			ck_assert_msg(ret < 0, "call %u failed, and nothing was said", n);
		else
			ck_assert_int_eq(ret, 0);
		if (ret)
			ck_assert_ptr_nonnull(strstr(err.text, directory));
		end_model(ret == 0);
		ck_assert_uint_eq(count_fresh(), 0);
		if (n > 0 && !failed)
			break;
	}
	modelled = false;
	definition_store_close(&store);
}

START_TEST(a_loss_of_power_at_any_moment_and_any_failing_call_leave_the_old_or_the_new)
{
	struct definition *old = parse(LEAST), *new = parse(LEAST ", \"vcpus\": 7, \"append\": \"console=ttyS0\"");
	images = 0;
	try_change(old, new);
	try_change(NULL, new);
	try_change(old, NULL);
	ck_assert_uint_gt(images, 100);
	definition_free(old);
	definition_free(new);
}
END_TEST

/* --- damaged files --- */

static void put(const char *name, const char *text)
{
	char path[400];
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	FILE *file = fopen(path, "w");
	fputs(text, file);
	fclose(file);
}

static bool is_there(const char *name)
{
	char path[400];
	struct stat st;
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return lstat(path, &st) == 0;
}

START_TEST(damaged_files_are_named_and_set_aside_and_others_load)
{
	struct definition_store store;
	struct definition_cursor *cursor = NULL;
	struct definition *d;
	struct definition_damage damage;
	struct error err;
	unsigned good = 0, bad = 0;
	put("a.json", "{\"name\": \"a\", \"memory\": 67108864, \"kernel\": \"/k\"}");
	put("b.json", "{\"name\": \"b\", \"memory\": 67108864, \"ker");
	put("c.json", "");
	put("d.json", "{\"name\": \"a\", \"memory\": 67108864, \"kernel\": \"/k\"}");
	put("e.json", "{\"name\": \"e\", \"memory\": 1, \"kernel\": \"/k\"}");
	put("f.json", "[1]");
	put("g.json", "{" LEAST "}");
	put("g.json.new", "{");
	put("b.json.damaged-1", "older");
	put("host", "other");
	char link[100];
	snprintf(link, sizeof(link), "%s/h.json", directory);
	ck_assert_int_eq(symlink("/etc/passwd", link), 0);
	ck_assert_int_eq(definition_store_open(directory, &store, &err), 0);
	while (definition_store_next(&store, &cursor, &d, &damage, &err) > 0) {
		if (d) {
			good++;
			definition_free(d);
			continue;
		}
		bad++;
		ck_assert_int_gt((int)strlen(damage.reason), 4);
		ck_assert(is_there(damage.set_aside));
		ck_assert(!is_there(damage.file));
	}
	ck_assert_uint_eq(good, 2);
	ck_assert_uint_eq(bad, 6);
	ck_assert(is_there("b.json.damaged-1"));
	ck_assert(is_there("b.json.damaged-2"));
	ck_assert(is_there("host"));
	definition_store_close(&store);
}
END_TEST

START_TEST(the_largest_definition_there_can_be_is_loaded_again)
{
	struct definition_store store;
	struct definition_cursor *cursor = NULL;
	struct definition_damage damage;
	struct definition *d, *again = NULL;
	struct error err;
	/* Quotes are two bytes each on disk. */
	char *quotes = malloc(DEFINITION_XML_BYTES + 1);
	memset(quotes, '"', DEFINITION_XML_BYTES);
	quotes[DEFINITION_XML_BYTES] = '\0';
	json_t *json = json_loads("{" LEAST "}", 0, NULL), *words = json_array();
	json_object_set_new(json, "xml", json_string(quotes));
	quotes[4096] = '\0';
	for (int i = 0; i < 64; i++)
		json_array_append_new(words, json_string(quotes));
	json_object_set_new(json, "words", words);
	json_object_set_new(json, "append", json_string(quotes));
	ck_assert_int_eq(definition_parse(json, &d, &err), 0);
	ck_assert_int_eq(definition_store_open(directory, &store, &err), 0);
	ck_assert_int_eq(definition_store_save(&store, d, &err), 0);
	ck_assert_int_eq(definition_store_next(&store, &cursor, &again, &damage, &err), 1);
	ck_assert_ptr_nonnull(again);
	ck_assert(json_equal(d->json, again->json));
	definition_free(again);
	ck_assert_int_eq(definition_store_next(&store, &cursor, &again, &damage, &err), 0);
	definition_store_close(&store);
	definition_free(d);
	json_decref(json);
	free(quotes);
}
END_TEST

START_TEST(a_directory_that_others_may_write_is_refused)
{
	struct definition_store store;
	struct error err;
	ck_assert_int_eq(chmod(directory, 0777), 0);
	ck_assert_int_eq(definition_store_open(directory, &store, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.text, "chmod"));
	ck_assert_int_eq(definition_store_open("/proc/none/guests", &store, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "/proc/none/guests"));
}
END_TEST

/* --- what is accepted --- */

START_TEST(defaults_are_filled_in_and_what_comes_out_goes_in_again)
{
	struct error err;
	struct definition *d = parse(LEAST ", \"drives\": [{\"file\": \"/d\"}], \"netdevs\": [{\"kind\": \"user\"}]"), *again;
	ck_assert_uint_eq(d->maximum, 67108864);
	ck_assert_uint_eq(d->minimum, 0);
	ck_assert_uint_eq(d->shares, 640);
	ck_assert_uint_eq(d->vcpus, 1);
	ck_assert(d->swap && d->balloon && !d->pinned && !d->autostart);
	ck_assert_str_eq(d->domain, "default");
	ck_assert_int_eq(d->restart, DEFINITION_RESTART_NEVER);
	ck_assert_double_eq(d->stop_timeout, 60);
	ck_assert_uint_eq(strlen(d->uuid), 36);
	const json_t *mac = json_object_get(json_array_get(json_object_get(d->json, "netdevs"), 0), "mac");
	ck_assert_int_eq(strncmp(json_string_value(mac), "52:54:00:", 9), 0);
	ck_assert_int_eq(definition_parse(d->json, &again, &err), 0);
	ck_assert(json_equal(d->json, again->json));
	definition_free(again);
	definition_free(d);
}
END_TEST

START_TEST(what_is_wrong_is_refused_and_named)
{
	static const struct {
		const char *members, *named;
	} cases[] = {
		{"\"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \"\", \"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \"../x\", \"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \".x\", \"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \"a/b\", \"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \"a123456789a123456789a123456789a123456789a12345678\", \"memory\": 67108864, \"kernel\": \"/k\"",
		 "name:"},
		{"\"name\": 5, \"memory\": 67108864, \"kernel\": \"/k\"", "name:"},
		{"\"name\": \"g\", \"kernel\": \"/k\"", "memory: is missing"},
		{"\"name\": \"g\", \"memory\": 67108865, \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": -4096, \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": 4096, \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": 4398046515200, \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": 6.7e7, \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": \"64M\", \"kernel\": \"/k\"", "memory:"},
		{"\"name\": \"g\", \"memory\": 67108864", "kernel: is missing"},
		{"\"name\": \"g\", \"memory\": 67108864, \"kernel\": \"k\"", "kernel:"},
		{"\"name\": \"g\", \"memory\": 67108864, \"kernel\": \"/k\\n\"", "kernel:"},
		{LEAST ", \"kernels\": 1", "kernels:"},
		{LEAST ", \"xml\": 1", "xml: must be a string"},
		{LEAST ", \"xml\": \"<a>\\u0001</a>\"", "xml: has a control character"},
		{LEAST ", \"vcpus\": 0", "vcpus:"},
		{LEAST ", \"vcpus\": 256", "vcpus:"},
		{LEAST ", \"uuid\": \"E3CD7187-ab1a-4709-9df4-aff23b6adbae\"", "uuid:"},
		{LEAST ", \"uuid\": \"e3cd7187ab1a47099df4aff23b6adbae\"", "uuid:"},
		{LEAST ", \"maximum\": 134217728", "maximum:"},
		{LEAST ", \"minimum\": 134217728", "minimum:"},
		{LEAST ", \"minimum\": 33554432, \"maximum\": 16777216", "minimum:"},
		{LEAST ", \"shares\": 0", "shares:"},
		{LEAST ", \"mem-merge\": \"o\"", "mem-merge:"},
		{LEAST ", \"mem-merge\": \"on|off\"", "mem-merge:"},
		{LEAST ", \"tier\": \"zram\"", "tier:"},
		{LEAST ", \"restart\": \"\"", "restart:"},
		{LEAST ", \"autostart\": 1", "autostart:"},
		{LEAST ", \"stop-timeout\": 0", "stop-timeout:"},
		{LEAST ", \"nodes\": [1, 1]", "nodes[1]:"},
		{LEAST ", \"nodes\": [64]", "nodes[0]:"},
		{LEAST ", \"nodes\": 1", "nodes:"},
		{LEAST ", \"pins\": {}", "pins:"},
		{LEAST ", \"pins\": [0]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:1\", \"255:1\"]", "pins[1]:"},
		{LEAST ", \"pins\": [\"0:\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\":1\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:1-\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:3-1\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:1,\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:4096\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"0:99999999999999999999\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"emulators:1\"]", "pins[0]:"},
		{LEAST ", \"pins\": [\"7:1\", \"emulator:1\", \"7:2\"]", "pins[2]:"},
		{LEAST ", \"drives\": {}", "drives:"},
		{LEAST ", \"drives\": [1]", "drives[0]:"},
		{LEAST ", \"drives\": [{}]", "drives[0].file: is missing"},
		{LEAST ", \"drives\": [{\"file\": \"/a\"}, {\"file\": \"b\"}]", "drives[1].file:"},
		{LEAST ", \"drives\": [{\"file\": \"/a\", \"format\": \"qcow2\"}]", "drives[0].format:"},
		{LEAST ", \"drives\": [{\"file\": \"/a\", \"if\": \"ide\"}]", "drives[0].if:"},
		{LEAST ", \"drives\": [{\"file\": \"/a\", \"serial\": \"a,b\"}]", "drives[0].serial:"},
		{LEAST ", \"netdevs\": [{\"kind\": \"tap\"}]", "netdevs[0].ifname: is missing"},
		{LEAST ", \"netdevs\": [{\"kind\": \"user\", \"ifname\": \"t\"}]", "netdevs[0].ifname:"},
		{LEAST ", \"netdevs\": [{\"kind\": \"user\", \"mac\": \"53:54:00:12:34:56\"}]", "netdevs[0].mac:"},
		{LEAST ", \"netdevs\": [{\"kind\": \"user\", \"hostfwd\": [\"tcp::1-:2,id=x\"]}]", "netdevs[0].hostfwd[0]:"},
		{LEAST ", \"words\": [\"-m\", \"5\"]", "words[0]:"},
		{LEAST ", \"words\": [\"--daemonize\"]", "words[0]:"},
		{LEAST ", \"words\": [\"\"]", "words[0]:"},
	};
	char text[2000];
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct definition *d;
		struct error err = {.code = 0};
		snprintf(text, sizeof(text), "{%s}", cases[i].members);
		json_t *json = json_loads(text, 0, NULL);
		ck_assert_msg(json != NULL, "%s", text);
		ck_assert_msg(definition_parse(json, &d, &err) == -EINVAL, "%s", text);
		ck_assert_msg(!strncmp(err.text, cases[i].named, strlen(cases[i].named)), "%s: %s", text, err.text);
		json_decref(json);
	}
}
END_TEST

START_TEST(changes_keep_what_they_do_not_name)
{
	struct error err;
	struct definition *d = parse(LEAST ", \"vcpus\": 3, \"minimum\": 8388608"), *changed;
	json_t *set = json_loads("{\"memory\": 134217728, \"vcpus\": null, \"name\": \"g\"}", 0, NULL);
	ck_assert_int_eq(definition_change(d, set, &changed, &err), 0);
	ck_assert_uint_eq(changed->memory, 134217728);
	ck_assert_uint_eq(changed->maximum, 134217728);
	ck_assert_uint_eq(changed->shares, 1280);
	ck_assert_uint_eq(changed->vcpus, 1);
	ck_assert_uint_eq(changed->minimum, 8388608);
	ck_assert_str_eq(changed->uuid, d->uuid);
	json_t *difference = definition_difference(d, changed);
	ck_assert_uint_eq(json_array_size(difference), 4);
	json_decref(difference);
	json_decref(set);
	definition_free(changed);
	/* Text with lines, of no more than what is taken. */
	char *lines = malloc(DEFINITION_XML_BYTES + 2);
	memset(lines, '\n', DEFINITION_XML_BYTES + 1);
	lines[DEFINITION_XML_BYTES] = '\0';
	set = json_pack("{s:s}", "xml", lines);
	ck_assert_int_eq(definition_change(d, set, &changed, &err), 0);
	definition_free(changed);
	json_decref(set);
	lines[DEFINITION_XML_BYTES] = '\t';
	lines[DEFINITION_XML_BYTES + 1] = '\0';
	set = json_pack("{s:s}", "xml", lines);
	ck_assert_int_eq(definition_change(d, set, &changed, &err), -EINVAL);
	ck_assert_str_eq(err.text, "xml: must have 0 to 262144 bytes");
	json_decref(set);
	free(lines);
	set = json_loads("{\"name\": \"h\"}", 0, NULL);
	ck_assert_int_eq(definition_change(d, set, &changed, &err), -EINVAL);
	json_decref(set);
	set = json_loads("{\"minimum\": 134217728}", 0, NULL);
	ck_assert_int_eq(definition_change(d, set, &changed, &err), -EINVAL);
	json_decref(set);
	definition_free(d);
}
END_TEST

/* --- command lines --- */

static bool has(const json_t *words, const char *option, const char *value)
{
	for (size_t i = 0; i + 1 < json_array_size(words); i++)
		if (!strcmp(json_string_value(json_array_get(words, i)), option) &&
		    !strcmp(json_string_value(json_array_get(words, i + 1)), value))
			return true;
	return false;
}

START_TEST(the_command_line_says_what_the_definition_says)
{
	struct definition *d =
		parse(LEAST ", \"vcpus\": 2, \"append\": \"a,b c\", \"drives\": [{\"file\": \"/a,b\", \"readonly\": true}],"
			    " \"netdevs\": [{\"kind\": \"tap\", \"ifname\": \"t0\", \"mac\": \"52:54:00:00:00:01\"}],"
			    " \"domain\": \"acme\", \"nodes\": [0, 2], \"words\": [\"-device\", \"virtio-rng-pci\"]");
	struct guest_places places = {.vmm = "/bin/vmm",
				      .dedup_socket = "/run/x,y",
				      .swap = "/swap",
				      .pidfile = "/run/pid",
				      .qmp_fd = 5,
				      .console_fd = 6,
				      .target = 1 << 25};
	json_t *words = guest_words(d, &places);
	ck_assert_str_eq(json_string_value(json_array_get(words, 0)), "/bin/vmm");
	ck_assert(has(words, "-m", "65536K"));
	ck_assert(has(words, "-smp", "2"));
	ck_assert(has(words, "-append", "a,b c"));
	ck_assert(has(words, "-drive", "if=virtio,file=/a,,b,format=raw,cache=writeback,discard=ignore,readonly=on"));
	ck_assert(has(words, "-netdev", "tap,id=net0,ifname=t0"));
	ck_assert(has(words, "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:00:00:01"));
	ck_assert(has(words, "-dedup", "acme,socket=/run/x,,y,guest=g,cpu=10"));
	ck_assert(has(words, "-object", "memory-backend-ram,id=ram,size=65536K,policy=bind,host-nodes=0,host-nodes=2"));
	ck_assert(has(words, "-memory", "manager=on,sample-rate=50,target=33554432,swap=/swap"));
	ck_assert(has(words, "-chardev", "socket,id=pagodad-qmp,fd=5,server=on,wait=off"));
	ck_assert(has(words, "-device", "virtio-rng-pci"));
	ck_assert(!has(words, "-device", "-S"));
	json_decref(words);
	/* Once it is placed, that is where it goes. */
	char machine[] = "-machine", backend[] = "memory-backend=ram0";
	struct placement_words placement = {.nr = 2, .words = {machine, backend}};
	places.placement = &placement;
	words = guest_words(d, &places);
	ck_assert(has(words, "-machine", "pagoda,mem-merge=on"));
	ck_assert(has(words, "-machine", "memory-backend=ram0"));
	ck_assert(!has(words, "-object", "memory-backend-ram,id=ram,size=65536K,policy=bind,host-nodes=0,host-nodes=2"));
	places.placement = NULL;
	json_decref(words);
	/* Where the kernel keeps its pages it needs no file for them. */
	places.kernel_tier = true;
	words = guest_words(d, &places);
	ck_assert(has(words, "-memory", "manager=on,sample-rate=50,target=33554432,kernel-tier=on"));
	places.kernel_tier = false;
	json_decref(words);
	definition_free(d);
	d = parse(LEAST ", \"pinned\": true");
	words = guest_words(d, &places);
	ck_assert(has(words, "-machine", "pagoda,mem-merge=off"));
	ck_assert(has(words, "-memory", "manager=on,sample-rate=0"));
	json_decref(words);
	definition_free(d);
}
END_TEST

/* The kernel takes pages from all others together (host/shared_group.h): no limit and no share could hold there. */
START_TEST(a_guest_with_limits_or_shares_of_its_own_is_kept_by_itself)
{
	static const struct {
		const char *members;
		bool single;
	} cases[] = {
		{LEAST, false},
		{LEAST ", \"shares\": 640", false},
		{LEAST ", \"shares\": 1280", true},
		{LEAST ", \"minimum\": 4194304", true},
		{LEAST ", \"maximum\": 33554432", true},
		{LEAST ", \"maximum\": 67108864", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct definition *d = parse(cases[i].members);
		ck_assert_msg(guest_group_is_single(d) == cases[i].single, "%s", cases[i].members);
		definition_free(d);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("definitions of guests");
	TCase *tests = tcase_create("definitions");
	tcase_set_timeout(tests, 60);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, a_loss_of_power_at_any_moment_and_any_failing_call_leave_the_old_or_the_new);
	tcase_add_test(tests, damaged_files_are_named_and_set_aside_and_others_load);
	tcase_add_test(tests, the_largest_definition_there_can_be_is_loaded_again);
	tcase_add_test(tests, a_directory_that_others_may_write_is_refused);
	tcase_add_test(tests, defaults_are_filled_in_and_what_comes_out_goes_in_again);
	tcase_add_test(tests, what_is_wrong_is_refused_and_named);
	tcase_add_test(tests, changes_keep_what_they_do_not_name);
	tcase_add_test(tests, the_command_line_says_what_the_definition_says);
	tcase_add_test(tests, a_guest_with_limits_or_shares_of_its_own_is_kept_by_itself);
	suite_add_tcase(suite, tests);
	return suite_run(suite);
}
