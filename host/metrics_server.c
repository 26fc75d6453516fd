/*
 * See metrics_server.h. HTTP/1.0 (RFC 1945) as far as a scraper needs it: one request a connection, of which the first line counts, read up to the empty line.
 * Few connections, each with little time: who is slow is hung up on.
 */
#include "host/metrics_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/container_of.h"
#include "base/log.h"
#include "host/host_report.h"
#include "host/inet_door.h"

#define MOST_CONNECTIONS 16
#define MOST_REQUEST 8192
#define SECONDS 10.

struct connection {
	struct metrics_server *server;
	struct connection *next;
	ev_io readable, writable;
	ev_timer patience;
	int fd;
	char request[MOST_REQUEST + 1];
	size_t len;
	char *answer;
	size_t answer_len, sent;
};

struct metrics_server {
	struct ev_loop *loop;
	const struct guests *guests;
	const struct dedup_server *dedup;
	int fd;
	ev_io acceptor;
	struct connection *connections;
	unsigned nr;
};

static void end(struct connection *c)
{
	struct metrics_server *s = c->server;
	for (struct connection **at = &s->connections; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	s->nr--;
	if (s->nr == MOST_CONNECTIONS - 1)
		ev_io_start(s->loop, &s->acceptor);
	ev_io_stop(s->loop, &c->readable);
	ev_io_stop(s->loop, &c->writable);
	ev_timer_stop(s->loop, &c->patience);
	close(c->fd);
	free(c->answer);
	free(c);
}

/* --- answers --- */

static void answer(struct connection *c)
{
	static const char head[] = "HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n%s";
	static const char plain[] = "text/plain; charset=utf-8", prometheus[] = "text/plain; version=0.0.4; charset=utf-8";
	char *body = NULL;
	const char *status = "200 OK", *more = "", *type = plain, *text;
	bool is_head = !strncmp(c->request, "HEAD ", 5);
	const char *path = strchr(c->request, ' ');
	if (!path || (!is_head && strncmp(c->request, "GET ", 4) != 0)) {
		status = path ? "405 Method Not Allowed" : "400 Bad Request";
		more = path ? "Allow: GET, HEAD\r\n" : "";
		text = "only GET /metrics\n";
	} else if (strncmp(path, " /metrics", 9) != 0 || !strchr(" ?\r\n", path[9])) {
		status = "404 Not Found";
		text = "only /metrics\n";
	} else {
		body = host_report_metrics(c->server->guests, c->server->dedup);
		text = body ? body : "out of memory\n";
		status = body ? status : "503 Service Unavailable";
		type = body ? prometheus : plain;
	}
	int len = asprintf(&c->answer, head, status, type, strlen(text), more, is_head ? "" : text);
	free(body);
	if (len < 0) {
		c->answer = NULL;
		end(c);
		return;
	}
	c->answer_len = (size_t)len;
	ev_io_stop(c->server->loop, &c->readable);
	ev_io_start(c->server->loop, &c->writable);
}

static void on_readable(struct ev_loop *loop, ev_io *w, int events)
{
	struct connection *c = container_of(w, struct connection, readable);
	(void)loop, (void)events;
	ssize_t got = recv(c->fd, c->request + c->len, MOST_REQUEST - c->len, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0) {
		end(c);
		return;
	}
	c->len += (size_t)got;
	c->request[c->len] = '\0';
	if (strstr(c->request, "\r\n\r\n") || strstr(c->request, "\n\n"))
		answer(c);
	else if (c->len == MOST_REQUEST)
		end(c);
}

static void on_writable(struct ev_loop *loop, ev_io *w, int events)
{
	struct connection *c = container_of(w, struct connection, writable);
	(void)loop, (void)events;
	ssize_t put = send(c->fd, c->answer + c->sent, c->answer_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (put > 0)
		c->sent += (size_t)put;
	if (c->sent == c->answer_len || (put < 0 && errno != EAGAIN && errno != EINTR))
		end(c);
}

static void on_patience(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop, (void)events;
	end(container_of(w, struct connection, patience));
}

/* --- the door --- */

static void on_acceptable(struct ev_loop *loop, ev_io *w, int events)
{
	struct metrics_server *s = container_of(w, struct metrics_server, acceptor);
	(void)events;
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0)
		return;
	struct connection *c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->server = s;
	c->fd = fd;
	c->next = s->connections;
	s->connections = c;
	/* Others wait in the kernel's queue. */
	if (++s->nr == MOST_CONNECTIONS)
		ev_io_stop(loop, w);
	ev_io_init(&c->readable, on_readable, fd, EV_READ);
	ev_io_init(&c->writable, on_writable, fd, EV_WRITE);
	ev_timer_init(&c->patience, on_patience, SECONDS, 0.);
	ev_io_start(loop, &c->readable);
	ev_timer_start(loop, &c->patience);
}

int metrics_server_create(struct ev_loop *loop, const char *address, const struct guests *guests, const struct dedup_server *dedup,
			  struct metrics_server **server, struct error *err)
{
	struct inet_address where;
	int ret = inet_address_parse("--metrics", "127.0.0.1:9090", address, &where, err);
	if (ret)
		return ret;
	if (!inet_address_is_loopback(&where))
		return error_set(
			err, EINVAL,
			"--metrics %.80s: must be a loopback address, such as 127.0.0.1 or [::1]: anybody who reaches it may read",
			address);
	struct metrics_server *s = calloc(1, sizeof(*s));
	if (!s)
		return error_set(err, ENOMEM, "out of memory");
	*s = (struct metrics_server){.loop = loop, .guests = guests, .dedup = dedup};
	s->fd = inet_door_open("--metrics", &where, err);
	if (s->fd < 0) {
		ret = s->fd;
		free(s);
		return ret;
	}
	log_info("metrics: http://%s/metrics", where.text);
	ev_io_init(&s->acceptor, on_acceptable, s->fd, EV_READ);
	ev_io_start(loop, &s->acceptor);
	*server = s;
	return 0;
}

void metrics_server_destroy(struct metrics_server *s)
{
	if (!s)
		return;
	for (struct connection *c = s->connections, *next; c; c = next) {
		next = c->next;
		end(c);
	}
	ev_io_stop(s->loop, &s->acceptor);
	close(s->fd);
	free(s);
}
