/*
 * Fuzzes the reader of saved state. The harness puts header and checksum around the input, so that all of it is walked; then it reads
 * sections and fields, by names that the input may well hold, in an order that the input's last bytes choose.
 */
#include <errno.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/state.h"
#include "tests/fuzz/fuzz_input.h"

static const char *const names[] = {"a", "b", "pci", "config", "serial0", "fifo"};

static void read_field(struct state_reader *r, struct fuzz_input *in)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	const char *name = names[what % 6];
	uint8_t buf[16];
	size_t len = 0;
	uint64_t min = what & 8 ? 5 : 0, max = what & 16 ? 100 : UINT64_MAX, value;
	switch (what >> 5) {
	case 0:
	case 1:
		value = state_get(r, name, min, max);
		fuzz_need(value >= min && value <= max);
		break;
	case 2:
		memset(buf, 1, sizeof(buf));
		state_get_bytes(r, name, buf, what % 16);
		break;
	case 3: {
		const uint8_t *blob = state_get_blob(r, name, 8, &len);
		fuzz_need(len <= 8 && (blob || !len));
		for (size_t i = 0; i < len; i++)
			buf[i] = blob[i];
		break;
	}
	case 4:
		state_leave(r, NULL);
		break;
	default:
		state_enter(r, name, 3);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char head[12] = "PAGODAST\1\0\0";
	/* As it is: nearly always refused. */
	struct state_reader *r = NULL;
	struct error err = {0};
	if (state_reader_open(data, size, &r, &err) == 0)
		state_reader_free(r);
	else
		fuzz_need(err.code && err.text[0]);

	struct fuzz_input order = {data + size / 4 * 3, size - size / 4 * 3};
	size_t len = sizeof(head) + size / 4 * 3 + 9;
	uint8_t *stream = malloc(len);
	memcpy(stream, head, sizeof(head));
	if (size / 4 * 3)
		memcpy(stream + sizeof(head), data, size / 4 * 3);
	stream[len - 9] = 'E';
	uint64_t sum = XXH3_64bits(stream, len - 8);
	memcpy(stream + len - 8, &sum, 8);
	if (state_reader_open(stream, len, &r, &err) == 0) {
		while (order.left)
			read_field(r, &order);
		int ret = state_reader_finish(r, &err);
		fuzz_need(ret == 0 || (ret == -EINVAL && err.code == EINVAL));
		state_reader_free(r);
	}
	free(stream);
	return 0;
}
