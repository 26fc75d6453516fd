/* The register of guests: defining, finding, loading. See guest.h. What a VMM does is in guest_life.c, how values change in guest_tune.c. */
#include "host/guest.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "host/directory.h"
#include "host/pins.h"
#include "host/shared_group.h"

#define SAMPLE_SECONDS 1.

const struct definition *guest_in_force(const struct guest *g)
{
	return g->started ? g->started : g->definition;
}

struct guest *guests_find(struct guests *guests, const char *name, struct error *err)
{
	for (struct guest *g = guests->first; g; g = g->next)
		if (!strcmp(g->definition->name, name) || !strcmp(g->definition->uuid, name))
			return g;
	error_set(err, ESRCH, "%.60s: there is no such guest; \"list\" names all", name);
	return NULL;
}

/* --- one guest --- */

static void free_guest(struct guest *g)
{
	struct error err;
	guest_let_go(g);
	error_set(&err, ECANCELED, "%s: the daemon ends; it goes on as it is", g->definition->name);
	while (g->waits) {
		struct guest_wait *wait = g->waits;
		g->waits = wait->next;
		wait->done(wait, g, &err);
	}
	ev_timer_stop(g->guests->loop, &g->restart);
	ev_timer_stop(g->guests->loop, &g->room);
	guest_run_close(&g->run);
	definition_free(g->started);
	definition_free(g->definition);
	free(g);
}

/* They are in the order of their names. */
static void insert(struct guest *g)
{
	struct guest **at = &g->guests->first;
	while (*at && strcmp((*at)->definition->name, g->definition->name) < 0)
		at = &(*at)->next;
	g->next = *at;
	*at = g;
}

static void take_out(struct guest *g)
{
	struct guest **at = &g->guests->first;
	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
}

/* Takes the definition over, but not when it fails: then it returns NULL, with a sentence. */
static struct guest *new_guest(struct guests *guests, struct definition *definition, struct error *err)
{
	struct guest *g = calloc(1, sizeof(*g));
	if (!g) {
		error_set(err, ENOMEM, "out of memory");
		return NULL;
	}
	if (guest_run_open(guests->run_directory, definition->name, &g->run, err) != 0) {
		free(g);
		return NULL;
	}
	g->guests = guests;
	g->definition = definition;
	g->since = ev_time();
	g->process.fd = g->executed_fd = -1;
	g->qmp.fd = -1;
	insert(g);
	return g;
}

static void remove_guest(struct guest *g)
{
	take_out(g);
	free_guest(g);
}

/* --- defining --- */

static int check_uuid(struct guests *guests, const struct definition *d, struct error *err)
{
	for (const struct guest *g = guests->first; g; g = g->next)
		if (strcmp(g->definition->name, d->name) != 0 &&
		    (!strcmp(g->definition->uuid, d->uuid) || !strcmp(g->definition->uuid, d->name) ||
		     !strcmp(g->definition->name, d->uuid)))
			return error_set(err, EEXIST, "uuid: %s is guest \"%s\"", d->uuid, g->definition->name);
	return 0;
}

static int replace(struct guest *g, const json_t *json, struct error *err)
{
	struct definition *d;
	json_t *whole = json_copy((json_t *)json), *result;
	int ret = 0;
	if (!whole || (!json_object_get(whole, "uuid") && json_object_set_new(whole, "uuid", json_string(g->definition->uuid)) < 0))
		ret = error_set(err, ENOMEM, "out of memory");
	if (ret == 0)
		ret = definition_parse(whole, &d, err);
	json_decref(whole);
	if (ret)
		return ret;
	if (strcmp(d->uuid, g->definition->uuid) != 0)
		ret = error_set(err, EINVAL, "uuid: \"%s\" has another, %s; leave it out to keep that", d->name,
				g->definition->uuid);
	/* As tune does, with every member. */
	if (ret == 0)
		ret = guest_tune(g, d->json, true, true, &result, err);
	if (ret == 0)
		json_decref(result);
	definition_free(d);
	return ret;
}

int guests_define(struct guests *guests, const json_t *json, bool may_replace, struct guest **out, struct error *err)
{
	struct definition *d;
	struct guest *g = NULL;
	int ret = definition_parse(json, &d, err);
	if (ret)
		return ret;
	for (struct guest *other = guests->first; other && !g; other = other->next)
		if (!strcmp(other->definition->name, d->name))
			g = other;
	if (g) {
		definition_free(d);
		if (!may_replace)
			return error_set(err, EEXIST, "%s: is defined already; \"replace\" (define --replace) changes it",
					 g->definition->name);
		*out = g;
		return replace(g, json, err);
	}
	ret = check_uuid(guests, d, err);
	if (ret == 0)
		ret = definition_store_save(&guests->store, d, err);
	if (ret) {
		definition_free(d);
		return ret;
	}
	g = new_guest(guests, d, err);
	if (!g) {
		definition_store_remove(&guests->store, d->name, NULL);
		definition_free(d);
		return -err->code;
	}
	guest_adopt(g);
	guest_announce(g, "guest-defined", NULL);
	*out = g;
	return 0;
}

static void remove_run_files(struct guest_run *run)
{
	static const char *const names[] = {"ended", "started", "lock"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		guest_run_remove(run, names[i]);
	rmdir(run->path);
}

int guest_undefine(struct guest *g, struct error *err)
{
	if (guest_has_vmm(g) || guest_waits_for_room(g))
		return error_set(err, EBADFD, "%s: is %s; stop it first", g->definition->name, guest_state_name(g->state));
	int ret = definition_store_remove(&g->guests->store, g->definition->name, err);
	if (ret)
		return ret;
	remove_run_files(&g->run);
	g->gone = true;
	guest_announce(g, "guest-undefined", NULL);
	remove_guest(g);
	return 0;
}

static int renamed_definition(struct guest *g, const char *name, struct definition **d, struct error *err)
{
	const struct guest *other = g->guests->first;
	json_t *json = json_copy(g->definition->json);
	int ret = 0;
	while (other && strcmp(other->definition->name, name) != 0 && strcmp(other->definition->uuid, name) != 0)
		other = other->next;
	if (other)
		ret = error_set(err, EEXIST, "%.60s: is guest \"%s\"", name, other->definition->name);
	else if (!json || json_object_set_new(json, "name", json_string(name)) < 0)
		ret = error_set(err, EINVAL, "name: cannot be that");
	if (ret == 0)
		ret = definition_parse(json, d, err);
	json_decref(json);
	return ret;
}

/* The old definition goes last: a daemon that ends in between finds both, and says that they have one UUID. */
int guest_rename(struct guest *g, const char *name, struct error *err)
{
	struct definition *d;
	struct guest_run run;
	if (guest_has_vmm(g) || guest_waits_for_room(g))
		return error_set(err, EBADFD, "%s: is %s; stop it first", g->definition->name, guest_state_name(g->state));
	int ret = renamed_definition(g, name, &d, err);
	if (ret)
		return ret;
	ret = guest_run_open(g->guests->run_directory, name, &run, err);
	if (ret)
		goto free_definition;
	ret = definition_store_save(&g->guests->store, d, err);
	if (ret)
		goto close_run;
	ret = definition_store_remove(&g->guests->store, g->definition->name, err);
	if (ret)
		goto remove_new;
	g->gone = true;
	guest_announce(g, "guest-undefined", NULL);
	g->gone = false;
	take_out(g);
	remove_run_files(&g->run);
	guest_run_close(&g->run);
	definition_free(g->definition);
	g->run = run;
	g->definition = d;
	insert(g);
	guest_announce(g, "guest-defined", NULL);
	return 0;
remove_new:
	definition_store_remove(&g->guests->store, name, NULL);
close_run:
	remove_run_files(&run);
	guest_run_close(&run);
free_definition:
	definition_free(d);
	return ret;
}

/* --- loading --- */

static void take_started(struct guest *g)
{
	char *text = guest_run_get(&g->run, "started");
	json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	struct error err;
	free(text);
	if (!json || definition_parse(json, &g->started, &err) || strcmp(g->started->name, g->definition->name) != 0) {
		if (g->started)
			definition_free(g->started);
		g->started = NULL;
		/* It is needed if the guest runs: then what is on disk must do. */
		if (definition_parse(g->definition->json, &g->started, &err))
			log_error("%s: %s", g->definition->name, err.text);
	}
	json_decref(json);
}

static void tell_damage(struct guests *guests, const struct definition_damage *damage)
{
	json_t *data = json_pack("{s:s, s:s, s:s}", "file", damage->file, "set-aside", damage->set_aside, "reason", damage->reason);
	log_error("%s/%s: %s; %s%s", guests->store.path, damage->file, damage->reason,
		  *damage->set_aside ? "set aside as " : "left as it is", damage->set_aside);
	guests_announce(guests, "definition-damaged", data);
}

static int load_defined(struct guests *guests, struct error *err)
{
	struct definition_cursor *cursor = NULL;
	struct definition *d;
	struct definition_damage damage;
	struct guest *g;
	int ret;
	while ((ret = definition_store_next(&guests->store, &cursor, &d, &damage, err)) > 0) {
		if (!d) {
			tell_damage(guests, &damage);
			continue;
		}
		g = check_uuid(guests, d, err) == 0 ? new_guest(guests, d, err) : NULL;
		if (!g) {
			log_error("%s/%s.json: not loaded: %s", guests->store.path, d->name, err->text);
			definition_free(d);
			continue;
		}
		take_started(g);
		guest_adopt(g);
	}
	return ret;
}

/* A guest that runs and whose definition is gone or damaged: it is what it was started with. */
static void restore(struct guests *guests, const char *name)
{
	struct guest_run run;
	struct error err;
	struct process process;
	struct definition *d = NULL;
	struct guest *g = NULL;
	bool was;
	if (guest_run_open(guests->run_directory, name, &run, &err))
		return;
	int ret = guest_run_find(&run, &process, &was, &err);
	char *text = ret == 0 ? guest_run_get(&run, "started") : NULL;
	json_t *json = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
	free(text);
	guest_run_close(&run);
	if (ret == 0)
		process_close(&process);
	if (json && definition_parse(json, &d, &err) == 0 && !strcmp(d->name, name))
		g = new_guest(guests, d, &err);
	if (!g) {
		if (ret == 0)
			log_error("%s: a VMM runs, process %d, and there is no definition for it", name, (int)process.pid);
		definition_free(d);
		json_decref(json);
		return;
	}
	json_decref(json);
	log_warning("%s: runs without a definition; what it was started with is taken for it", name);
	if (definition_store_save(&guests->store, d, &err))
		log_error("%s", err.text);
	take_started(g);
	guest_adopt(g);
}

static void load_running(struct guests *guests)
{
	DIR *directory = opendir(guests->run_directory);
	struct error err;
	const struct dirent *entry;
	while (directory && (entry = readdir(directory)) != NULL)
		if (definition_is_name(entry->d_name) && !guests_find(guests, entry->d_name, &err))
			restore(guests, entry->d_name);
	if (directory)
		closedir(directory);
}

int guests_load(struct guests *guests, struct error *err)
{
	int ret = load_defined(guests, err);
	if (ret)
		return ret;
	load_running(guests);
	for (struct guest *g = guests->first; g; g = g->next)
		if (g->definition->autostart && g->state == GUEST_DEFINED && guest_start(g, false, err))
			log_error("%s: autostart: %s", g->definition->name, err->text);
	return 0;
}

/* --- life --- */

static void on_sample(struct ev_loop *loop, ev_timer *w, int events)
{
	struct guests *guests = container_of(w, struct guests, sampler);
	(void)loop, (void)events;
	for (struct guest *g = guests->first; g; g = g->next) {
		guest_stats_sample(&g->stats);
		pins_apply(g, NULL, NULL);
	}
}

int guests_create(struct ev_loop *loop, const struct host_options *options, struct guests *guests, struct error *err)
{
	struct definition_store store;
	char *directory;
	if (asprintf(&directory, "%s/guests", options->run) < 0)
		return error_set(err, ENOMEM, "out of memory");
	/* Clients reach the consoles below the first. */
	const struct {
		const char *option, *path;
		unsigned mode;
	} needed[] = {{"", directory, 0711}, {"--swap", options->swap, 0700}, {"--logs", options->logs, 0700}};
	int ret = 0;
	for (size_t i = 0; ret == 0 && i < sizeof(needed) / sizeof(needed[0]); i++) {
		int fd = needed[i].path ? directory_open(needed[i].option, needed[i].path, needed[i].mode, err) : -1;
		if (needed[i].path && fd < 0)
			ret = fd;
		else if (fd >= 0)
			close(fd);
	}
	if (ret == 0)
		ret = definition_store_open(options->definitions, &store, err);
	if (ret) {
		free(directory);
		return ret;
	}
	*guests = (struct guests){
		.loop = loop, .options = options, .store = store, .run_directory = directory, .budget = options->budget};
	ev_timer_init(&guests->sampler, on_sample, SAMPLE_SECONDS, SAMPLE_SECONDS);
	ev_timer_start(loop, &guests->sampler);
	return 0;
}

void guests_destroy(struct guests *guests)
{
	if (!guests->run_directory)
		return;
	ev_timer_stop(guests->loop, &guests->sampler);
	while (guests->first) {
		struct guest *g = guests->first;
		guests->first = g->next;
		free_guest(g);
	}
	shared_group_destroy(guests->shared);
	guests->shared = NULL;
	definition_store_close(&guests->store);
	free(guests->run_directory);
	guests->run_directory = NULL;
}
