/* See arbiter_shares.h. */
#include "host/arbiter_shares.h"

enum { STEPS = 50 }; /* of the bisection: a fraction of 2^-50 of the highest level is left */

double arbiter_price(const struct arbiter_work *w, double pages, double idle_price)
{
	return pages <= w->hot ? pages : w->hot + idle_price * (pages - w->hot);
}

double arbiter_bought(const struct arbiter_work *w, double price, double idle_price)
{
	return price <= w->hot ? price : w->hot + (price - w->hot) / idle_price;
}

static double want_of(const struct arbiter_work *w)
{
	return arbiter_clamp(w->want, w->least, w->most);
}

static double taxed(const struct arbiter_work *w, double level, double idle_price)
{
	return w->fixed ? w->least : arbiter_clamp(arbiter_bought(w, w->shares * level, idle_price), w->least, want_of(w));
}

static double untaxed(const struct arbiter_work *w, double level)
{
	return w->fixed ? w->least : arbiter_clamp(want_of(w) + w->shares * level, w->least, w->most);
}

/* idle_price 0: the rest is shared out, untaxed. */
static double sum_at(const struct arbiter_work work[], size_t nr, double level, double idle_price)
{
	double sum = 0;
	for (size_t i = 0; i < nr; i++)
		sum += idle_price > 0 ? taxed(&work[i], level, idle_price) : untaxed(&work[i], level);
	return sum;
}

/* The highest level that supply suffices for. */
static double find_level(const struct arbiter_work work[], size_t nr, double supply, double idle_price)
{
	double low = 0, high = 0;
	for (size_t i = 0; i < nr; i++) {
		const struct arbiter_work *w = &work[i];
		double most = idle_price > 0 ? arbiter_price(w, want_of(w), idle_price) : w->most;
		if (!w->fixed && w->shares > 0)
			high = arbiter_max(high, most / w->shares);
	}
	if (sum_at(work, nr, high, idle_price) <= supply)
		return high;
	for (unsigned step = 0; step < STEPS; step++) {
		double middle = (low + high) / 2;
		if (sum_at(work, nr, middle, idle_price) <= supply)
			low = middle;
		else
			high = middle;
	}
	return low;
}

double arbiter_divide(struct arbiter_work work[], size_t nr, double supply, unsigned idle_tax_percent, double *level)
{
	double idle_price = 100.0 / (100 - idle_tax_percent), wanted = 0, sum = 0;
	for (size_t i = 0; i < nr; i++)
		wanted += work[i].fixed ? work[i].least : want_of(&work[i]);
	bool plenty = wanted <= supply;
	double found = find_level(work, nr, supply, plenty ? 0 : idle_price);
	for (size_t i = 0; i < nr; i++) {
		work[i].goal = plenty ? untaxed(&work[i], found) : taxed(&work[i], found, idle_price);
		sum += work[i].goal;
	}
	*level = plenty ? 0 : found;
	return sum;
}
