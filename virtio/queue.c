/*
 * See queue.h. How one side of a split ring stays sane when the other may lie.
 *
 * The rings are plain memory that the guest's processors write while we read. So every word is fetched exactly once into a local
 * (never re-read after its check), indices are free-running 16-bit counters that are compared by subtraction, and the only
 * pointers that are ever used come from guest_ram_at().
 *
 * Invariants:
 *  1. While enabled, desc, avail and used point to size whole entries (and both event words) inside guest RAM.
 *  2. (uint16_t)(avail_seen - last_avail) <= size: what we believe to be waiting was announced by the guest and fits its ring.
 *  3. A chain walk visits at most size descriptors of the table, and at most as many of an indirect table as it holds.
 *  4. Each iovec handed out lies inside one region of guest RAM and is not empty.
 *
 * Barriers. The guest's driver holds the other half of each:
 *  A. load-acquire of avail->idx       pairs with the driver's release between filling descriptors and raising avail->idx.
 *  B. store-release of used->idx       pairs with the driver's acquire between reading used->idx and the used elements.
 *  C. fence in virtq_should_interrupt  pairs with the driver's fence between writing used_event (or avail->flags) and looking at
 *                                      used->idx again: one of the two sees the other's write, so no interrupt is lost.
 *  D. fence in virtq_notify_on         pairs with the driver's fence between raising avail->idx and reading avail_event (or
 *                                      used->flags): either the driver notifies, or we see its request.
 */
#include "virtio/queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* The layout of virtio 1.2, 2.7.5, 2.7.6 and 2.7.8. All little-endian, as we are. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct virtq_avail {
	uint16_t flags;
	uint16_t idx;
	uint16_t ring[]; /* size entries, then used_event */
};

struct virtq_used_elem {
	uint32_t id;
	uint32_t len;
};

struct virtq_used {
	uint16_t flags;
	uint16_t idx;
	struct virtq_used_elem ring[]; /* size entries, then avail_event */
};

/* A chain's length in bytes must fit the 32-bit length of a used element. */
#define CHAIN_LEN_MAX ((size_t)UINT32_MAX)

static uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store16(uint16_t *p, uint16_t value)
{
	__atomic_store_n(p, value, __ATOMIC_RELAXED);
}

static uint16_t *used_event(const struct virtq *q)
{
	return &q->avail->ring[q->size];
}

static uint16_t *avail_event(const struct virtq *q)
{
	return (uint16_t *)(void *)&q->used->ring[q->size];
}

/* The one fetch of a descriptor. An indirect table has no alignment; the empty asm keeps the compiler from fetching twice. */
static struct virtq_desc fetch_desc(const uint8_t *table, uint32_t index)
{
	uint64_t half[2];
	memcpy(half, table + (size_t)index * sizeof(struct virtq_desc), sizeof(half));
	__asm__ volatile("" : "+r"(half[0]), "+r"(half[1]));
	return (struct virtq_desc){
		.addr = half[0],
		.len = (uint32_t)half[1],
		.flags = (uint16_t)(half[1] >> 32),
		.next = (uint16_t)(half[1] >> 48),
	};
}

int virtq_enable(struct virtq *q, const struct guest_ram *ram, bool event_idx)
{
	uint64_t size = q->size;
	if (size == 0 || size > q->size_max || size > VIRTQ_MAX_SIZE || (size & (size - 1)))
		return -EPROTO;
	if (q->desc_gpa % VRING_DESC_ALIGN_SIZE || q->avail_gpa % VRING_AVAIL_ALIGN_SIZE || q->used_gpa % VRING_USED_ALIGN_SIZE)
		return -EPROTO;
	/* Invariant 1. The event words are part of the rings whether negotiated or not (virtio 1.2, 2.7). */
	void *desc = guest_ram_at(ram, q->desc_gpa, size * sizeof(struct virtq_desc));
	void *avail = guest_ram_at(ram, q->avail_gpa, sizeof(struct virtq_avail) + (size + 1) * sizeof(uint16_t));
	void *used = guest_ram_at(ram, q->used_gpa,
				  sizeof(struct virtq_used) + size * sizeof(struct virtq_used_elem) + sizeof(uint16_t));
	if (!desc || !avail || !used)
		return -EPROTO;
	q->ram = ram;
	q->desc = desc;
	q->avail = avail;
	q->used = used;
	q->event_idx = event_idx;
	q->avail_seen = q->last_avail;
	q->signalled_valid = false;
	q->enabled = true;
	return 0;
}

void virtq_reset(struct virtq *q)
{
	uint16_t size_max = q->size_max;
	*q = (struct virtq){.size_max = size_max, .size = size_max};
}

/* Reads the guest's avail index again. Keeps invariant 2. */
static int look_for_more(struct virtq *q)
{
	uint16_t idx = __atomic_load_n(&q->avail->idx, __ATOMIC_ACQUIRE); /* barrier A */
	uint16_t waiting = (uint16_t)(idx - q->last_avail);
	if (waiting > q->size)
		return -EPROTO;
	q->avail_seen = idx;
	return waiting != 0;
}

int virtq_pending(struct virtq *q)
{
	if (!q->enabled)
		return 0;
	if (q->avail_seen != q->last_avail)
		return 1;
	return look_for_more(q);
}

/* A chain as it is collected. */
struct walk {
	const struct guest_ram *ram;
	struct iovec *iov;
	unsigned max, nr;
	unsigned nr_out;
	size_t out_len, in_len;
};

/* A buffer that crosses from one region into the next becomes two iovecs: returns how many of len bytes lie in gpa's region. */
static uint64_t len_in_region(const struct guest_ram *ram, uint64_t gpa, uint64_t len)
{
	size_t nr;
	const struct guest_ram_region *regions = guest_ram_regions(ram, &nr);
	for (size_t i = 0; i < nr; i++) {
		if (gpa >= regions[i].gpa && gpa - regions[i].gpa < regions[i].size) {
			uint64_t room = regions[i].size - (gpa - regions[i].gpa);
			return len < room ? len : room;
		}
	}
	return 0;
}

static int add_buffer(struct walk *w, const struct virtq_desc *d)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	size_t *sum = in ? &w->in_len : &w->out_len;
	/* Empty buffers have no meaning to any device; refusing them makes every iovec real (invariant 4). */
	if (d->len == 0 || d->len > CHAIN_LEN_MAX - *sum)
		return -EPROTO;
	if (!in && w->in_len)
		return -EPROTO; /* readable after writable */
	*sum += d->len;

	uint64_t gpa = d->addr;
	uint64_t left = d->len;
	while (left) {
		uint64_t part = left;
		void *hva = guest_ram_at(w->ram, gpa, part);
		if (!hva) {
			part = len_in_region(w->ram, gpa, left);
			hva = guest_ram_at(w->ram, gpa, part);
			if (!hva)
				return -EPROTO;
		}
		if (w->nr == w->max)
			return -EPROTO;
		w->iov[w->nr++] = (struct iovec){.iov_base = hva, .iov_len = part};
		w->nr_out += !in;
		gpa += part; /* cannot wrap: the part lies inside a region */
		left -= part;
	}
	return 0;
}

static int walk_indirect(struct walk *w, const struct virtq_desc *ref)
{
	/* The table may not go on in the direct ring, and its own WRITE flag says nothing (virtio 1.2, 2.7.5.3). */
	if ((ref->flags & VRING_DESC_F_NEXT) || ref->len == 0 || ref->len % sizeof(struct virtq_desc))
		return -EPROTO;
	const uint8_t *table = guest_ram_at(w->ram, ref->addr, ref->len);
	if (!table)
		return -EPROTO;
	uint32_t nr = ref->len / (uint32_t)sizeof(struct virtq_desc);
	uint32_t index = 0;
	for (uint32_t visited = 0; visited < nr; visited++) { /* invariant 3 */
		struct virtq_desc d = fetch_desc(table, index);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return -EPROTO;
		int ret = add_buffer(w, &d);
		if (ret || !(d.flags & VRING_DESC_F_NEXT))
			return ret;
		index = d.next;
		if (index >= nr)
			return -EPROTO;
	}
	return -EPROTO; /* a loop */
}

static int walk_chain(const struct virtq *q, struct walk *w, uint16_t head)
{
	uint32_t index = head;
	for (uint32_t visited = 0; visited < q->size; visited++) { /* invariant 3 */
		if (index >= q->size)
			return -EPROTO;
		struct virtq_desc d = fetch_desc((const uint8_t *)q->desc, index);
		if (d.flags & VRING_DESC_F_INDIRECT)
			return walk_indirect(w, &d);
		int ret = add_buffer(w, &d);
		if (ret || !(d.flags & VRING_DESC_F_NEXT))
			return ret;
		index = d.next;
	}
	return -EPROTO; /* a loop */
}

int virtq_pop(struct virtq *q, struct iovec *iov, uint16_t max, struct virtq_chain *chain)
{
	int ret = virtq_pending(q);
	if (ret <= 0)
		return ret;
	uint16_t head = load16(&q->avail->ring[q->last_avail & (q->size - 1)]);
	struct walk w = {.ram = q->ram, .iov = iov, .max = max};
	ret = walk_chain(q, &w, head);
	if (ret)
		return ret;
	*chain = (struct virtq_chain){
		.head = head,
		.nr_out = (uint16_t)w.nr_out,
		.nr_in = (uint16_t)(w.nr - w.nr_out),
		.out = iov,
		.in = iov + w.nr_out,
		.out_len = w.out_len,
		.in_len = w.in_len,
	};
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	q->last_avail--;
}

void virtq_fill(struct virtq *q, uint16_t head, uint32_t written, uint16_t offset)
{
	if (!q->enabled)
		return;
	struct virtq_used_elem *elem = &q->used->ring[(uint16_t)(q->used_idx + offset) & (q->size - 1)];
	__atomic_store_n(&elem->id, head, __ATOMIC_RELAXED);
	__atomic_store_n(&elem->len, written, __ATOMIC_RELAXED);
}

void virtq_flush(struct virtq *q, uint16_t n)
{
	if (!q->enabled)
		return;
	q->used_idx = (uint16_t)(q->used_idx + n);
	__atomic_store_n(&q->used->idx, q->used_idx, __ATOMIC_RELEASE); /* barrier B */
	/* A full turn of the counter since the last decision makes its distance meaningless. */
	if ((uint16_t)(q->used_idx - q->signalled) < n)
		q->signalled_valid = false;
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t written)
{
	virtq_fill(q, head, written, 0);
	virtq_flush(q, 1);
}

bool virtq_should_interrupt(struct virtq *q)
{
	if (!q->enabled)
		return false;
	atomic_thread_fence(memory_order_seq_cst); /* barrier C */
	uint16_t now = q->used_idx;
	uint16_t before = q->signalled;
	bool valid = q->signalled_valid;
	q->signalled = now;
	q->signalled_valid = true;
	if (valid && now == before)
		return false;
	if (!q->event_idx)
		return !(load16(&q->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
	/* The guest asked for an interrupt once used->idx passes its event: is the event among those pushed since? */
	return !valid || (uint16_t)(now - load16(used_event(q)) - 1) < (uint16_t)(now - before);
}

void virtq_notify_off(struct virtq *q)
{
	/* With event indices an avail_event that stays behind is enough. */
	if (q->enabled && !q->event_idx)
		store16(&q->used->flags, VRING_USED_F_NO_NOTIFY);
}

bool virtq_notify_on(struct virtq *q)
{
	if (!q->enabled)
		return false;
	if (q->event_idx)
		store16(avail_event(q), q->last_avail);
	else
		store16(&q->used->flags, 0);
	atomic_thread_fence(memory_order_seq_cst); /* barrier D */
	return virtq_pending(q) != 0;              /* a broken ring too: the next pop says so */
}

/* --- buffers --- */

enum direction { FROM_IOV, TO_IOV };

static size_t copy_iov(const struct iovec *iov, size_t nr, size_t offset, uint8_t *buf, size_t len, enum direction direction)
{
	size_t done = 0;
	for (size_t i = 0; i < nr && done < len; i++) {
		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		size_t part = iov[i].iov_len - offset;
		if (part > len - done)
			part = len - done;
		uint8_t *at = (uint8_t *)iov[i].iov_base + offset;
		if (direction == FROM_IOV)
			memcpy(buf + done, at, part);
		else
			memcpy(at, buf + done, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t iov_read(const struct iovec *iov, size_t nr, size_t offset, void *buf, size_t len)
{
	return copy_iov(iov, nr, offset, buf, len, FROM_IOV);
}

size_t iov_write(const struct iovec *iov, size_t nr, size_t offset, const void *buf, size_t len)
{
	return copy_iov(iov, nr, offset, (uint8_t *)(uintptr_t)buf, len, TO_IOV);
}

/* --- saved state --- */

/* Calls for each field would spell "queue3.avail" by hand; this does it once. Names are short: the buffer always holds them. */
struct field_name {
	char text[32];
};

static struct field_name field(unsigned index, const char *what)
{
	struct field_name name;
	snprintf(name.text, sizeof(name.text), "queue%u.%s", index % 1000, what);
	return name;
}

void virtq_save(const struct virtq *q, unsigned index, struct state_writer *w)
{
	state_put(w, field(index, "size").text, q->size);
	state_put(w, field(index, "enabled").text, q->enabled);
	state_put(w, field(index, "desc").text, q->desc_gpa);
	state_put(w, field(index, "avail").text, q->avail_gpa);
	state_put(w, field(index, "used").text, q->used_gpa);
	state_put(w, field(index, "last_avail").text, q->last_avail);
	state_put(w, field(index, "used_idx").text, q->used_idx);
}

void virtq_load(struct virtq *q, unsigned index, struct state_reader *r)
{
	virtq_reset(q);
	q->size = (uint16_t)state_get(r, field(index, "size").text, 0, UINT16_MAX);
	bool enabled = state_get(r, field(index, "enabled").text, 0, 1);
	q->desc_gpa = state_get(r, field(index, "desc").text, 0, UINT64_MAX);
	q->avail_gpa = state_get(r, field(index, "avail").text, 0, UINT64_MAX);
	q->used_gpa = state_get(r, field(index, "used").text, 0, UINT64_MAX);
	q->last_avail = (uint16_t)state_get(r, field(index, "last_avail").text, 0, UINT16_MAX);
	q->used_idx = (uint16_t)state_get(r, field(index, "used_idx").text, 0, UINT16_MAX);
	q->enabled = enabled; /* a wish, until virtq_enable() has checked it */
	if (enabled && (uint16_t)(q->last_avail - q->used_idx) > q->size)
		state_reject(r, "more requests are in flight than the queue holds");
}
