/* See stats.h. */
#include "balloon/stats.h"

#include <endian.h>
#include <string.h>

#define ENTRY_BYTES 10u

enum kind { MEMORY, COUNT };

const struct balloon_stat_field balloon_stat_fields[BALLOON_NR_STATS] = {
#define FIELD(tag, field_name, kind, sentence) {.name = field_name, .text = sentence, .is_memory = (kind) == MEMORY},
	BALLOON_STATS(FIELD)
#undef FIELD
};

void balloon_stats_parse(const uint8_t *bytes, size_t len, struct balloon_stats *stats)
{
	*stats = (struct balloon_stats){.present = 0};
	for (; len >= ENTRY_BYTES; bytes += ENTRY_BYTES, len -= ENTRY_BYTES) {
		uint16_t tag;
		uint64_t value;
		memcpy(&tag, bytes, sizeof(tag));
		memcpy(&value, bytes + sizeof(tag), sizeof(value));
		tag = le16toh(tag);
		if (tag >= BALLOON_NR_STATS)
			continue;
		stats->present |= 1u << tag;
		stats->values[tag] = le64toh(value);
	}
}
