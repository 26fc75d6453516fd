/* A child process with three pipes. Each VMM has its own process group, and dies with the test. */
#include "tests/native/vm_process.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_ARGUMENTS = 96, MOST_BYTES = 1 << 20, CONNECT_MS = 60000 };

struct stream {
	int fd; /* -1: closed */
	size_t len;
	char bytes[MOST_BYTES + 1];
};

struct vm_process {
	pid_t pid; /* 0: waited for */
	int input;
	int status;
	size_t matched; /* output before this was waited for already */
	struct stream output, messages;
};

static char directory[64];

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* A path beside the test program, whose own is build/tests/native/NAME. */
static const char *built(const char *variable, const char *rest, char path[VM_PROCESS_PATH_SIZE])
{
	const char *value = getenv(variable);
	char *slash;
	ssize_t len;
	int i;

	if (value) {
		snprintf(path, VM_PROCESS_PATH_SIZE, "%s", value);
		return path;
	}
	len = readlink("/proc/self/exe", path, 400);
	ck_assert_int_gt(len, 0);
	path[len] = '\0';
	for (i = 0; i < 3; i++) {
		slash = strrchr(path, '/');
		ck_assert_ptr_nonnull(slash);
		*slash = '\0';
	}
	strcat(path, "/");
	strcat(path, rest);
	return path;
}

void vm_process_find_guests(char path[VM_PROCESS_PATH_SIZE])
{
	built("PAGODA_GUESTS", "guests", path);
}

const char *vm_process_skip_reason(void)
{
	static char reason[128];
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		snprintf(reason, sizeof(reason), "/dev/kvm cannot be opened: %s", strerror(errno));
		return reason;
	}
	close(fd);
	return NULL;
}

static void append_option(const char **arguments, size_t *nr, const char *argument)
{
	ck_assert_uint_lt(*nr, MOST_ARGUMENTS - 1);
	arguments[(*nr)++] = argument;
	arguments[*nr] = NULL;
}

struct vm_process *vm_process_start(const char *guest, const char *append, const char *options, ...)
{
	char vmm[512], guests[512], kernel[600], words[2000], *rest = words, *word;
	const char *arguments[MOST_ARGUMENTS];
	int input[2], output[2], messages[2];
	va_list values;
	size_t nr = 0;

	va_start(values, options);
	vsnprintf(words, sizeof(words), options, values);
	va_end(values);
	snprintf(kernel, sizeof(kernel), "%s/%s.elf", built("PAGODA_GUESTS", "guests", guests), guest);
	append_option(arguments, &nr, built("PAGODA_VMM", "pagoda-vmm", vmm));
	append_option(arguments, &nr, "-kernel");
	append_option(arguments, &nr, kernel);
	append_option(arguments, &nr, "-append");
	append_option(arguments, &nr, append);
	append_option(arguments, &nr, "-serial");
	append_option(arguments, &nr, "stdio");
	while ((word = strsep(&rest, " ")))
		if (*word)
			append_option(arguments, &nr, word);

	struct vm_process *vm = calloc(1, sizeof(*vm));
	ck_assert_ptr_nonnull(vm);
	ck_assert_int_eq(pipe2(input, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(output, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(messages, O_CLOEXEC), 0);
	vm->pid = fork();
	ck_assert_int_ge(vm->pid, 0);
	if (!vm->pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(input[0], STDIN_FILENO);
		dup2(output[1], STDOUT_FILENO);
		dup2(messages[1], STDERR_FILENO);
		execv(vmm, (char *const *)arguments);
		fprintf(stderr, "%s: %s\n", vmm, strerror(errno));
		_exit(127);
	}
	setpgid(vm->pid, vm->pid);
	close(input[0]);
	close(output[1]);
	close(messages[1]);
	vm->input = input[1];
	vm->output.fd = output[0];
	vm->messages.fd = messages[0];
	return vm;
}

static _Noreturn void give_up(struct vm_process *vm, const char *what)
{
	/* Check's own buffers are small, and the last words are the interesting ones. */
	fprintf(stderr, "%s\n--- guest:\n%s\n--- VMM:\n%s\n", what, vm->output.bytes, vm->messages.bytes);
	vm_process_end(vm);
	ck_abort_msg("%.300s", what);
	abort();
}

static void read_stream(struct stream *stream)
{
	char scrap[4096];
	size_t room = MOST_BYTES - stream->len;
	ssize_t got = read(stream->fd, room ? stream->bytes + stream->len : scrap, room ? room : sizeof(scrap));

	if (got <= 0) {
		close(stream->fd);
		stream->fd = -1;
		return;
	}
	stream->len += room ? (size_t)got : 0;
	stream->bytes[stream->len] = '\0';
}

/* Waits for output up to the deadline and reads some. Returns false when the time is over, or both streams have ended. */
static bool pump(struct vm_process *vm, uint64_t deadline_ms)
{
	struct pollfd fds[2] = {{.fd = vm->output.fd, .events = POLLIN}, {.fd = vm->messages.fd, .events = POLLIN}};
	uint64_t now = now_ms();

	if (now >= deadline_ms || (vm->output.fd < 0 && vm->messages.fd < 0))
		return false;
	if (poll(fds, 2, (int)(deadline_ms - now)) <= 0)
		return now_ms() < deadline_ms;
	if (fds[0].revents)
		read_stream(&vm->output);
	if (fds[1].revents)
		read_stream(&vm->messages);
	return true;
}

/* What the guest prints may hold any byte: a hostile one writes to the serial port, too. */
static const char *find(const struct stream *stream, size_t from, const char *text)
{
	return memmem(stream->bytes + from, stream->len - from, text, strlen(text));
}

void vm_process_expect(struct vm_process *vm, const char *text, unsigned timeout_ms)
{
	uint64_t deadline = now_ms() + timeout_ms;
	char what[400];
	const char *at;

	while (!(at = find(&vm->output, vm->matched, text))) {
		if (pump(vm, deadline))
			continue;
		snprintf(what, sizeof(what), "the guest did not print \"%s\" within %u ms", text, timeout_ms);
		give_up(vm, what);
	}
	vm->matched = (size_t)(at - vm->output.bytes) + strlen(text);
}

void vm_process_type(struct vm_process *vm, const char *text)
{
	ck_assert_int_eq(write(vm->input, text, strlen(text)), (ssize_t)strlen(text));
}

size_t vm_process_listen(struct vm_process *vm, unsigned ms)
{
	uint64_t deadline = now_ms() + ms;
	size_t before = vm->output.len;

	while (pump(vm, deadline))
		;
	return vm->output.len - before;
}

int vm_process_wait(struct vm_process *vm, unsigned timeout_ms)
{
	uint64_t deadline = now_ms() + timeout_ms;
	char what[100];

	while (pump(vm, deadline))
		;
	while (vm->pid && waitpid(vm->pid, &vm->status, WNOHANG) != vm->pid) {
		if (now_ms() >= deadline) {
			snprintf(what, sizeof(what), "the VMM did not end within %u ms", timeout_ms);
			give_up(vm, what);
		}
		usleep(1000);
	}
	/* Its children lose their group's leader. */
	if (vm->pid)
		kill(-vm->pid, SIGKILL);
	vm->pid = 0;
	return vm->status;
}

void vm_process_expect_exit(struct vm_process *vm, int code, unsigned timeout_ms)
{
	int status = vm_process_wait(vm, timeout_ms);
	char line[64];

	if (!WIFEXITED(status) || WEXITSTATUS(status)) {
		snprintf(line, sizeof(line), "the VMM ended by %s %d", WIFEXITED(status) ? "exit" : "signal",
			 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
		give_up(vm, line);
	}
	snprintf(line, sizeof(line), "guest: exit %d\n", code);
	if (!find(&vm->output, 0, line)) {
		snprintf(line, sizeof(line), "the guest did not say that it exits with %d", code);
		give_up(vm, line);
	}
}

void vm_process_expect_right_memory(struct vm_process *vm, unsigned timeout_ms)
{
	vm_process_type(vm, "x");
	vm_process_expect_exit(vm, 0, timeout_ms);
	ck_assert_ptr_nonnull(strstr(vm_process_output(vm), "memory: 0 wrong pages\n"));
}

const char *vm_process_output(const struct vm_process *vm)
{
	return vm->output.bytes;
}

const char *vm_process_messages(const struct vm_process *vm)
{
	return vm->messages.bytes;
}

uint64_t vm_process_number(const struct vm_process *vm, const char *label)
{
	const char *at = find(&vm->output, 0, label);

	ck_assert_msg(at, "the guest did not print \"%s\"", label);
	return strtoull(at + strlen(label), NULL, 0);
}

int vm_process_pid(const struct vm_process *vm)
{
	return vm->pid;
}

void vm_process_end(struct vm_process *vm)
{
	if (vm->pid) {
		kill(-vm->pid, SIGKILL);
		waitpid(vm->pid, NULL, 0);
	}
	close(vm->input);
	if (vm->output.fd >= 0)
		close(vm->output.fd);
	if (vm->messages.fd >= 0)
		close(vm->messages.fd);
	free(vm);
}

void vm_process_run(const char *guest, const char *append, unsigned timeout_ms, const char *options)
{
	struct vm_process *vm = vm_process_start(guest, append, "%s", options);

	vm_process_expect_exit(vm, 0, timeout_ms);
	vm_process_end(vm);
}

void vm_process_files_make(void)
{
	snprintf(directory, sizeof(directory), "/tmp/pagoda-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)info;
	(void)type;
	(void)where;
	return remove(path);
}

void vm_process_files_remove(void)
{
	nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

const char *vm_process_path(const char *name)
{
	static char paths[8][160];
	static unsigned next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", directory, name);
	return path;
}

int vm_process_connect(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret = -1;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	for (int i = 0; i < CONNECT_MS / 10 && ret; i++) {
		ret = connect(fd, (struct sockaddr *)&address, sizeof(address));
		if (ret)
			usleep(10000);
	}
	ck_assert_msg(ret == 0, "nobody listens at %s", path);
	return fd;
}

const char *vm_process_file(const char *name, uint64_t bytes)
{
	const char *path = vm_process_path(name);
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	close(fd);
	return path;
}

uint64_t vm_process_seed(void)
{
	static uint64_t seed;
	const char *value = getenv("PAGODA_SEED");

	if (!seed) {
		seed = value ? strtoull(value, NULL, 0) : (uint64_t)time(NULL);
		seed += !seed;
		printf("PAGODA_SEED=%llu\n", (unsigned long long)seed);
		fflush(stdout);
	}
	return seed;
}

int vm_process_run_suite(Suite *suite)
{
	const char *reason = vm_process_skip_reason();
	SRunner *runner = srunner_create(suite);
	int failed;

	if (reason) {
		printf("skipped: %s\n", reason);
	} else {
		vm_process_seed(); /* one for all tests, which are processes of their own */
		srunner_run_all(runner, CK_NORMAL);
	}
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
