/* A histogram whose steps grow with the value. */
#include "latency.h"
#include "bytes.h"

void latency_reset(struct latency *l)
{
	memset(l, 0, sizeof(*l));
}

/* Values below 128 have a step each; the steps above are 1/128 of a power of two. */
static unsigned step_of(uint64_t cycles)
{
	unsigned power = cycles < LATENCY_STEPS ? 0 : 63 - 7 - (unsigned)__builtin_clzll(cycles) + 1, step;

	step = power ? power * LATENCY_STEPS + (unsigned)(cycles >> (power - 1)) - LATENCY_STEPS : (unsigned)cycles;
	return step < LATENCY_POWERS * LATENCY_STEPS ? step : LATENCY_POWERS * LATENCY_STEPS - 1;
}

static uint64_t value_of(unsigned step)
{
	unsigned power = step / LATENCY_STEPS;

	return power ? (uint64_t)(step % LATENCY_STEPS + LATENCY_STEPS) << (power - 1) : step;
}

void latency_add(struct latency *l, uint64_t cycles)
{
	l->nr++;
	l->total += cycles;
	l->most = cycles > l->most ? cycles : l->most;
	l->counts[step_of(cycles)]++;
}

uint64_t latency_quantile(const struct latency *l, uint64_t of_million)
{
	uint64_t below = 0;
	unsigned step;

	for (step = 0; step < LATENCY_POWERS * LATENCY_STEPS; step++) {
		below += l->counts[step];
		if (l->nr && below >= l->nr * of_million / 1000000)
			return value_of(step);
	}
	return l->most;
}
