/* Generators of page content: zero, text, binary, random. */
#include "pattern.h"
#include "prng.h"

const struct pattern_mix pattern_even_mix = {{25, 25, 25, 25}};

/* Each word fills 8 bytes, so that it is copied by one store; the first byte of the next one overwrites the padding. */
static const char words[64][9] = {
	"the     ", "page    ", "of      ", "guest   ", "and     ", "memory  ", "is      ", "a       ", "to      ", "in      ",
	"error   ", "warning ", "info    ", "request ", "return  ", "status  ", "static  ", "const   ", "struct  ", "int     ",
	"while   ", "queue   ", "device  ", "buffer  ", "length  ", "offset  ", "number  ", "value   ", "name    ", "time    ",
	"user    ", "system  ", "network ", "reply   ", "server  ", "client  ", "file    ", "open    ", "close   ", "read    ",
	"write   ", "start   ", "stop    ", "pagoda  ", "kernel  ", "module  ", "version ", "process ", "thread  ", "signal  ",
	"timer   ", "clock   ", "daemon  ", "config  ", "option  ", "default ", "true    ", "false   ", "none    ", "0x00ff  ",
	"127     ", "2048    ", "== != = ", "// ---- ",
};

static uint64_t hash_of(const struct pattern *pattern, uint64_t gpa)
{
	return prng_mix(prng_mix(pattern->seed + 0x632be59bd9b4e019ull) ^ gpa);
}

enum pattern_kind pattern_kind(const struct pattern *pattern, uint64_t gpa)
{
	uint64_t draw = (hash_of(pattern, gpa) >> 32) % 100;
	unsigned kind, below = 0;

	for (kind = 0; kind < PATTERN_KINDS; kind++) {
		below += pattern->mix.percent[kind];
		if (draw < below)
			return (enum pattern_kind)kind;
	}
	return PATTERN_RANDOM;
}

static void fill_text(struct prng *prng, uint8_t *page)
{
	uint64_t draws = 0;
	uint32_t at = 0, word;
	unsigned left = 0;

	while (at < PATTERN_PAGE - 8) {
		if (!left--) {
			draws = prng_next(prng);
			left = 3;
		}
		/* The lesser of two draws: early words are more frequent, as in language. */
		word = draws & 63;
		if ((draws >> 6 & 63) < word)
			word = draws >> 6 & 63;
		__builtin_memcpy(page + at, words[word], 8);
		while (page[at] != ' ')
			at++;
		at++;
		if (!left && draws >> 12 & 1) {
			/* Every eighth word or so has a number, and ends the line. */
			page[at - 1] = '=';
			for (word = 0; word < 4 && at < PATTERN_PAGE - 8; word++)
				page[at++] = (uint8_t)('0' + (draws >> (13 + 3 * word) & 7));
			page[at++] = '\n';
		}
		draws >>= 12;
	}
	while (at < PATTERN_PAGE)
		page[at++] = '.';
}

static void fill_binary(struct prng *prng, uint8_t *page)
{
	uint64_t *quads = (uint64_t *)page;
	uint64_t base = 0xffff888000000000ull | (prng_next(prng) & 0xffff000000ull), draws;
	unsigned i;

	/* Two pointers, a counter with flags, and a hole, as in a table of objects. */
	for (i = 0; i < PATTERN_PAGE / 8; i += 4) {
		draws = prng_next(prng);
		quads[i] = base | (draws & 0xffffc0);
		quads[i + 1] = draws >> 60 ? base | (draws >> 24 & 0xffffc0) : 0;
		quads[i + 2] = (draws >> 48 & 0xff) | (uint64_t)i << 32;
		quads[i + 3] = 0;
	}
}

void pattern_fill(const struct pattern *pattern, uint64_t gpa, uint64_t generation, void *page)
{
	struct prng prng = {prng_mix(hash_of(pattern, gpa) + generation)};
	uint64_t *quads = page;
	unsigned i;

	switch (pattern_kind(pattern, gpa)) {
	case PATTERN_TEXT:
		fill_text(&prng, page);
		break;
	case PATTERN_BINARY:
		fill_binary(&prng, page);
		break;
	case PATTERN_RANDOM:
		for (i = 0; i < PATTERN_PAGE / 8; i++)
			quads[i] = prng_next(&prng);
		break;
	default:
		for (i = 0; i < PATTERN_PAGE / 8; i++)
			quads[i] = 0;
		break;
	}
}

bool pattern_verify(const struct pattern *pattern, uint64_t gpa, uint64_t generation, const void *page,
		    struct pattern_mismatch *mismatch)
{
	uint64_t expected[PATTERN_PAGE / 8];
	const uint64_t *got = page;
	const uint8_t *expected_bytes, *bytes = page;
	uint64_t difference = 0;
	uint32_t i;

	pattern_fill(pattern, gpa, generation, expected);
	expected_bytes = (const uint8_t *)expected;
	for (i = 0; i < PATTERN_PAGE / 8; i++)
		difference |= expected[i] ^ got[i];
	if (!difference)
		return true;
	mismatch->wrong_bytes = 0;
	for (i = PATTERN_PAGE; i-- > 0;) {
		if (expected_bytes[i] == bytes[i])
			continue;
		mismatch->offset = i;
		mismatch->expected = expected_bytes[i];
		mismatch->got = bytes[i];
		mismatch->wrong_bytes++;
	}
	if (!mismatch->wrong_bytes) /* right by now: it was written late, which is wrong enough */
		*mismatch = (struct pattern_mismatch){0};
	return false;
}
