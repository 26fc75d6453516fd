/*
 * Rejection-inversion (Hörmann and Derflinger: "Rejection-inversion to generate variates from monotone discrete distributions", 1996): no
 * table, constant time. H is the integral of x^-s; its inverse turns a uniform number into a rank, and a comparison keeps or rejects it.
 *
 * Logarithm and exponential come from the x87 unit, which ring 3 has everywhere and which needs no library.
 */
#include "zipf.h"

static double log2_of(double x)
{
	long double y;

	__asm__("fyl2x" : "=t"(y) : "0"((long double)x), "u"(1.0L) : "st(1)");
	return (double)y;
}

static double exp2_of(double x)
{
	long double whole, y;

	__asm__("frndint" : "=t"(whole) : "0"((long double)x));
	__asm__("f2xm1" : "=t"(y) : "0"((long double)x - whole));
	y += 1.0L;
	__asm__("fscale" : "=t"(y) : "0"(y), "u"(whole));
	return (double)y;
}

static double power(double x, double y)
{
	return exp2_of(y * log2_of(x));
}

/* (x^(1-s) - 1) / (1-s), or the logarithm where s is 1. */
static double integral(double x, double s)
{
	double t = 1 - s;

	if (t > -1e-6 && t < 1e-6)
		return log2_of(x) * 0.6931471805599453;
	return (power(x, t) - 1) / t;
}

static double integral_inverse(double y, double s)
{
	double t = 1 - s, base;

	if (t > -1e-6 && t < 1e-6)
		return exp2_of(y * 1.4426950408889634);
	base = 1 + y * t;
	return base <= 0 ? 1 : power(base, 1 / t);
}

void zipf_init(struct zipf *zipf, uint64_t n, double s)
{
	zipf->n = n;
	zipf->s = s;
	zipf->h_first = integral(1.5, s) - 1;
	zipf->h_last = integral((double)n + 0.5, s);
	zipf->shortcut = 2 - integral_inverse(integral(2.5, s) - power(2, -s), s);
}

uint64_t zipf_next(const struct zipf *zipf, struct prng *prng)
{
	double u, x, k;

	for (;;) {
		u = zipf->h_last + prng_real(prng) * (zipf->h_first - zipf->h_last);
		x = integral_inverse(u, zipf->s);
		k = (double)(uint64_t)(x + 0.5);
		if (k < 1)
			k = 1;
		else if (k > (double)zipf->n)
			k = (double)zipf->n;
		if (k - x <= zipf->shortcut || u >= integral(k + 0.5, zipf->s) - power(k, -zipf->s))
			return (uint64_t)k - 1;
	}
}
