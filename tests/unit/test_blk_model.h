/*
 * Seeded random requests, compared with a plain array of bytes. Many are under way at once; two that touch the same bytes never are,
 * because then the disk may do them in any order.
 */
#ifndef TEST_BLK_MODEL_H
#define TEST_BLK_MODEL_H

#include "tests/unit/test_blk_driver.h"

#define MODEL_SLOT_BYTES 32768u /* data of one request */
#define MODEL_IN_FLIGHT 32u

struct model_op {
	bool active;
	uint32_t type;
	uint64_t offset, length;
	unsigned queue, slot;
};

struct model {
	struct guest *guest;
	uint8_t *bytes;
	uint64_t size;
	unsigned block;    /* sizes and offsets are multiples */
	unsigned misalign; /* at most this far off do buffers begin */
	bool zeroes, discard;
	unsigned seed;
	struct model_op ops[MODEL_IN_FLIGHT];
};

static inline unsigned model_random(struct model *m)
{
	m->seed = m->seed * 1664525u + 1013904223u;
	return m->seed >> 8;
}

/* PAGODA_SEED, or one of the clock; said in each failure. */
static inline unsigned model_seed(void)
{
	const char *env = getenv("PAGODA_SEED");
	return env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);
}

static inline uint64_t model_gpa(unsigned index)
{
	return GUEST_DATA_GPA + index * 2ull * MODEL_SLOT_BYTES;
}

/* Cuts a request's bytes into buffers of odd sizes. */
static inline unsigned model_scatter(struct model *m, unsigned index, uint64_t length, struct guest_buf *bufs)
{
	uint64_t gpa = model_gpa(index) + (m->misalign ? model_random(m) % m->misalign : 0);
	bool whole = model_random(m) % 2;
	unsigned nr = 0;
	while (length) {
		uint64_t part = length;
		if (!whole && nr < 20) {
			part = m->misalign ? 1 + model_random(m) % length : (1 + model_random(m) % (length / m->block)) * m->block;
		}
		bufs[nr++] = (struct guest_buf){gpa, (uint32_t)part};
		gpa += part;
		length -= part;
	}
	return nr;
}

static inline void model_start(struct model *m, unsigned index)
{
	struct guest *g = m->guest;
	struct model_op *op = &m->ops[index];
	unsigned choice = model_random(m) % 100;
	op->length = (1 + model_random(m) % (MODEL_SLOT_BYTES / m->block / (choice % 2 ? 8 : 1))) * m->block;
	op->offset = model_random(m) % ((m->size - op->length) / m->block + 1) * m->block;
	if (choice < 45)
		op->type = VIRTIO_BLK_T_OUT;
	else if (choice < 90)
		op->type = VIRTIO_BLK_T_IN;
	else if (choice < 94 && m->zeroes)
		op->type = VIRTIO_BLK_T_WRITE_ZEROES;
	else if (choice < 97 && m->discard)
		op->type = VIRTIO_BLK_T_DISCARD;
	else
		op->type = VIRTIO_BLK_T_FLUSH;
	for (unsigned i = 0; i < MODEL_IN_FLIGHT; i++) {
		const struct model_op *other = &m->ops[i];
		if (other->active && op->offset < other->offset + other->length && other->offset < op->offset + op->length)
			return; /* not now */
	}

	struct guest_buf bufs[32];
	unsigned nr = 0;
	if (op->type == VIRTIO_BLK_T_OUT) {
		nr = model_scatter(m, index, op->length, bufs);
		uint8_t *data = g->bytes + bufs[0].gpa;
		for (uint64_t i = 0; i < op->length; i += 4) {
			unsigned word = model_random(m);
			memcpy(data + i, &word, 4);
		}
		memcpy(m->bytes + op->offset, data, op->length);
	} else if (op->type == VIRTIO_BLK_T_IN) {
		nr = model_scatter(m, index, op->length, bufs);
		memset(g->bytes + bufs[0].gpa, 0xdd, op->length);
	} else if (op->type != VIRTIO_BLK_T_FLUSH) {
		struct virtio_blk_discard_write_zeroes segment = {
			.sector = op->offset / 512,
			.num_sectors = (uint32_t)(op->length / 512),
			.flags = op->type == VIRTIO_BLK_T_WRITE_ZEROES ? choice % 2 : 0,
		};
		memcpy(g->bytes + model_gpa(index), &segment, sizeof(segment));
		memset(m->bytes + op->offset, 0, op->length);
		bufs[nr++] = (struct guest_buf){model_gpa(index), sizeof(segment)};
	}
	op->queue = model_random(m) % g->nr_queues;
	op->slot = guest_add(g, op->queue, op->type, op->type <= VIRTIO_BLK_T_OUT ? op->offset / 512 : 0, bufs, nr);
	op->active = true;
	/* Where its data begins is in the table that guest_add() wrote. */
	if (model_random(m) % 4)
		guest_kick(g, op->queue);
}

static inline void model_finish(struct model *m, unsigned queue, unsigned slot)
{
	struct guest *g = m->guest;
	unsigned index = 0;
	while (!m->ops[index].active || m->ops[index].queue != queue || m->ops[index].slot != slot)
		ck_assert(++index < MODEL_IN_FLIGHT);
	struct model_op *op = &m->ops[index];
	uint8_t status = *guest_status(g, queue, slot);
	ck_assert_msg(status == VIRTIO_BLK_S_OK, "status %u of type %u at %llu+%llu", status, op->type,
		      (unsigned long long)op->offset, (unsigned long long)op->length);
	if (op->type == VIRTIO_BLK_T_IN) {
		const struct vring_desc *table = (void *)(g->bytes + GUEST_SLOT_GPA(queue, slot) + 64);
		ck_assert_msg(memcmp(g->bytes + table[1].addr, m->bytes + op->offset, op->length) == 0,
			      "read of %llu bytes at %llu brought others than were written", (unsigned long long)op->length,
			      (unsigned long long)op->offset);
	}
	op->active = false;
}

/* Waits for one request if any is under way. */
static inline bool model_wait(struct model *m)
{
	struct guest *g = m->guest;
	bool any = false;
	for (unsigned queue = 0; queue < g->nr_queues; queue++) {
		if (g->queues[queue].nr_busy) {
			guest_kick(g, queue);
			any = true;
		}
	}
	while (any) {
		for (unsigned queue = 0; queue < g->nr_queues; queue++) {
			unsigned slot;
			if (guest_take_used(g, queue, &slot, NULL)) {
				model_finish(m, queue, slot);
				return true;
			}
		}
		guest_sleep(g);
	}
	return false;
}

/* Runs nr requests and leaves none under way. m->bytes is what the disk must hold then. */
static inline void model_run(struct model *m, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		unsigned index = model_random(m) % MODEL_IN_FLIGHT;
		while (m->ops[index].active)
			model_wait(m);
		model_start(m, index);
		if (i % 200 == 199) {
			/* Pausing the machine may come at any time. */
			virtio_device_pause(m->guest->dev);
			virtio_device_resume(m->guest->dev);
		}
	}
	while (model_wait(m))
		;
}

#endif
