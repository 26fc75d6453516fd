/*
 * Divides memory among guests by their shares, with a tax on idle pages. Pure.
 *
 * A guest pays for its pages: one for a page that is hot, k = 1 / (1 - tax) for one that is idle. Memory is divided so that what guests
 * pay is in proportion to their shares, save for those that have their minimum by right, and those that want no more:
 *
 *   price(P) = P for P <= hot, hot + k (P - hot) above;     price(goal) = shares * level     for one level for all guests
 *
 * That is where taking pages from whoever pays the least for a page ends (C. Waldspurger, Memory Resource Management in VMware ESX Server, OSDI
 * 2002, sections 5.2 and 5.3: shares per page S / (P (f + k (1 - f))), f the fraction that is active). It is found directly instead of page
 * by page: the sum of goals rises with the level, so the level is found by bisection, and the outcome does not depend on the way that led there.
 */
#ifndef HOST_ARBITER_SHARES_H
#define HOST_ARBITER_SHARES_H

#include <stddef.h>

#include "host/arbiter_internal.h"

/* What a guest pays for so many pages, and how many it gets for a price. */
double arbiter_price(const struct arbiter_work *w, double pages, double idle_price);
double arbiter_bought(const struct arbiter_work *w, double price, double idle_price);

/*
 * Sets the goal of each guest: least <= goal <= most. Where all get what they want, the rest is shared out on top of that by
 * shares, untaxed: then *level is 0. The sum of goals is at most supply, unless minimums alone are more. Returns the sum.
 */
double arbiter_divide(struct arbiter_work work[], size_t nr, double supply, unsigned idle_tax_percent, double *level);

#endif
