/* See placement_loop.h. */
#include "host/placement_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/container_of.h"
#include "base/log.h"
#include "host/pins.h"

enum {
	PAGE_BYTES = 4096,
	TICK_S = 5,
	COUNT_S = 15,              /* between counts of a guest that does not move */
	MOST_MOVES = 8,            /* begun at a time */
	MOST_SQUEEZES = 8,         /* to a tenth */
	USUAL_VCPU_PERMILLE = 200, /* a vCPU of a new guest, until its CPU time is known */
};

/* A guest that has a VMM, or is about to have one. */
struct placement_member {
	struct guest *guest; /* looked at only after it was found again among the guests */
	struct placement_member *next;
	uint64_t id; /* the VMM's */
	bool seen;
	bool own_words; /* its definition binds it by options of its own */
	struct placement_seat seat;
	struct guest_qmp_question nodes_question, vcpus_question, move_question;
	bool asking_nodes, asking_vcpus, asking_move;
	bool overtaken; /* a move was ordered after its VMM was asked: the answer is about before */
	double counted_at;
	uint64_t cpu_ns, cpu_at_ns;
	unsigned vcpu_permille;
	struct placement_loop *loop;
};

/* --- members --- */

static struct placement_member *find(const struct placement_loop *p, const struct guest *g)
{
	for (struct placement_member *m = p->members; m; m = m->next)
		if (m->guest == g && m->id == g->vmm_id)
			return m;
	return NULL;
}

/* Whether words of its own say where the guest's memory comes from. */
static bool binds_itself(const struct definition *d)
{
	const json_t *word;
	size_t i;
	json_array_foreach(json_object_get(d->json, "words"), i, word)
	{
		const char *text = json_string_value(word);
		if (text && (strstr(text, "memory-backend") || !strcmp(text, "-numa")))
			return true;
	}
	return false;
}

static struct placement_member *add(struct placement_loop *p, struct guest *g, uint64_t id, const struct definition *d)
{
	struct placement_member *m = calloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->guest = g;
	m->id = id;
	m->loop = p;
	m->own_words = binds_itself(d);
	m->vcpu_permille = USUAL_VCPU_PERMILLE;
	m->next = p->members;
	p->members = m;
	return m;
}

static bool asks(const struct placement_member *m)
{
	return m->asking_nodes || m->asking_vcpus || m->asking_move;
}

static void find_guests(struct placement_loop *p)
{
	for (struct placement_member *m = p->members; m; m = m->next)
		m->seen = false;
	for (struct guest *g = p->guests->first; g; g = g->next) {
		if (!guest_has_vmm(g) || !g->started)
			continue;
		struct placement_member *m = find(p, g);
		if (!m)
			m = add(p, g, g->vmm_id, g->started);
		if (m)
			m->seen = true;
	}
	for (struct placement_member **at = &p->members; *at;) {
		struct placement_member *m = *at;
		if (m->seen || asks(m)) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		free(m);
	}
}

/* --- what they say --- */

static void pin(struct placement_member *m)
{
	struct placement_seat *s = &m->seat;
	const json_t *pins = json_object_get(guest_in_force(m->guest)->json, "pins");
	struct topology_cpus cpus;
	if (m->own_words || s->elsewhere || s->at.nr_vnodes == 0 || s->nr_vcpus == 0)
		return;
	for (unsigned c = 0; c < s->nr_vcpus; c++)
		s->vcpus[c].is_chosen = pins_find(pins, (int)c, &cpus);
	unsigned nr = placement_seat_pin(s, m->loop->topology, m->guest->process.pid);
	if (nr)
		log_debug("%s: %u vCPUs were given the CPUs of their nodes", m->guest->definition->name, nr);
}

static void on_nodes(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct placement_member *m = container_of(question, struct placement_member, nodes_question);
	struct placement_seat *s = &m->seat;
	bool moved = s->move.under_way, overtaken = m->overtaken;
	m->asking_nodes = m->overtaken = false;
	if (!result || overtaken)
		return;
	if (placement_seat_hear_nodes(s, m->loop->topology, result, clock_now_ms()) != 0) {
		log_warning("%s: where its memory lies is not known: what its VMM says makes no sense%s",
			    m->guest->definition->name, err->code ? err->text : "");
		return;
	}
	if (moved && !s->move.under_way) {
		log_info("%s: %s", m->guest->definition->name, s->why);
		guest_announce(m->guest, "guest-moved", json_pack("{s:s}", "reason", s->why));
	}
	pin(m);
}

static void on_vcpus(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct placement_member *m = container_of(question, struct placement_member, vcpus_question);
	(void)err;
	m->asking_vcpus = false;
	if (result && placement_seat_hear_vcpus(&m->seat, result) == 0)
		pin(m);
}

static void on_move(struct guest_qmp_question *question, const json_t *result, const struct error *err)
{
	struct placement_member *m = container_of(question, struct placement_member, move_question);
	m->asking_move = false;
	if (result) {
		pin(m);
		return;
	}
	placement_seat_stay(&m->seat, m->loop->topology, err->text, clock_now_ms());
	log_warning("%s: %s", m->guest->definition->name, m->seat.why);
}

static void ask(struct placement_member *m)
{
	double now = clock_now_s();
	if (m->guest->state != GUEST_RUNNING && m->guest->state != GUEST_PAUSED)
		return;
	if (!m->asking_vcpus && m->seat.nr_vcpus == 0) {
		m->vcpus_question.answered = on_vcpus;
		m->asking_vcpus = guest_ask(m->guest, "query-cpus-fast", NULL, &m->vcpus_question, NULL) == 0;
	}
	if (!m->asking_nodes && !m->asking_move && (m->seat.move.under_way || now >= m->counted_at + COUNT_S)) {
		m->nodes_question.answered = on_nodes;
		m->asking_nodes = guest_ask(m->guest, "query-memory-nodes", NULL, &m->nodes_question, NULL) == 0;
		if (m->asking_nodes)
			m->counted_at = now;
	}
}

/* How busy its vCPUs are, from the CPU time of its process: half of what was, half of what is. */
static void count_cpu(struct placement_member *m)
{
	struct timespec used;
	clockid_t clock;
	if (clock_getcpuclockid(m->guest->process.pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
		return;
	uint64_t ns = (uint64_t)used.tv_sec * 1000000000 + (uint64_t)used.tv_nsec, at = clock_now_ns();
	uint64_t nr = m->guest->started->vcpus;
	if (m->cpu_at_ns && at > m->cpu_at_ns && ns >= m->cpu_ns) {
		double permille = (double)(ns - m->cpu_ns) * 1000 / (double)(at - m->cpu_at_ns) / (double)nr;
		m->vcpu_permille = (m->vcpu_permille + (permille < 1000 ? (unsigned)permille : 1000)) / 2;
	}
	m->cpu_ns = ns;
	m->cpu_at_ns = at;
}

/* --- what the policy is told --- */

/* What it is expected to take: the arbiter's target, or what it has if that is more. */
static uint64_t demand_of(const struct placement_loop *p, const struct placement_member *m)
{
	const struct definition *d = m->guest->started;
	const struct arbiter_seat *seat = arbiter_loop_seat(p->arbiter, m->guest);
	uint64_t all = d->memory / PAGE_BYTES, most = d->maximum / PAGE_BYTES;
	if (d->pinned)
		return all;
	if (!seat || !seat->input.has_stats)
		return most;
	uint64_t target = seat->decision.target_pages < most ? seat->decision.target_pages : most;
	uint64_t used = seat->input.used_pages < all ? seat->input.used_pages : all;
	return target > used ? target : used;
}

static struct placement_guest describe(const struct placement_loop *p, const struct placement_member *m)
{
	const struct definition *d = m->guest->started;
	struct placement_guest guest = {.nr_pages = d->memory / PAGE_BYTES,
					.demand_pages = demand_of(p, m),
					.nr_vcpus = (unsigned)d->vcpus,
					.vcpu_permille = m->vcpu_permille,
					.nodes = d->nodes,
					.fixed = d->pinned || m->own_words || m->seat.elsewhere};
	placement_seat_describe(&m->seat, &guest);
	/* One that is being asked is not moved: two orders at a time would get in each other's way. */
	if (m->asking_move || m->guest->state != GUEST_RUNNING)
		guest.fixed = true;
	return guest;
}

/* Those of which it is known where they are: an array of *nr, and whose each is. NULL without memory. */
static struct placement_guest *describe_all(const struct placement_loop *p, size_t *nr, struct placement_member ***whose)
{
	size_t most = 1;
	for (const struct placement_member *m = p->members; m; m = m->next)
		most++;
	struct placement_guest *guests = calloc(most, sizeof(*guests));
	*whose = calloc(most, sizeof(struct placement_member *));
	*nr = 0;
	if (!guests || !*whose) {
		free(guests);
		free(*whose);
		*whose = NULL;
		return NULL;
	}
	for (struct placement_member *m = p->members; m; m = m->next) {
		if (!m->seen || m->seat.at.nr_vnodes == 0)
			continue;
		(*whose)[*nr] = m;
		guests[(*nr)++] = describe(p, m);
	}
	return guests;
}

/* --- moving --- */

static void order_move(struct placement_loop *p, struct placement_member *m, const struct placement_move *move)
{
	struct error err;
	json_t *arguments =
		json_pack("{s:i, s:[i], s:s, s:i}", "node", (int)move->vnode, "host-nodes", (int)p->topology->nodes[move->to].id,
			  "policy", "preferred", "migrate-rate", (int)move->pages_per_second);
	m->move_question.answered = on_move;
	int ret = arguments ? guest_ask(m->guest, "memory-bind-node", arguments, &m->move_question, &err) : -ENOMEM;
	json_decref(arguments);
	if (ret)
		return; /* it is decided again */
	m->asking_move = true;
	m->overtaken = m->asking_nodes;
	placement_seat_go(&m->seat, p->topology, move, clock_now_ms());
	log_info("%s: %s", m->guest->definition->name, m->seat.why);
	guest_announce(m->guest, "guest-moves",
		       json_pack("{s:i, s:i, s:s}", "from", (int)p->topology->nodes[move->from].id, "to",
				 (int)p->topology->nodes[move->to].id, "reason", m->seat.why));
}

/* NULL when nobody shares, or without memory. */
static struct placement_sharing *pairs_of(const struct placement_loop *p, struct placement_member *const whose[], size_t nr,
					  size_t *nr_pairs)
{
	pid_t *pids = calloc(nr + 1, sizeof(*pids));
	*nr_pairs = 0;
	if (!pids)
		return NULL;
	for (size_t i = 0; i < nr; i++)
		pids[i] = whose[i]->guest->process.pid;
	struct placement_sharing *pairs = placement_sharers_pairs(&p->sharers, pids, nr, nr_pairs);
	free(pids);
	return pairs;
}

static void rebalance(struct placement_loop *p)
{
	struct placement_move moves[MOST_MOVES];
	struct placement_member **whose;
	struct placement_host host = {.topology = p->topology};
	struct placement_guest *guests = describe_all(p, &host.nr_guests, &whose);
	struct placement_sharing *pairs = guests ? pairs_of(p, whose, host.nr_guests, &host.nr_sharing) : NULL;
	host.guests = guests;
	host.sharing = pairs;
	int nr = guests ? placement_rebalance(&host, &p->settings, clock_now_ms(), moves, MOST_MOVES) : -ENOMEM;
	if (nr < 0)
		log_warning("guests were not moved between nodes: %s", strerror(-nr));
	for (int i = 0; i < nr; i++)
		order_move(p, whose[moves[i].guest], &moves[i]);
	free(pairs);
	free(guests);
	free(whose);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int events)
{
	struct placement_loop *p = container_of(w, struct placement_loop, timer);
	(void)loop, (void)events;
	find_guests(p);
	for (struct placement_member *m = p->members; m; m = m->next) {
		if (!m->seen)
			continue;
		count_cpu(m);
		ask(m);
	}
	placement_sharers_tick(&p->sharers, clock_now_s());
	rebalance(p);
}

/* --- starting --- */

/* All are taken to be given less, alike. */
static void squeeze(struct placement_guest *guests, size_t nr, struct placement_guest *guest, double part)
{
	for (size_t i = 0; i < nr; i++)
		guests[i].demand_pages = (uint64_t)((double)guests[i].demand_pages * part);
	guest->demand_pages = (uint64_t)((double)guest->demand_pages * part);
	if (guest->demand_pages == 0)
		guest->demand_pages = 1;
}

/* How much of what all want together there is; 1: all of it. */
static double supply_part(const struct placement_loop *p, const struct placement_guest *guests, size_t nr,
			  const struct placement_guest *guest)
{
	uint64_t supply = 0, wanted = guest->demand_pages;
	for (unsigned n = 0; n < p->topology->nr_nodes; n++)
		supply += p->topology->nodes[n].nr_pages / 100 * (100 - p->settings.reserve_percent);
	for (size_t i = 0; i < nr; i++)
		wanted += guests[i].demand_pages;
	return wanted > supply ? (double)supply / (double)wanted : 1;
}

/*
 * Together guests may be promised more than there is; the arbiter then gives each less. A new guest must not seem to fit nowhere because of that, nor be
 * split: all shrink until it fits on one node, if it is small enough for one at all.
 */
static int choose(const struct placement_loop *p, struct placement_guest *guests, size_t nr, struct placement_guest *guest,
		  struct placement *where, struct error *err)
{
	struct placement_host host = {.topology = p->topology, .guests = guests, .nr_guests = nr};
	double part = supply_part(p, guests, nr, guest);
	if (part < 1)
		squeeze(guests, nr, guest, part);
	int ret = placement_choose(&host, &p->settings, guest, NULL, 0, where, err);
	for (unsigned i = 0; part < 1 && ret == 0 && (where->nr_vnodes > 1 || where->overfull) && i < MOST_SQUEEZES; i++) {
		squeeze(guests, nr, guest, 0.75);
		ret = placement_choose(&host, &p->settings, guest, NULL, 0, where, err);
	}
	return ret;
}

/* What is left of its predecessors: a start that failed, another guest that the same VMM's number was meant for. */
static void forget(struct placement_loop *p, const struct guest *g, uint64_t id)
{
	for (struct placement_member **at = &p->members; *at;) {
		struct placement_member *m = *at;
		if ((m->guest != g && m->id != id) || asks(m)) {
			at = &m->next;
			continue;
		}
		*at = m->next;
		free(m);
	}
}

int placement_loop_choose(struct placement_loop *p, struct guest *g, const struct definition *d, struct placement_words *words,
			  struct error *err)
{
	struct placement_guest guest = {.nr_pages = d->memory / PAGE_BYTES,
					.demand_pages = (d->pinned ? d->memory : d->maximum) / PAGE_BYTES,
					.nr_vcpus = (unsigned)d->vcpus,
					.vcpu_permille = USUAL_VCPU_PERMILLE,
					.nodes = d->nodes};
	uint64_t id = p->guests->last_vmm_id + 1; /* as guest_start() will give it */
	struct placement_member **whose;
	struct placement where;
	size_t nr;
	*words = (struct placement_words){.nr = 0};
	if (!p->topology || binds_itself(d))
		return 0;
	find_guests(p);
	forget(p, g, id);
	struct placement_guest *guests = describe_all(p, &nr, &whose);
	struct placement_member *m = guests ? add(p, g, id, d) : NULL;
	if (!m) {
		free(guests);
		free(whose);
		return error_set(err, ENOMEM, "out of memory");
	}
	int ret = choose(p, guests, nr, &guest, &where, err);
	free(guests);
	free(whose);
	if (ret)
		return error_prefix(err, "%s", d->name);
	ret = placement_words_make(p->topology, &where, words);
	if (ret)
		return error_set(err, -ret, "out of memory");
	placement_seat_put(&m->seat, p->topology, &where, d->nodes != 0, clock_now_ms());
	log_info("%s: %s", d->name, m->seat.why);
	return 0;
}

/* --- life --- */

static int read_topology(const char *file, struct topology *t, struct error *err)
{
	if (file) {
		int ret = topology_load(file, t, err);
		return ret ? error_prefix(err, "--topology") : 0;
	}
	int ret = topology_read_host("/sys", t, err);
	if (ret) {
		log_warning("%s; all of the host is taken for one NUMA node", err->text);
		t->nr_nodes = 1;
	}
	return 0;
}

int placement_loop_create(struct ev_loop *loop, struct guests *guests, const struct arbiter_loop *arbiter,
			  struct dedup_server *dedup, const char *topology, struct placement_loop *p, struct error *err)
{
	struct topology *t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(err, ENOMEM, "out of memory");
	int ret = read_topology(topology, t, err);
	if (ret) {
		free(t);
		return ret;
	}
	*p = (struct placement_loop){.loop = loop, .guests = guests, .arbiter = arbiter};
	placement_settings_init(&p->settings);
	if (t->nr_nodes < 2) {
		free(t);
		return 0;
	}
	p->topology = t;
	placement_sharers_init(&p->sharers, dedup);
	log_info("placement: %u NUMA nodes", t->nr_nodes);
	ev_timer_init(&p->timer, on_timer, 1, TICK_S);
	ev_timer_start(loop, &p->timer);
	return 0;
}

void placement_loop_destroy(struct placement_loop *p)
{
	if (!p->topology)
		return;
	ev_timer_stop(p->loop, &p->timer);
	placement_sharers_destroy(&p->sharers);
	while (p->members) {
		struct placement_member *next = p->members->next;
		free(p->members);
		p->members = next;
	}
	free(p->topology);
	*p = (struct placement_loop){.loop = NULL};
}

const struct placement_seat *placement_loop_seat(const struct placement_loop *p, const struct guest *g)
{
	const struct placement_member *m = p->topology && guest_has_vmm(g) ? find(p, g) : NULL;
	return m && m->seat.at.nr_vnodes ? &m->seat : NULL;
}
