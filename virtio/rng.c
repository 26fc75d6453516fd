/*
 * See rng.h. One queue, served by one worker. A request gets what the source and the rate limit have at once, at least a byte and at
 * most CHUNK: a driver that wants more asks again, as the standard lets us (virtio 1.2, 5.4.6).
 */
#include "virtio/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/container_of.h"
#include "virtio/worker.h"

#define QUEUE_SIZE 8
#define MAX_BUFFERS 64
#define CHUNK 1024
/* Requests in one go, before the loop looks at other events: a guest cannot keep us from stopping. */
#define BATCH 64

struct rng {
	struct virtio_device dev;
	struct worker worker;
	ev_io kick;
	ev_io source_ready; /* the file had nothing to give */
	ev_timer refill;    /* the period's bytes are used up */
	int fd;             /* -1: getrandom */
	uint64_t max_bytes;
	double period;       /* seconds */
	uint64_t bytes_left; /* of this period; worker's */
};

static struct rng *from_device(struct virtio_device *dev)
{
	return (struct rng *)dev; /* the first member */
}

/* Bytes into buf: 1 to len, 0 when there are none yet, or -errno. */
static ssize_t read_source(const struct rng *rng, uint8_t *buf, size_t len)
{
	ssize_t got;
	do {
		got = rng->fd < 0 ? getrandom(buf, len, 0) : read(rng->fd, buf, len);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	return got ? got : -ENODATA;
}

static size_t allowance(struct rng *rng)
{
	if (!rng->max_bytes)
		return CHUNK;
	if (rng->bytes_left == 0 && !ev_is_active(&rng->refill)) {
		ev_timer_set(&rng->refill, rng->period, 0);
		ev_timer_start(rng->worker.loop, &rng->refill);
	}
	return rng->bytes_left < CHUNK ? (size_t)rng->bytes_left : CHUNK;
}

/* Serves one request. Returns 1, 0 when there is none or it has to wait, or -errno after failing the device. */
static int serve_one(struct rng *rng)
{
	struct virtio_device *dev = &rng->dev;
	struct virtq *q = &dev->queues[0];
	int ret = virtq_pending(q);
	size_t most = CHUNK;
	if (ret > 0) {
		most = allowance(rng);
		if (most == 0)
			return 0;
	}
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain;
	if (ret > 0)
		ret = virtq_pop(q, iov, MAX_BUFFERS, &chain);
	if (ret < 0)
		virtio_device_fail(dev, "the request queue is broken");
	if (ret <= 0)
		return ret;
	if (chain.in_len == 0) {
		virtio_device_fail(dev, "a request has no room for random bytes");
		return -EPROTO;
	}

	uint8_t buf[CHUNK];
	ssize_t got = read_source(rng, buf, chain.in_len < most ? chain.in_len : most);
	if (got < 0) {
		virtio_device_fail(dev, "the source of random bytes: %s", got == -ENODATA ? "it has ended" : strerror((int)-got));
		return (int)got;
	}
	if (got == 0) {
		virtq_unpop(q);
		ev_io_start(rng->worker.loop, &rng->source_ready);
		return 0;
	}
	iov_write(chain.in, chain.nr_in, 0, buf, (size_t)got);
	explicit_bzero(buf, (size_t)got); /* the guest's keys may come of them */
	if (rng->max_bytes)
		rng->bytes_left -= (uint64_t)got;
	virtq_push(q, chain.head, (uint32_t)got);
	return 1;
}

static void serve(struct rng *rng)
{
	struct virtq *q = &rng->dev.queues[0];
	if (virtio_device_failed(&rng->dev))
		return;
	int ret = 0;
	unsigned served = 0;
	virtq_notify_off(q);
	while (served < BATCH && (ret = serve_one(rng)) > 0)
		served++;
	if (served)
		virtio_device_notify_guest(&rng->dev, 0);
	if (ret < 0)
		return;
	/* What has to wait is taken up by refill or source_ready; all else by the next kick, which is ours when the batch was full. */
	bool waits = ev_is_active(&rng->refill) || ev_is_active(&rng->source_ready);
	if (virtq_notify_on(q) && !waits)
		virtio_device_kick(&rng->dev, 0);
}

/* libev's watchers know their place: each callback finds its device from its own member. */
static void on_kick(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)loop;
	(void)revents;
	uint64_t kicks;
	ssize_t ignored = read(watcher->fd, &kicks, sizeof(kicks));
	(void)ignored;
	serve(container_of(watcher, struct rng, kick));
}

static void on_source_ready(struct ev_loop *loop, ev_io *watcher, int revents)
{
	(void)revents;
	ev_io_stop(loop, watcher);
	serve(container_of(watcher, struct rng, source_ready));
}

static void on_refill(struct ev_loop *loop, ev_timer *watcher, int revents)
{
	(void)loop;
	(void)revents;
	struct rng *rng = container_of(watcher, struct rng, refill);
	rng->bytes_left = rng->max_bytes;
	serve(rng);
}

static int rng_start(struct virtio_device *dev)
{
	struct rng *rng = from_device(dev);
	ev_io_start(rng->worker.loop, &rng->kick);
	int ret = worker_start(&rng->worker, "virtio-rng");
	if (ret)
		ev_io_stop(rng->worker.loop, &rng->kick);
	return ret;
}

static void rng_stop(struct virtio_device *dev)
{
	struct rng *rng = from_device(dev);
	worker_stop(&rng->worker);
	ev_io_stop(rng->worker.loop, &rng->kick);
	/* A request that waits is still in its ring, and the kick that each start brings finds it. */
	ev_io_stop(rng->worker.loop, &rng->source_ready);
	ev_timer_stop(rng->worker.loop, &rng->refill);
}

static void rng_destroy(struct virtio_device *dev)
{
	struct rng *rng = from_device(dev);
	worker_fini(&rng->worker);
	if (rng->fd >= 0)
		close(rng->fd);
	virtio_device_fini(dev);
	free(rng);
}

static const struct virtio_device_ops rng_ops = {
	.start = rng_start,
	.stop = rng_stop,
	.destroy = rng_destroy,
};

int virtio_rng_create(const struct virtio_rng_params *params, const struct guest_ram *ram, struct virtio_device **dev,
		      struct error *err)
{
	if (params->max_bytes && !params->period_ms)
		return error_set(err, EINVAL, "%s: max-bytes needs a period in milliseconds", params->name);
	struct rng *rng = calloc(1, sizeof(*rng));
	if (!rng)
		return error_set(err, ENOMEM, "%s: out of memory", params->name);
	rng->fd = -1;
	rng->max_bytes = params->max_bytes;
	rng->bytes_left = params->max_bytes;
	rng->period = params->period_ms / 1000.0;
	int ret;
	if (params->filename) {
		rng->fd = open(params->filename, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		if (rng->fd < 0) {
			ret = error_set(err, errno, "%s: cannot open %s for random bytes: %s", params->name, params->filename,
					strerror(errno));
			goto free_rng;
		}
	}
	ret = virtio_device_init(&rng->dev, &rng_ops, VIRTIO_ID_ENTROPY_DEVICE, params->name, ram, 0, 1, QUEUE_SIZE, 0, err);
	if (ret)
		goto close_fd;
	ret = worker_init(&rng->worker);
	if (ret) {
		error_set(err, -ret, "%s: cannot make an event loop: %s", params->name, strerror(-ret));
		goto fini_device;
	}
	ev_io_init(&rng->kick, on_kick, rng->dev.kick_fds[0], EV_READ);
	ev_io_init(&rng->source_ready, on_source_ready, rng->fd, EV_READ);
	ev_timer_init(&rng->refill, on_refill, 0, 0);
	*dev = &rng->dev;
	return 0;

fini_device:
	virtio_device_fini(&rng->dev);
close_fd:
	if (rng->fd >= 0)
		close(rng->fd);
free_rng:
	free(rng);
	return ret;
}
