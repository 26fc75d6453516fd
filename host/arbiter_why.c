/* See arbiter_why.h. */
#include "host/arbiter_why.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "host/arbiter_internal.h"

struct text {
	char *at;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	va_list args;
	va_start(args, fmt);
	size_t left = t->len < t->size ? t->size - t->len : 0;
	int len = vsnprintf(left ? t->at + t->len : NULL, left, fmt, args);
	va_end(args);
	if (len > 0)
		t->len += (size_t)len;
}

/* Pages as people read them: "512 KiB", "12.5 MiB", "3.2 GiB". */
static const char *size_text(char text[32], uint64_t pages)
{
	double kib = (double)pages * 4;
	if (kib < 1024)
		snprintf(text, 32, "%.0f KiB", kib);
	else if (kib < 1024 * 1024)
		snprintf(text, 32, "%.1f MiB", kib / 1024);
	else
		snprintf(text, 32, "%.1f GiB", kib / 1024 / 1024);
	return text;
}
/* A buffer for each use: several sizes stand in one sentence. */
#define SIZE(pages) size_text((char[32]){0}, (pages))

const char *arbiter_why_name(enum arbiter_why why)
{
	static const char *const names[] = {"plenty",  "share",  "taxed",   "need",   "minimum",
					    "maximum", "pinned", "waiting", "giving", "blind"};
	return names[why];
}

/* --- a guest --- */

static void say_use(struct text *t, const struct arbiter_guest *guest, const struct arbiter_guest_decision *gd)
{
	if (!guest->has_stats) {
		add(t, "It does not tell what it uses.\n");
		return;
	}
	add(t, "It uses %s of the host's memory for %s of RAM; ", SIZE(guest->used_pages), SIZE(guest->size_pages));
	if (guest->active_pages)
		add(t, "samples say that %s are active, and ", SIZE(guest->active_pages));
	add(t, "%s count as in use.\n", SIZE(gd->hot_pages));
	if (guest->shared_pages)
		add(t, "Beside that it shares %s with others; %s more would be needed if it wrote to all of that.\n",
		    SIZE(guest->shared_pages), SIZE(guest->divergence_pages));
	if (gd->pressed)
		add(t,
		    "It has less than it needs: %" PRIu64
		    " faults a second, %u.%u %% of its time spent waiting for memory. It is believed to need %s.\n",
		    gd->faults_per_s, gd->stall_permille / 10, gd->stall_permille % 10, SIZE(gd->need_pages));
	else
		add(t, "It is believed to need %s.\n", SIZE(gd->need_pages));
}

static void say_share(struct text *t, const struct arbiter_settings *s, const struct arbiter_decision *d,
		      const struct arbiter_guest *guest, const struct arbiter_guest_decision *gd)
{
	if (d->level > 0)
		add(t, "All guests together want %s, and there are %s: its %" PRIu32 " shares are worth %s.\n",
		    SIZE(d->wanted_pages), SIZE(d->supply_pages), guest->shares, SIZE(gd->fair_pages));
	else
		add(t, "All guests together want %s, and there are %s: each gets what it wants, and a part of the rest.\n",
		    SIZE(d->wanted_pages), SIZE(d->supply_pages));
	if (d->level > 0 && gd->goal_pages > gd->hot_pages && gd->why == ARBITER_TAXED)
		add(t, "%s of what it uses are idle, and idle memory costs %.1f times as much: for its shares it gets %s.\n",
		    SIZE(arbiter_over(guest->used_pages, gd->hot_pages)), 100.0 / (100 - s->idle_tax_percent),
		    SIZE(gd->goal_pages));
}

static void say_rule(struct text *t, const struct arbiter_decision *d, const struct arbiter_guest *guest,
		     const struct arbiter_guest_decision *gd)
{
	switch (gd->why) {
	case ARBITER_PLENTY:
		add(t, "%s: it may take up to %s.\n",
		    d->state == ARBITER_HIGH ? "Memory is not short"
					     : "Little is free just now, but there is enough for what all want",
		    SIZE(gd->target_pages));
		break;
	case ARBITER_SHARE:
		add(t, "Its target is its share, %s.\n", SIZE(gd->target_pages));
		break;
	case ARBITER_TAXED:
		add(t, "Its target is its share after the tax on idle memory, %s.\n", SIZE(gd->target_pages));
		break;
	case ARBITER_NEED:
		add(t, "It needs less than its share: its target is what it wants, %s.\n", SIZE(gd->target_pages));
		break;
	case ARBITER_MINIMUM:
		add(t, "That is less than its minimum, which it has by right: its target is %s.\n", SIZE(gd->target_pages));
		break;
	case ARBITER_MAXIMUM:
		add(t, "It would get more, but its maximum is %s.\n", SIZE(guest->max_pages));
		break;
	case ARBITER_PINNED:
		add(t, "Its memory is pinned and cannot be taken: all of it, %s, is counted.\n", SIZE(gd->target_pages));
		break;
	case ARBITER_WAITING:
		add(t, "It is to have %s; %s are free for it until others have given back what they have too much.\n",
		    SIZE(gd->goal_pages), SIZE(gd->target_pages));
		break;
	case ARBITER_GIVING:
		add(t, "It is to shrink to %s; for now %s are left to it, so that it can give by itself what it does not need.\n",
		    SIZE(gd->goal_pages), SIZE(gd->target_pages));
		break;
	case ARBITER_BLIND:
		add(t, "It keeps the target that it had, %s.\n", SIZE(gd->target_pages));
		break;
	}
}

static void say_means(struct text *t, const struct arbiter_guest *guest, const struct arbiter_guest_decision *gd)
{
	if (gd->balloon_stalls)
		add(t, "Its balloon was asked for %s, has %s, and did not move: memory is taken without it.\n",
		    SIZE(gd->balloon_pages), SIZE(guest->balloon_pages));
	else if (guest->has_balloon && gd->balloon_pages != guest->balloon_pages)
		add(t, "Its balloon has %s and is asked for %s.\n", SIZE(guest->balloon_pages), SIZE(gd->balloon_pages));
	else if (!guest->has_balloon && !guest->pinned && !guest->in_common && gd->target_pages < guest->used_pages)
		add(t, "It has no balloon: pages that it does not touch are taken and compressed.\n");
	if (guest->in_common)
		add(t, "The kernel keeps its cold pages, and takes them from all guests without a minimum and a maximum together: "
		       "it may "
		       "have more than its target while others have less.\n");
	else if (gd->swap_allowed)
		add(t, "Its cold pages may go to disk.\n");
	if (gd->hold)
		add(t, "What would allocate memory for it is held up until memory is less short.\n");
}

size_t arbiter_explain_guest(const struct arbiter_settings *settings, const struct arbiter_decision *decision,
			     const struct arbiter_guest *guest, const struct arbiter_guest_decision *gd, char *text, size_t size)
{
	struct text t = {text, size, 0};
	if (size)
		text[0] = '\0';
	say_use(&t, guest, gd);
	if (gd->why != ARBITER_PINNED && gd->why != ARBITER_BLIND)
		say_share(&t, settings, decision, guest, gd);
	say_rule(&t, decision, guest, gd);
	say_means(&t, guest, gd);
	return t.len;
}

/* --- the host --- */

static const char *state_means(enum arbiter_state state)
{
	static const char *const means[] = {
		"nothing is taken from guests",
		"guests give by their balloons",
		"pages are evicted and compressed too, and equal pages are looked for at full rate",
		"pages go to disk too, and no guest is started",
	};
	return means[state];
}

size_t arbiter_explain_host(const struct arbiter_settings *settings, const struct arbiter_host *host,
			    const struct arbiter_decision *decision, char *text, size_t size)
{
	struct text t = {text, size, 0};
	const struct arbiter_decision *d = decision;
	if (size)
		text[0] = '\0';
	add(&t, "Guests use %s of a budget of %s, the pool of shared pages included (%s).\n", SIZE(d->used_pages),
	    SIZE(host->budget_pages), SIZE(host->pool_pages));
	add(&t, "%s are free; %s are to be kept free. Memory is %s: %s.\n", SIZE(d->free_pages), SIZE(d->reserve_pages),
	    arbiter_state_name(d->state), state_means(d->state));
	if (host->starting_pages)
		add(&t, "Of that, %s are for guests that are about to start.\n", SIZE(host->starting_pages));
	if (d->by_psi)
		add(&t, "Free memory alone would not say so: tasks of the host wait for memory (some %u.%u %%, full %u.%u %%).\n",
		    host->psi_some_permille / 10, host->psi_some_permille % 10, host->psi_full_permille / 10,
		    host->psi_full_permille % 10);
	if (d->level > 0)
		add(&t, "Guests want %s, and there are %s: they are divided by shares, with a tax of %u %% on idle memory.\n",
		    SIZE(d->wanted_pages), SIZE(d->supply_pages), settings->idle_tax_percent);
	else
		add(&t, "Guests want %s, and there are %s: enough for all%s.\n", SIZE(d->wanted_pages), SIZE(d->supply_pages),
		    d->state == ARBITER_HIGH || d->by_psi ? "" : ", once they have given back what they use beyond that");
	if (d->short_of_minimums)
		add(&t, "Minimums and pinned guests alone are more than there is: raise the budget, lower minimums, or stop a "
			"guest.\n");
	if (d->divergence_pages)
		add(&t, "If guests wrote to all pages that they share, %s more would be needed.\n", SIZE(d->divergence_pages));
	return t.len;
}
