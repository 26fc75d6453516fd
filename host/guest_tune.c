/* Changes of a guest's definition, on disk and in force. See guest_tune() in guest.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "host/guest.h"
#include "host/pins.h"

/* Members of set that take effect at once. NULL without memory. */
static json_t *live_members(const json_t *set)
{
	json_t *live = json_object();
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)set, key, value)
	{
		if (live && definition_change_of(key) == DEFINITION_CHANGE_LIVE && json_object_set(live, key, value) < 0) {
			json_decref(live);
			live = NULL;
		}
	}
	return live;
}

static int check_lasting(const json_t *set, bool persistent, struct error *err)
{
	const char *key;
	const json_t *value;
	json_object_foreach((json_t *)set, key, value)
	{
		(void)value;
		if (!persistent && definition_change_of(key) != DEFINITION_CHANGE_LIVE)
			return error_set(err, EINVAL, "%.60s: takes effect at the next start, so it must be persistent", key);
	}
	return 0;
}

static void write_started(struct guest *g)
{
	char *text = json_dumps(g->started->json, JSON_INDENT(2));
	int ret = text ? guest_run_put(&g->run, "started", text) : -ENOMEM;
	free(text);
	if (ret)
		log_warning("%s/started: cannot be written: %s", g->run.path, strerror(-ret));
}

static json_t *names_of(const json_t *set)
{
	json_t *names = json_array();
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)set, key, value)
	{
		(void)value;
		json_array_append_new(names, json_string(key));
	}
	return names;
}

int guest_tune(struct guest *g, const json_t *set, bool live, bool persistent, json_t **result, struct error *err)
{
	struct definition *on_disk = NULL, *in_force = NULL;
	struct error why;
	bool has_vmm = g->started && guest_has_vmm(g);
	if (!live && !persistent)
		return error_set(err, EINVAL, "persistent: neither live nor persistent changes nothing");
	if (!persistent && !has_vmm)
		return error_set(err, EBADFD, "%s: does not run, so that only what is persistent can be changed",
				 g->definition->name);
	json_t *members = live_members(set), *lists = NULL, *later = NULL;
	int ret = members ? check_lasting(set, persistent, err) : error_set(err, ENOMEM, "out of memory");
	if (ret == 0)
		ret = definition_change(g->definition, set, &on_disk, err);
	if (ret == 0 && live && has_vmm)
		ret = definition_change(g->started, members, &in_force, err);
	if (ret == 0) {
		/* What the guest has now, and what it will have. */
		later = persistent && has_vmm ? definition_difference(in_force ? in_force : g->started, on_disk) : json_array();
		json_t *changed = persistent ? definition_difference(g->definition, on_disk) : json_array();
		json_t *now = in_force ? names_of(members) : json_array();
		lists = json_pack("{s:o, s:o, s:o}", "live", now, "persistent", changed, "next-start", later);
		if (!lists)
			ret = error_set(err, ENOMEM, "out of memory");
	}
	if (ret == 0 && persistent)
		ret = definition_store_save(&g->guests->store, on_disk, err);
	if (ret) {
		definition_free(on_disk);
		definition_free(in_force);
		json_decref(lists);
		json_decref(members);
		return ret;
	}
	if (persistent) {
		definition_free(g->definition);
		g->definition = on_disk;
	} else {
		definition_free(on_disk);
	}
	if (in_force) {
		/* The arbiter looks at it when it decides next, and tells the VMM what has changed. */
		json_t *was = json_incref(json_object_get(g->started->json, "pins"));
		definition_free(g->started);
		g->started = in_force;
		write_started(g);
		if (pins_apply(g, was, &why))
			log_warning("%s", why.text);
		json_decref(was);
	}
	json_decref(members);
	json_t *names = names_of(set);
	guest_announce(g, "guest-changed",
		       names ? json_pack("{s:o, s:O}", "members", names, "live", json_object_get(lists, "live")) : NULL);
	*result = lists;
	return 0;
}
