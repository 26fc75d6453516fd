/*
 * One storage pool, "default": the directory of disk images that the options name, for looking only. Volumes are the regular files in it. It is there for clients that
 * want to know a disk's pool before they give the disk to a guest.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "libvirt/call.h"
#include "libvirt/procedures.h"
#include "libvirt/xml_tree.h"

#define POOL "default"
#define POOL_UUID "0b6f6a0e-7e2f-4d0f-9d4e-6f7061676f64"
#define POOL_RUNNING 2
#define VOLUME_FILE 0
#define MOST_VOLUMES 4096
#define LIST_FLAGS 0xfffffu /* filters: inactive is the lowest, and ours is not */
#define INACTIVE 1u

/* --- pool and volumes --- */

/* NULL: there is none. */
static const char *pool_path(const struct rpc_call *call)
{
	struct stat st;
	const char *path = libvirt_server_of(call)->options->images;
	return path && stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? path : NULL;
}

static void put_pool(struct xdr_writer *w)
{
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	libvirt_uuid_bytes(POOL_UUID, uuid);
	xdr_put_string(w, POOL);
	xdr_put_fixed(w, uuid, sizeof(uuid));
}

/* Reads which pool is meant, and flags behind it. NULL: the call is answered. */
static const char *get_pool(struct rpc_call *call, unsigned nr_words, uint32_t words[])
{
	char name[LIBVIRT_NAME_BYTES];
	uint8_t uuid[LIBVIRT_UUID_BYTES], ours[LIBVIRT_UUID_BYTES];
	xdr_get_string(&call->in, name, sizeof(name));
	xdr_get_fixed(&call->in, uuid, sizeof(uuid));
	for (unsigned i = 0; i < nr_words; i++)
		words[i] = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return NULL;
	libvirt_uuid_bytes(POOL_UUID, ours);
	const char *path = memcmp(uuid, ours, sizeof(ours)) == 0 ? pool_path(call) : NULL;
	if (!path)
		libvirt_refuse_text(call, RPC_NO_POOL, "%.60s: there is no such storage pool", name);
	return path;
}

/* Looks at a file of the pool; a link to one counts, what is anything else does not. */
static bool look(const char *path, const char *name, struct stat *st)
{
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool is = dir >= 0 && *name && *name != '.' && !strchr(name, '/') && fstatat(dir, name, st, 0) == 0 && S_ISREG(st->st_mode);
	if (dir >= 0)
		close(dir);
	return is;
}

static void put_volume(struct xdr_writer *w, const char *path, const char *name)
{
	char key[1024];
	snprintf(key, sizeof(key), "%s/%s", path, name);
	xdr_put_string(w, POOL);
	xdr_put_string(w, name);
	xdr_put_string(w, key);
}

/* A volume as clients name it: by its pool, its name and its key. Returns false when the call is answered. */
static bool get_volume(struct rpc_call *call, bool has_flags, char name[LIBVIRT_NAME_BYTES], struct stat *st)
{
	char pool[LIBVIRT_NAME_BYTES], key[1024];
	xdr_get_string(&call->in, pool, sizeof(pool));
	xdr_get_string(&call->in, name, LIBVIRT_NAME_BYTES);
	xdr_get_string(&call->in, key, sizeof(key));
	if (has_flags)
		(void)xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call))
		return false;
	const char *path = pool_path(call);
	bool is = path && !strcmp(pool, POOL) && look(path, name, st);
	if (!is)
		libvirt_refuse_text(call, RPC_NO_VOLUME, "%.100s: there is no such volume", name);
	return is;
}

/* Writes all volumes, or their names; most at most. */
static void put_volumes(struct rpc_call *call, const char *path, uint32_t most, bool whole, uint32_t *nr)
{
	struct stat st;
	DIR *directory = opendir(path);
	const struct dirent *entry;
	*nr = 0;
	while (directory && *nr < most && (entry = readdir(directory)) != NULL) {
		if (!look(path, entry->d_name, &st))
			continue;
		++*nr;
		if (whole)
			put_volume(&call->out, path, entry->d_name);
		else
			xdr_put_string(&call->out, entry->d_name);
	}
	if (directory)
		closedir(directory);
}

/* --- the pool --- */

static void run_list_pools(struct rpc_call *call)
{
	uint32_t wants = xdr_get_u32(&call->in), flags = xdr_get_u32(&call->in);
	if (!libvirt_arguments_end(call) || !libvirt_check_flags(call, flags, LIST_FLAGS))
		return;
	bool is = pool_path(call) && flags != INACTIVE;
	xdr_put_u32(&call->out, is && wants);
	if (is && wants)
		put_pool(&call->out);
	xdr_put_u32(&call->out, is);
	rpc_answer(call);
}

static void answer_pool(struct rpc_call *call, bool is, const char *name)
{
	if (!libvirt_arguments_end(call))
		return;
	if (!is || !pool_path(call)) {
		libvirt_refuse_text(call, RPC_NO_POOL, "%.60s: there is no such storage pool", name);
		return;
	}
	put_pool(&call->out);
	rpc_answer(call);
}

static void run_pool_by_name(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	xdr_get_string(&call->in, name, sizeof(name));
	answer_pool(call, !strcmp(name, POOL), name);
}

static void run_pool_by_uuid(struct rpc_call *call)
{
	uint8_t uuid[LIBVIRT_UUID_BYTES], ours[LIBVIRT_UUID_BYTES];
	libvirt_uuid_bytes(POOL_UUID, ours);
	xdr_get_fixed(&call->in, uuid, sizeof(uuid));
	answer_pool(call, !memcmp(uuid, ours, sizeof(ours)), "one of that UUID");
}

static void run_pool_by_path(struct rpc_call *call)
{
	char path[1024];
	xdr_get_string(&call->in, path, sizeof(path));
	const char *ours = pool_path(call);
	answer_pool(call, ours && !strcmp(path, ours), path);
}

static void run_pool_of_volume(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	struct stat st;
	if (get_volume(call, false, name, &st))
		answer_pool(call, true, POOL);
}

static void pool_sizes(const char *path, uint64_t *capacity, uint64_t *available)
{
	struct statvfs fs;
	*capacity = *available = 0;
	if (statvfs(path, &fs) < 0)
		return;
	*capacity = (uint64_t)fs.f_blocks * fs.f_frsize;
	*available = (uint64_t)fs.f_bavail * fs.f_frsize;
}

static void run_pool_info(struct rpc_call *call)
{
	uint64_t capacity, available;
	const char *path = get_pool(call, 0, NULL);
	if (!path)
		return;
	pool_sizes(path, &capacity, &available);
	xdr_put_u32(&call->out, POOL_RUNNING);
	xdr_put_u64(&call->out, capacity);
	xdr_put_u64(&call->out, capacity - available);
	xdr_put_u64(&call->out, available);
	rpc_answer(call);
}

static void add_bytes(struct xml_tree *tree, const char *name, uint64_t bytes)
{
	char text[32];
	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	xmlNode *node = xml_add(tree, tree->root, name, text);
	if (node)
		xml_set_attribute(tree, node, "unit", "bytes");
}

static void answer_tree(struct rpc_call *call, struct xml_tree *tree)
{
	char *text = xml_tree_text(tree);
	xml_tree_free(tree);
	if (text)
		libvirt_answer_string(call, text);
	else
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
	free(text);
}

static void run_pool_xml(struct rpc_call *call)
{
	uint32_t flags;
	uint64_t capacity, available;
	struct xml_tree tree;
	const char *path = get_pool(call, 1, &flags);
	if (!path)
		return;
	if (xml_tree_make("pool", &tree)) {
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
		return;
	}
	pool_sizes(path, &capacity, &available);
	xml_set_attribute(&tree, tree.root, "type", "dir");
	xml_add(&tree, tree.root, "name", POOL);
	xml_add(&tree, tree.root, "uuid", POOL_UUID);
	add_bytes(&tree, "capacity", capacity);
	add_bytes(&tree, "allocation", capacity - available);
	add_bytes(&tree, "available", available);
	xml_add(&tree, tree.root, "source", NULL);
	xmlNode *target = xml_add(&tree, tree.root, "target", NULL);
	if (target)
		xml_add(&tree, target, "path", path);
	answer_tree(call, &tree);
}

static void run_pool_yes(struct rpc_call *call)
{
	if (get_pool(call, 0, NULL))
		libvirt_answer_i32(call, 1);
}

/* It is read anew whenever somebody asks. */
static void run_refresh(struct rpc_call *call)
{
	uint32_t flags;
	if (get_pool(call, 1, &flags))
		rpc_answer(call);
}

static void run_count_volumes(struct rpc_call *call)
{
	uint32_t nr;
	const char *path = get_pool(call, 0, NULL);
	if (!path)
		return;
	size_t len = call->out.len;
	put_volumes(call, path, MOST_VOLUMES, false, &nr);
	call->out.len = len;
	libvirt_answer_i32(call, (int32_t)nr);
}

static void run_list_names(struct rpc_call *call)
{
	uint32_t most, nr;
	const char *path = get_pool(call, 1, &most);
	if (!path)
		return;
	size_t place = xdr_put_later(&call->out);
	put_volumes(call, path, most < MOST_VOLUMES ? most : MOST_VOLUMES, false, &nr);
	xdr_set_u32(&call->out, place, nr);
	rpc_answer(call);
}

static void run_list_volumes(struct rpc_call *call)
{
	uint32_t words[2], nr;
	const char *path = get_pool(call, 2, words);
	if (!path)
		return;
	size_t place = xdr_put_later(&call->out), begin = call->out.len;
	put_volumes(call, path, MOST_VOLUMES, true, &nr);
	if (words[0])
		xdr_set_u32(&call->out, place, nr);
	else
		call->out.len = begin;
	xdr_put_u32(&call->out, nr);
	rpc_answer(call);
}

/* --- volumes --- */

static void answer_volume(struct rpc_call *call, const char *path, const char *name)
{
	struct stat st;
	if (!path || !look(path, name, &st)) {
		libvirt_refuse_text(call, RPC_NO_VOLUME, "%.100s: there is no such volume", name);
		return;
	}
	put_volume(&call->out, path, name);
	rpc_answer(call);
}

static void run_volume_by_name(struct rpc_call *call)
{
	char pool[LIBVIRT_NAME_BYTES], name[LIBVIRT_NAME_BYTES];
	uint8_t uuid[LIBVIRT_UUID_BYTES];
	xdr_get_string(&call->in, pool, sizeof(pool));
	xdr_get_fixed(&call->in, uuid, sizeof(uuid));
	xdr_get_string(&call->in, name, sizeof(name));
	if (libvirt_arguments_end(call))
		answer_volume(call, strcmp(pool, POOL) == 0 ? pool_path(call) : NULL, name);
}

/* A volume's key is its path. */
static void run_volume_by_path(struct rpc_call *call)
{
	char path[1024];
	xdr_get_string(&call->in, path, sizeof(path));
	if (!libvirt_arguments_end(call))
		return;
	const char *ours = pool_path(call);
	size_t len = ours ? strlen(ours) : 0;
	if (ours && !strncmp(path, ours, len) && path[len] == '/')
		answer_volume(call, ours, path + len + 1);
	else
		answer_volume(call, NULL, path);
}

static void run_volume_info(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES];
	struct stat st;
	if (!get_volume(call, false, name, &st))
		return;
	xdr_put_u32(&call->out, VOLUME_FILE);
	xdr_put_u64(&call->out, (uint64_t)st.st_size);
	xdr_put_u64(&call->out, (uint64_t)st.st_blocks * 512);
	rpc_answer(call);
}

static void run_volume_xml(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES], path[1024];
	struct stat st;
	struct xml_tree tree;
	if (!get_volume(call, true, name, &st))
		return;
	if (xml_tree_make("volume", &tree)) {
		rpc_refuse(call, RPC_NO_MEMORY, "out of memory");
		return;
	}
	snprintf(path, sizeof(path), "%s/%s", libvirt_server_of(call)->options->images, name);
	xml_set_attribute(&tree, tree.root, "type", "file");
	xml_add(&tree, tree.root, "name", name);
	xml_add(&tree, tree.root, "key", path);
	add_bytes(&tree, "capacity", (uint64_t)st.st_size);
	add_bytes(&tree, "allocation", (uint64_t)st.st_blocks * 512);
	xmlNode *target = xml_add(&tree, tree.root, "target", NULL);
	xmlNode *format = target ? xml_add(&tree, target, "path", path) : NULL;
	format = format ? xml_add(&tree, target, "format", NULL) : NULL;
	if (format)
		xml_set_attribute(&tree, format, "type", "raw");
	answer_tree(call, &tree);
}

static void run_volume_path(struct rpc_call *call)
{
	char name[LIBVIRT_NAME_BYTES], path[1024];
	struct stat st;
	if (!get_volume(call, false, name, &st))
		return;
	snprintf(path, sizeof(path), "%s/%s", libvirt_server_of(call)->options->images, name);
	libvirt_answer_string(call, path);
}

static const struct rpc_procedure procedures[] = {
	{.number = 83, .name = "pool-refresh", .run = run_refresh},
	{.number = 84, .name = "pool-by-name", .run = run_pool_by_name},
	{.number = 85, .name = "pool-by-uuid", .run = run_pool_by_uuid},
	{.number = 86, .name = "pool-by-volume", .run = run_pool_of_volume},
	{.number = 87, .name = "pool-info", .run = run_pool_info},
	{.number = 88, .name = "pool-xml", .run = run_pool_xml},
	{.number = 89, .name = "pool-autostart", .run = run_pool_yes},
	{.number = 91, .name = "num-of-volumes", .run = run_count_volumes},
	{.number = 92, .name = "list-volumes", .run = run_list_names},
	{.number = 95, .name = "volume-by-name", .run = run_volume_by_name},
	{.number = 96, .name = "volume-by-key", .run = run_volume_by_path},
	{.number = 97, .name = "volume-by-path", .run = run_volume_by_path},
	{.number = 98, .name = "volume-info", .run = run_volume_info},
	{.number = 99, .name = "volume-xml", .run = run_volume_xml},
	{.number = 100, .name = "volume-path", .run = run_volume_path},
	{.number = 154, .name = "pool-is-active", .run = run_pool_yes},
	{.number = 155, .name = "pool-is-persistent", .run = run_pool_yes},
	{.number = 281, .name = "list-all-pools", .run = run_list_pools},
	{.number = 282, .name = "list-all-volumes", .run = run_list_volumes},
	{.number = 391, .name = "pool-by-target", .run = run_pool_by_path},
};
const struct libvirt_procedures libvirt_storage_procedures = LIBVIRT_PROCEDURES(procedures);
