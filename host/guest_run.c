/* See guest_run.h. */
#include "host/guest_run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/unix_socket.h"
#include "host/lock_file.h"
#include "host/whole_file.h"

#define MOST_FILES 65536
#define OOM_SCORE "-300" /* behind everything that is not a daemon of the host's */
#define LOCK_PATIENCE_MS 5000
#define MOST_BYTES (2u << 20)

int guest_run_open(const char *parent, const char *name, struct guest_run *run, struct error *err)
{
	char *path;
	if (asprintf(&path, "%s/%s", parent, name) < 0)
		return error_set(err, ENOMEM, "out of memory");
	int fd = -1;
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0) {
		int ret = error_set(err, errno, "%s: cannot be made: %s", path, strerror(errno));
		free(path);
		return ret;
	}
	*run = (struct guest_run){.path = path, .dir_fd = fd};
	return 0;
}

void guest_run_close(struct guest_run *run)
{
	if (run->dir_fd >= 0)
		close(run->dir_fd);
	free(run->path);
	*run = (struct guest_run){.dir_fd = -1};
}

/* --- files --- */

char *guest_run_get(const struct guest_run *run, const char *name)
{
	char *data;
	size_t len;
	return whole_file_read(run->dir_fd, name, MOST_BYTES, &data, &len) == 0 ? data : NULL;
}

int guest_run_put(const struct guest_run *run, const char *name, const char *text)
{
	return whole_file_write(run->dir_fd, name, text, strlen(text));
}

void guest_run_remove(const struct guest_run *run, const char *name)
{
	unlinkat(run->dir_fd, name, 0);
}

/* --- starting --- */

static int listen_at(const struct guest_run *run, const char *name, struct error *err)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int len = snprintf(path, sizeof(path), "%s/%s", run->path, name);
	unlinkat(run->dir_fd, name, 0);
	int fd = len < (int)sizeof(path) ? unix_socket_listen(path, SOCK_STREAM, 4) : -ENAMETOOLONG;
	if (fd == -ENAMETOOLONG)
		return error_set(err, ENAMETOOLONG, "%s/%s: longer than a socket's path may be; give a shorter --run", run->path,
				 name);
	return fd < 0 ? error_set(err, -fd, "%s: %s", path, strerror(-fd)) : fd;
}

/* What the child says when it fails. */
struct failure {
	int code;
	char what[60];
};

static void set_limits(void)
{
	struct rlimit files;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < MOST_FILES) {
		files.rlim_cur = MOST_FILES;
		if (files.rlim_max < MOST_FILES)
			files.rlim_max = MOST_FILES;
		/* Without the right to raise the hard limit, what there is must do. */
		if (setrlimit(RLIMIT_NOFILE, &files) < 0 && getrlimit(RLIMIT_NOFILE, &files) == 0) {
			files.rlim_cur = files.rlim_max;
			setrlimit(RLIMIT_NOFILE, &files);
		}
	}
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		/* May only be lowered with CAP_SYS_RESOURCE; the guest runs without, too. */
		if (write(fd, OOM_SCORE, strlen(OOM_SCORE)) < 0)
			errno = 0;
		close(fd);
	}
}

static void die(int failure_fd, const char *what)
{
	struct failure f = {.code = errno};
	snprintf(f.what, sizeof(f.what), "%s", what);
	if (write(failure_fd, &f, sizeof(f)) < 0)
		_exit(126);
	_exit(127);
}

static void say_who(const struct guest_run *run, int failure_fd)
{
	struct process self;
	char text[64];
	if (process_find_self(&self) < 0)
		die(failure_fd, "read /proc/self/stat");
	snprintf(text, sizeof(text), "%d %" PRIu64 "\n", (int)self.pid, self.start);
	int ret = guest_run_put(run, "run", text);
	if (ret) {
		errno = -ret;
		die(failure_fd, "write its file \"run\"");
	}
}

static void child(const struct guest_run *run, const struct guest_places *places, int log_fd, int failure_fd, char **argv)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int i = 1; i < NSIG; i++)
		signal(i, SIG_DFL);
	setsid();
	int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0)
		die(failure_fd, "set up its streams");
	syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
	if (fcntl(places->qmp_fd, F_SETFD, 0) < 0 || fcntl(places->console_fd, F_SETFD, 0) < 0)
		die(failure_fd, "hand over sockets");
	set_limits();
	int ret = places->group ? memory_cgroup_enter(places->group) : 0;
	if (ret) {
		errno = -ret;
		die(failure_fd, "enter its control group of memory");
	}
	umask(0077);
	say_who(run, failure_fd);
	execv(argv[0], argv);
	int code = errno;
	guest_run_remove(run, "run");
	errno = code;
	die(failure_fd, "execute");
}

static char **make_argv(const json_t *words)
{
	size_t nr = json_array_size(words);
	char **argv = calloc(nr + 1, sizeof(*argv));
	for (size_t i = 0; argv && i < nr; i++)
		argv[i] = (char *)json_string_value(json_array_get(words, i));
	return argv;
}

static int put_definition(const struct guest_run *run, const struct definition *definition)
{
	char *text = json_dumps(definition->json, JSON_INDENT(2));
	int ret = text ? guest_run_put(run, "started", text) : -ENOMEM;
	free(text);
	return ret;
}

int guest_run_start(struct guest_run *run, const struct definition *definition, struct guest_places *places, int log_fd,
		    struct process *process, json_t **out_words, int *failure_fd, struct error *err)
{
	char pidfile[300];
	int pipe_fds[2] = {-1, -1}, lock_fd = -1, ret = 0;
	json_t *words = NULL;
	char **argv = NULL;
	pid_t pid = -1;
	snprintf(pidfile, sizeof(pidfile), "%s/pid", run->path);
	places->pidfile = pidfile;
	places->qmp_fd = places->console_fd = -1;
	lock_fd = lock_file_take(run->dir_fd, "lock", 0);
	if (lock_fd < 0) {
		ret = error_set(err, -lock_fd, "%s/lock: %s", run->path,
				lock_fd == -EWOULDBLOCK ? "a VMM is being started" : strerror(-lock_fd));
		goto done;
	}
	guest_run_remove(run, "run");
	guest_run_remove(run, "stopping");
	guest_run_remove(run, "pid");
	places->qmp_fd = listen_at(run, "qmp", err);
	places->console_fd = places->qmp_fd < 0 ? -1 : listen_at(run, "console", err);
	if (places->console_fd < 0) {
		ret = places->qmp_fd < 0 ? places->qmp_fd : places->console_fd;
		goto done;
	}
	words = guest_words(definition, places);
	argv = words ? make_argv(words) : NULL;
	if (!argv) {
		ret = error_set(err, ENOMEM, "out of memory");
		goto done;
	}
	ret = put_definition(run, definition);
	if (ret) {
		error_set(err, -ret, "%s/started: cannot be written: %s", run->path, strerror(-ret));
		goto done;
	}
	if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		ret = error_set(err, errno, "no pipe: %s", strerror(errno));
		goto done;
	}
	pid = fork();
	if (pid == 0)
		child(run, places, log_fd, pipe_fds[1], argv);
	if (pid < 0) {
		ret = error_set(err, errno, "no process for the VMM: %s", strerror(errno));
		goto done;
	}
	guest_run_remove(run, "ended");
	ret = process_of_child(pid, process);
	if (ret) {
		kill(pid, SIGKILL);
		error_set(err, -ret, "the VMM cannot be watched: %s", strerror(-ret));
		goto done;
	}
	*out_words = words;
	*failure_fd = pipe_fds[0];
	words = NULL;
	pipe_fds[0] = -1;

done:
	for (int i = 0; i < 2; i++)
		if (pipe_fds[i] >= 0)
			close(pipe_fds[i]);
	if (places->qmp_fd >= 0)
		close(places->qmp_fd);
	if (places->console_fd >= 0)
		close(places->console_fd);
	if (lock_fd >= 0)
		close(lock_fd); /* the child has it still */
	free(argv);
	json_decref(words);
	return ret;
}

int guest_run_failure(int failure_fd, const char *vmm, struct error *err)
{
	struct failure f;
	ssize_t got = read(failure_fd, &f, sizeof(f));
	if (got == 0)
		return 0;
	if (got != (ssize_t)sizeof(f))
		return error_set(err, EIO, "%s: its start failed", vmm);
	f.what[sizeof(f.what) - 1] = '\0';
	return error_set(err, f.code > 0 ? f.code : EIO, "%s: cannot %s: %s", vmm, f.what, strerror(f.code));
}

/* --- finding --- */

int guest_run_find(struct guest_run *run, struct process *process, bool *was, struct error *err)
{
	int pid, ret;
	uint64_t start;
	*was = false;
	/* A daemon that was killed while it started one: its child goes on, and lets the lock go in a moment. */
	int lock_fd = lock_file_take(run->dir_fd, "lock", LOCK_PATIENCE_MS);
	if (lock_fd < 0)
		return error_set(err, -lock_fd, "%s/lock: %s", run->path, strerror(-lock_fd));
	char *text = guest_run_get(run, "run");
	if (!text) {
		close(lock_fd);
		return -ESRCH;
	}
	*was = true;
	ret = sscanf(text, "%d %" SCNu64, &pid, &start) == 2 && pid > 0 ? process_find(pid, start, process)
									: error_set(err, EPROTO, "%s/run: damaged", run->path);
	free(text);
	close(lock_fd);
	if (ret && ret != -ESRCH && ret != -EPROTO)
		error_set(err, -ret, "%s: its process cannot be found: %s", run->path, strerror(-ret));
	return ret;
}

bool guest_run_was_clean(const struct guest_run *run)
{
	struct stat st;
	return fstatat(run->dir_fd, "pid", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

void guest_run_ended(struct guest_run *run, const char *how)
{
	static const char *const names[] = {"run", "stopping", "qmp", "console", "pid"};
	int ret = guest_run_put(run, "ended", how);
	if (ret)
		log_warning("%s/ended: cannot be written: %s", run->path, strerror(-ret));
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		guest_run_remove(run, names[i]);
}
