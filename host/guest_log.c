/* See guest_log.h. */
#include "host/guest_log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAIL_BYTES 131072
#define PATH_BYTES 400

int guest_log_open(const char *directory, const char *name, struct error *err)
{
	char path[PATH_BYTES], old[PATH_BYTES + 2];
	snprintf(path, sizeof(path), "%s/%s.log", directory, name);
	snprintf(old, sizeof(old), "%s.1", path);
	if (rename(path, old) < 0 && errno != ENOENT)
		return error_set(err, errno, "%s: cannot be renamed: %s", path, strerror(errno));
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? error_set(err, errno, "%s: cannot be made: %s", path, strerror(errno)) : fd;
}

/* The file's last bytes, as a new string that is text. NULL where there are none. */
static char *read_tail(const char *directory, const char *name)
{
	char path[PATH_BYTES];
	snprintf(path, sizeof(path), "%s/%s.log", directory, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char *text = fd < 0 ? NULL : malloc(TAIL_BYTES + 1);
	off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t got = text ? pread(fd, text, TAIL_BYTES, end > TAIL_BYTES ? end - TAIL_BYTES : 0) : -1;
	if (fd >= 0)
		close(fd);
	if (got <= 0) {
		free(text);
		return NULL;
	}
	/* A guest's words may be in it. */
	for (ssize_t i = 0; i < got; i++)
		if (((unsigned char)text[i] < 0x20 && text[i] != '\n' && text[i] != '\t') || (unsigned char)text[i] >= 0x7f)
			text[i] = '?';
	while (got && text[got - 1] == '\n')
		got--;
	text[got] = '\0';
	return text;
}

json_t *guest_log_lines(const char *directory, const char *name, size_t most)
{
	json_t *lines = json_array();
	char *text = read_tail(directory, name);
	char *start = text, *at = text ? text + strlen(text) : NULL;
	for (size_t nr = 0; text && at > text; at--)
		if (at[-1] == '\n' && ++nr == most) {
			start = at;
			break;
		}
	for (char *line = start; lines && line && most;) {
		char *end = strchr(line, '\n');
		if (end)
			*end = '\0';
		if (json_array_append_new(lines, json_string(line)) < 0) {
			json_decref(lines);
			lines = NULL;
		}
		line = end ? end + 1 : NULL;
	}
	free(text);
	return lines;
}

void guest_log_last_line(const char *directory, const char *name, char *line, size_t size)
{
	char *text = read_tail(directory, name);
	const char *last = text ? strrchr(text, '\n') : NULL;
	snprintf(line, size, "%s", last ? last + 1 : text ? text : "");
	free(text);
}
