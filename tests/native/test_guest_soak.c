/*
 * A soak for the memory manager and for shared pages: several guests at once verify all their memory (tests/guests/soak.c), while each one's target goes up and
 * down, memory is evicted to every tier at once and prewarmed, settings change, and guests are paused; all by QMP, drawn from the seed. The VMMs of some are built
 * with doors that fail (faulty_doors.c): these guests may stop, and must go on by themselves. All but one share pages through a daemon, which is
 * killed or told to end at any time, comes back in a moment or after a while, and now and then has forgotten all.
 *
 * No byte may be wrong and nobody may wait for ever: who has not printed for HANG_MS has hung, and is shown with its threads. SOAK_SECONDS (40) says how
 * long guests run; every 10 s there is a line a guest. SOAK_KERNEL_TIER=1 also has them use the kernel's swap, where the host swaps to zram: it
 * is the host's, which others may be measuring. Each guest's log, with all that was asked and answered, is left beside the test program.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/guests/lib/prng.h"
#include "tests/native/vm_process.h"
#include "tests/unit/pagodad_process.h"

enum {
	MIB = 1 << 20,
	SECONDS = 40,
	HANG_MS = 45000,
	ANSWER_MS = 30000,  /* of QMP */
	RECOVER_MS = 30000, /* after a page could not be brought back */
	SOON_MS = 30000,
	REPORT_MS = 10000,
	HEARD = 1 << 16,
	COMMON = 50,            /* percent of what guests write that others may have, too */
	DAEMON_STAYS_MS = 8000, /* at most */
	DAEMON_IS_GONE_MS = 3000,
};

/* What each guest is. */
struct plan {
	const char *name;
	unsigned cpus, mib;
	const char *drive;  /* more of -drive */
	const char *faults; /* of PAGODA_FAULTS; NULL: the VMM that is installed */
	bool alone;         /* it shares nothing */
};

#define MILD "again=300,part=500,register=20,scan=20,discard=50,advice=300,calloc=100,space=300,write=100"
#define HARSH "again=3000,part=3000,nomem=1,register=200,scan=200,discard=500,advice=3000,calloc=1000,space=500,write=300"

static const struct plan plans[] = {
	{"one", 1, 96, "cache=none", NULL, false},
	{"two", 2, 128, "cache=writeback", NULL, false},
	{"four", 4, 96, "cache=none", NULL, false},
	{"alone", 1, 64, "cache=none", NULL, true},
	{"faulty-one", 1, 64, "cache=none", HARSH ",read=200", false},
	{"faulty-two", 2, 96, "cache=none", MILD ",nomem=1,read=30", false},
};
#define GUESTS (sizeof(plans) / sizeof(plans[0]))

/* The number of an action says what is asked of a guest. */
enum action { TARGET, EVICT, PREWARM, SETTINGS, KERNEL_TIER, STOP, CONT, CURVE, MEMORY, DEDUP_SETTINGS, DEDUP, CAPABILITIES };

struct guest {
	const struct plan *plan;
	struct vm_process *vm;
	int qmp; /* -1: the VMM has ended */
	size_t len;
	char heard[HEARD + 1];
	struct prng prng;
	FILE *log;
	size_t output_logged;

	bool asking; /* what follows is yet to be answered */
	enum action asked;
	char command[300];
	uint64_t asked_ms;

	uint64_t next_ms;     /* when something is asked next */
	uint64_t progress_ms; /* it printed something; time in which it was paused by us is left out */
	uint64_t watched_ms;
	uint64_t failed_ms; /* it stands still, since a page could not be brought back; 0: it does not */
	bool paused;        /* by us */
	bool kernel_tier;   /* the host has it */
	unsigned failures, evictions;
	json_t *memory; /* the last answer to query-memory, */
	json_t *dedup;  /* and to query-dedup */
};

static struct guest guests[GUESTS];
static uint64_t begin_ms;

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static unsigned soak_seconds(void)
{
	const char *value = getenv("SOAK_SECONDS");

	return value && *value ? (unsigned)strtoul(value, NULL, 10) : SECONDS;
}

/* Beside the test program. */
static const char *beside(const char *name)
{
	static char path[600];
	ssize_t len = readlink("/proc/self/exe", path, 500);

	ck_assert_int_gt(len, 0);
	path[len] = '\0';
	strcpy(strrchr(path, '/') + 1, name);
	return path;
}

/* --- logs, and the end of a run that failed --- */

static void note(struct guest *g, const char *sign, const char *text)
{
	if (g->log)
		fprintf(g->log, "%8llu %s %s\n", (unsigned long long)(now_ms() - begin_ms), sign, text);
}

static void log_output(struct guest *g)
{
	const char *output = vm_process_output(g->vm) + g->output_logged;
	size_t len = strlen(output);

	if (len && g->log)
		fprintf(g->log, "%s", output);
	g->output_logged += len;
}

static void close_log(struct guest *g)
{
	if (!g->log)
		return;
	log_output(g);
	fprintf(g->log, "--- VMM:\n%s\n", vm_process_messages(g->vm));
	fclose(g->log);
	g->log = NULL;
}

static void print_file(const char *label, int pid, const char *tid, const char *name)
{
	char path[100], text[1000];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, tid, name);
	file = fopen(path, "re");
	if (!file)
		return;
	while (fgets(text, sizeof(text), file))
		fprintf(stderr, "%s%s", label, text);
	fclose(file);
}

static void print_threads(int pid)
{
	char path[64];
	struct dirent *entry;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		print_file("thread ", pid, entry->d_name, "comm");
		print_file("    ", pid, entry->d_name, "stack");
	}
	if (tasks)
		closedir(tasks);
}

/* The last whole line of the guest's that begins so, up to its end. */
static const char *last_line(const struct vm_process *vm, const char *begins, int *len)
{
	const char *line = vm_process_output(vm), *end, *last = "nothing";

	*len = (int)strlen(last);
	for (; (end = strchr(line, '\n')); line = end + 1) {
		if (strncmp(line, begins, strlen(begins)) != 0)
			continue;
		last = line;
		*len = (int)(end - line);
	}
	return last;
}

/* Does not wait for long: one that hangs in the kernel may not even end by this. */
static void kill_guest(struct guest *g)
{
	int pid = vm_process_pid(g->vm), i;

	close_log(g);
	if (!pid)
		return;
	kill(-pid, SIGKILL);
	for (i = 0; i < 500 && waitpid(pid, NULL, WNOHANG) == 0; i++)
		usleep(10000);
	if (i == 500)
		fprintf(stderr, "guest %s: its VMM, process %d, does not end by SIGKILL\n", g->plan->name, pid);
}

static _Noreturn void give_up(struct guest *g, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool hear(struct guest *g);

static _Noreturn void give_up(struct guest *g, const char *format, ...)
{
	static const char query[] = "{\"execute\":\"query-memory\"}\n";
	char what[400];
	const char *line;
	va_list args;
	size_t i;
	int len;

	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	fprintf(stderr, "soak: PAGODA_SEED=%llu, guest %s: %s\n", (unsigned long long)vm_process_seed(), g->plan->name, what);
	note(g, "!", what);
	line = last_line(g->vm, "", &len);
	fprintf(stderr, "its last words: %.*s\n", len, line);
	if (g->asking)
		fprintf(stderr, "not answered yet: %s", g->command);
	if (g->qmp >= 0 && send(g->qmp, query, strlen(query), MSG_NOSIGNAL) > 0) {
		for (i = 0; i < 20 && g->qmp >= 0; i++) {
			usleep(50000);
			hear(g);
		}
	}
	if (g->memory) {
		char *text = json_dumps(g->memory, 0);
		fprintf(stderr, "its memory: %s\n", text);
		free(text);
	}
	if (vm_process_pid(g->vm))
		print_threads(vm_process_pid(g->vm));
	fprintf(stderr, "what its VMM said:\n%s\n", vm_process_messages(g->vm));
	for (i = 0; i < GUESTS; i++)
		if (guests[i].vm)
			kill_guest(&guests[i]);
	fprintf(stderr, "its log: %s.%s.log\n", beside("test_guest_soak"), g->plan->name);
	ck_abort_msg("PAGODA_SEED=%llu, guest %s: %.250s", (unsigned long long)vm_process_seed(), g->plan->name, what);
	abort();
}

/* --- QMP --- */

static void ask(struct guest *g, enum action action, const char *format, ...) __attribute__((format(printf, 3, 4)));

static void ask(struct guest *g, enum action action, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(g->command, sizeof(g->command), format, args);
	va_end(args);
	note(g, ">", g->command);
	strcat(g->command, "\n");
	g->asked = action;
	g->asked_ms = now_ms();
	g->asking = true;
	/* Where the VMM has just ended, hear() sees that. */
	(void)!send(g->qmp, g->command, strlen(g->command), MSG_NOSIGNAL);
}

static void take_event(struct guest *g, const char *event, const json_t *data)
{
	const char *reason = json_string_value(json_object_get(data, "reason"));

	if (!strcmp(event, "MEMORY_ERROR")) {
		if (!g->plan->faults || (reason && !strcmp(reason, "damaged")))
			give_up(g, "a page cannot be brought back: %s", reason ? reason : "for no reason");
		g->failures++;
		g->failed_ms = g->failed_ms ? g->failed_ms : now_ms();
	} else if (!strcmp(event, "RESUME")) {
		g->failed_ms = 0;
	}
}

static void take_answer(struct guest *g, json_t *answer)
{
	json_t *result = json_object_get(answer, "return");
	const char *error = json_string_value(json_object_get(json_object_get(answer, "error"), "desc"));

	if (!g->asking)
		return; /* give_up()'s own question */
	g->asking = false;
	if (g->asked == KERNEL_TIER) {
		g->kernel_tier = !error;
	} else if (error && g->asked == CONT) {
		/* It ran already, or ends. */
	} else if (error && g->asked == EVICT && (g->plan->faults || g->kernel_tier || strstr(error, strerror(ENOSPC)))) {
		/* Memory was short for it; there is no disk under the kernel's tier; the swap file is full. */
	} else if (error) {
		give_up(g, "%.200s is answered by: %.150s", g->command, error);
	}
	if (g->asked == MEMORY) {
		json_decref(g->memory);
		g->memory = json_incref(result);
	} else if (g->asked == DEDUP) {
		json_decref(g->dedup);
		g->dedup = json_incref(result);
	}
}

static void take_line(struct guest *g, const char *line)
{
	json_error_t where;
	json_t *object = json_loads(line, 0, &where);
	const char *event = json_string_value(json_object_get(object, "event"));

	note(g, "<", line);
	if (!object)
		give_up(g, "QMP says %.200s, which is no JSON: %s", line, where.text);
	if (event) {
		take_event(g, event, json_object_get(object, "data"));
	} else if (json_object_get(object, "return") || json_object_get(object, "error")) {
		json_t *memory = json_object_get(object, "return");
		if (!g->asking && json_object_get(memory, "stats")) {
			json_decref(g->memory);
			g->memory = json_incref(memory);
		}
		take_answer(g, object);
	}
	json_decref(object);
}

/* Reads what there is. Returns whether the VMM is still there. */
static bool hear(struct guest *g)
{
	char *end;
	ssize_t got;

	while ((got = recv(g->qmp, g->heard + g->len, HEARD - g->len, MSG_DONTWAIT)) > 0) {
		g->len += (size_t)got;
		g->heard[g->len] = '\0';
		while ((end = strchr(g->heard, '\n'))) {
			*end = '\0';
			take_line(g, g->heard);
			g->len -= (size_t)(end + 1 - g->heard);
			memmove(g->heard, end + 1, g->len + 1);
		}
	}
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	close(g->qmp);
	g->qmp = -1;
	return false;
}

/* The number of that name among the statistics. */
static uint64_t memory_of(const struct guest *g, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(json_object_get(g->memory, "stats"), name));
}

static uint64_t dedup_of(const struct guest *g, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(g->dedup, name));
}

/* --- what is done to a guest --- */

static uint64_t draw(struct guest *g, uint64_t below)
{
	return prng_below(&g->prng, below);
}

static void ask_target(struct guest *g)
{
	unsigned mib = g->plan->mib / 4 + (unsigned)draw(g, g->plan->mib * 3 / 4);

	if (draw(g, 5) == 0)
		mib = 0;
	ask(g, TARGET, "{\"execute\":\"set-memory\",\"arguments\":{\"target\":%u,\"floor\":%u}}", mib * MIB,
	    draw(g, 3) ? 0 : mib / 2 * MIB);
}

static void ask_evict(struct guest *g)
{
	static const char *const tiers[] = {"limbo", "compressed", "disk"};

	g->evictions++;
	ask(g, EVICT, "{\"execute\":\"memory-evict\",\"arguments\":{\"tier\":\"%s\",\"bytes\":%llu}}", tiers[draw(g, 3)],
	    draw(g, 4) ? (unsigned long long)(1 + draw(g, 16)) * MIB : 0);
}

static void ask_settings(struct guest *g)
{
	static const char *const words[] = {"false", "true"};
	char kernel_tier[40] = "";

	if (g->kernel_tier)
		snprintf(kernel_tier, sizeof(kernel_tier), ",\"kernel-tier\":%s", words[draw(g, 3) == 0]);
	ask(g, SETTINGS,
	    "{\"execute\":\"set-memory\",\"arguments\":{\"prefetch\":%s,\"dense\":%s,\"limbo\":%llu,\"cold\":%llu,\"sample-rate\":%"
	    "llu,"
	    "\"evict-rate\":%llu,\"compressed-limit\":%llu,\"swap-limit\":%llu%s}}",
	    words[draw(g, 4) > 0], words[draw(g, 2)], 1 + (unsigned long long)draw(g, 2) * draw(g, 600),
	    1 + (unsigned long long)draw(g, 3000), (unsigned long long)draw(g, 3) * 500,
	    draw(g, 3) ? 0 : 2000 + (unsigned long long)draw(g, 20000),
	    draw(g, 2) ? 0 : (2 + (unsigned long long)draw(g, 16)) * MIB,
	    draw(g, 3) ? 0 : (4 + (unsigned long long)draw(g, 32)) * MIB, kernel_tier);
}

static void ask_dedup_settings(struct guest *g)
{
	static const char *const words[] = {"auto", "on", "off"};

	ask(g, DEDUP_SETTINGS, "{\"execute\":\"set-dedup\",\"arguments\":{\"cpu\":%llu,\"pass\":%llu,\"huge\":\"%s\"}}",
	    5 + (unsigned long long)draw(g, 30), 20 + (unsigned long long)draw(g, 500), words[draw(g, 8) ? 1 : draw(g, 3)]);
}

/* All memory is verified for the last time, which need not take long. */
static bool is_over(const struct guest *g)
{
	return strstr(vm_process_output(g->vm), "soak: time is over") != NULL;
}

static void act(struct guest *g)
{
	uint64_t choice = draw(g, 100);

	g->next_ms = now_ms() + (is_over(g) ? 1000 : 10) + draw(g, 300);
	if (g->paused && draw(g, 3) == 0) {
		g->paused = false;
		ask(g, CONT, "{\"execute\":\"cont\"}");
	} else if (choice < 25) {
		ask_target(g);
	} else if (choice < 50) {
		ask_evict(g);
	} else if (choice < 60) {
		ask(g, PREWARM, "{\"execute\":\"memory-prewarm\"}");
	} else if (choice < 75) {
		ask_settings(g);
	} else if (choice < 80 && !g->paused && !g->failed_ms && !is_over(g)) {
		g->paused = true;
		ask(g, STOP, "{\"execute\":\"stop\"}");
	} else if (choice < 84) {
		ask(g, CURVE, "{\"execute\":\"query-memory-curve\"}");
	} else if (choice < 86 && !g->plan->alone) {
		ask_dedup_settings(g);
	} else if (choice < 93 && !g->plan->alone) {
		ask(g, DEDUP, "{\"execute\":\"query-dedup\"}");
	} else {
		ask(g, MEMORY, "{\"execute\":\"query-memory\"}");
	}
}

/* --- a run --- */

static struct vm_process *start_vmm(const struct plan *plan, uint64_t seed, unsigned ms)
{
	char append[100], faults[400], disk[40], swap[40], qmp[40], dedup[300] = "";
	struct vm_process *vm;

	snprintf(append, sizeof(append), "seed=%llu ms=%u common=%d", (unsigned long long)seed, ms, COMMON);
	if (!plan->alone)
		snprintf(dedup, sizeof(dedup), "-dedup socket=%s,domain=soak,guest=%s,cpu=15,pass=100,huge=on", pagodad_socket,
			 plan->name);
	snprintf(disk, sizeof(disk), "disk-%s", plan->name);
	snprintf(swap, sizeof(swap), "swap-%s", plan->name);
	snprintf(qmp, sizeof(qmp), "qmp-%s", plan->name);
	ck_assert_int_eq(mkdir(vm_process_path(swap), 0700), 0);
	if (plan->faults) {
		snprintf(faults, sizeof(faults), "seed=%llu,after_ms=1000,%s", (unsigned long long)seed, plan->faults);
		setenv("PAGODA_FAULTS", faults, 1);
		setenv("PAGODA_VMM", beside("pagoda-vmm-faulty"), 1);
	}
	vm = vm_process_start("soak", append,
			      "-m %u -smp %u -no-reboot -memory target=%uM,swap=%s,limbo=200,cold=1000,sample-rate=200 "
			      "-drive file=%s,if=none,id=d,format=raw,%s -device virtio-blk-pci,drive=d,num-queues=%u "
			      "-qmp unix:%s,server=on,wait=off %s",
			      plan->mib, plan->cpus, plan->mib / 2, vm_process_path(swap), vm_process_file(disk, 64 * MIB),
			      plan->drive, plan->cpus, vm_process_path(qmp), dedup);
	if (plan->faults) {
		unsetenv("PAGODA_FAULTS");
		unsetenv("PAGODA_VMM");
	}
	return vm;
}

static void start(struct guest *g, const struct plan *plan, unsigned ms)
{
	uint64_t seed = prng_mix(vm_process_seed() * GUESTS + (uint64_t)(plan - plans));
	char path[700], qmp[40];

	*g = (struct guest){.plan = plan, .qmp = -1, .prng = {seed}};
	g->vm = start_vmm(plan, seed % 1000000, ms);
	snprintf(path, sizeof(path), "%s.%s.log", beside("test_guest_soak"), plan->name);
	g->log = fopen(path, "we");
	ck_assert_ptr_nonnull(g->log);
	fprintf(g->log, "PAGODA_SEED=%llu\n", (unsigned long long)vm_process_seed());
	snprintf(qmp, sizeof(qmp), "qmp-%s", plan->name);
	g->qmp = vm_process_connect(vm_process_path(qmp));
	g->progress_ms = now_ms();
	ask(g, CAPABILITIES, "{\"execute\":\"qmp_capabilities\"}");
}

static void watch(struct guest *g)
{
	const char *wrong = strstr(vm_process_output(g->vm), "wrong byte");
	uint64_t now = now_ms();

	if (wrong)
		give_up(g, "%.200s", wrong);
	if (strstr(vm_process_output(g->vm), "guest: failed"))
		give_up(g, "%.200s", strstr(vm_process_output(g->vm), "guest: failed"));
	if (g->asking && now - g->asked_ms > ANSWER_MS)
		give_up(g, "QMP has not answered for %u s", ANSWER_MS / 1000);
	if (g->failed_ms && now - g->failed_ms > RECOVER_MS)
		give_up(g, "a page could not be brought back, and it has not gone on for %u s", RECOVER_MS / 1000);
	if (g->paused && g->watched_ms)
		g->progress_ms += now - g->watched_ms;
	if (g->progress_ms > now)
		g->progress_ms = now;
	g->watched_ms = now;
	if (now - g->progress_ms > HANG_MS)
		give_up(g, "it hangs: it has not said anything for %u s", HANG_MS / 1000);
}

static void finish(struct guest *g)
{
	watch(g);
	vm_process_expect_exit(g->vm, 0, SOON_MS);
	log_output(g);
	note(g, "-", "ended");
}

static void step(struct guest *g)
{
	if (vm_process_listen(g->vm, 1))
		g->progress_ms = now_ms();
	log_output(g);
	if (!hear(g)) {
		finish(g);
		return;
	}
	watch(g);
	if (g->asking || now_ms() < g->next_ms)
		return;
	/* A host that swaps to no zram refuses; then it is not asked for again. */
	if (g->asked == CAPABILITIES && getenv("SOAK_KERNEL_TIER"))
		ask(g, KERNEL_TIER, "{\"execute\":\"set-memory\",\"arguments\":{\"kernel-tier\":true}}");
	else
		act(g);
}

static void report(struct guest *g)
{
	int len;
	const char *line = last_line(g->vm, "soak: a", &len);

	printf("soak: %llu s, %s: %.*s; used %llu of %llu MiB, evicted %llu, compressed %llu, swapped out %llu in %llu, "
	       "prefetched %llu, faults %llu; evictions asked %u, failures %u\n",
	       (unsigned long long)(now_ms() - begin_ms) / 1000, g->plan->name, len, line,
	       (unsigned long long)memory_of(g, "used_pages") / 256, (unsigned long long)memory_of(g, "target_pages") / 256,
	       (unsigned long long)memory_of(g, "evicted"), (unsigned long long)memory_of(g, "compressed"),
	       (unsigned long long)memory_of(g, "swap_out"), (unsigned long long)memory_of(g, "swap_in"),
	       (unsigned long long)memory_of(g, "prefetched"), (unsigned long long)memory_of(g, "faults"), g->evictions,
	       g->failures);
	if (!g->plan->alone)
		printf("      sharing %llu pages in %llu mappings; merged %llu, broken %llu, differed %llu, busy %llu, chunks "
		       "restored %llu, "
		       "daemons %llu\n",
		       (unsigned long long)dedup_of(g, "pages_sharing"), (unsigned long long)dedup_of(g, "mappings"),
		       (unsigned long long)dedup_of(g, "pages_merged"), (unsigned long long)dedup_of(g, "pages_broken"),
		       (unsigned long long)dedup_of(g, "differed"), (unsigned long long)dedup_of(g, "busy"),
		       (unsigned long long)dedup_of(g, "restored"), (unsigned long long)dedup_of(g, "connections"));
	fflush(stdout);
}

static void check_used(const struct guest *g)
{
	const char *faults = strstr(vm_process_messages(g->vm), "faulty doors:");

	/* It did what it is here for. */
	ck_assert_msg(memory_of(g, "evicted") && memory_of(g, "compressed") && memory_of(g, "swap_out") && memory_of(g, "faults"),
		      "%s: nothing was taken", g->plan->name);
	ck_assert_msg(g->plan->alone ||
			      (dedup_of(g, "pages_merged") && dedup_of(g, "pages_broken") && dedup_of(g, "connections") > 1),
		      "%s: nothing was shared", g->plan->name);
	ck_assert_msg(!g->plan->faults == !faults, "%s: doors", g->plan->name);
	if (faults)
		printf("soak: %s: %.*s\n", g->plan->name, (int)strcspn(faults, "\n"), faults);
}

/* --- the daemon --- */

static struct {
	struct prng prng;
	uint64_t next_ms; /* when it ends, or comes back */
	unsigned killed, forgot;
} daemon_life;

/* It was not there for some of that time: a daemon that refused a guest would be found in the guests' "daemons". */
static void drive_daemon(void)
{
	char command[200];

	if (now_ms() < daemon_life.next_ms)
		return;
	if (pagodad_pid) {
		if (waitpid(pagodad_pid, NULL, WNOHANG) != 0)
			ck_abort_msg("PAGODA_SEED=%llu: the daemon has ended by itself", (unsigned long long)vm_process_seed());
		pagodad_end(prng_below(&daemon_life.prng, 4) ? SIGKILL : SIGTERM);
		daemon_life.killed++;
		if (prng_below(&daemon_life.prng, 12) == 0) {
			snprintf(command, sizeof(command), "rm -rf %s", pagodad_state);
			ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
			daemon_life.forgot++;
		}
		daemon_life.next_ms = now_ms() + prng_below(&daemon_life.prng, DAEMON_IS_GONE_MS);
	} else {
		pagodad_start(NULL);
		daemon_life.next_ms = now_ms() + prng_below(&daemon_life.prng, DAEMON_STAYS_MS);
	}
}

/* All guests have ended: nothing is held any more. */
static void check_daemon(void)
{
	struct protocol_status status;
	unsigned tries = 0;

	if (!pagodad_pid)
		pagodad_start(NULL);
	do {
		usleep(10000);
		status = pagodad_status();
	} while ((status.pages_shared || status.slots_unclaimed) && tries++ < SOON_MS / 10);
	ck_assert_uint_eq(status.pages_shared, 0);
	ck_assert_uint_eq(status.slots_unclaimed, 0);
	ck_assert_uint_eq(status.refused, 0);
	printf("soak: the daemon ended %u times, and had forgotten all %u times\n", daemon_life.killed, daemon_life.forgot);
}

static void set_up(void)
{
	vm_process_files_make();
	pagodad_set_up();
}

static void tear_down(void)
{
	pagodad_tear_down();
	vm_process_files_remove();
}

START_TEST(guests_keep_every_byte_while_memory_comes_and_goes)
{
	unsigned seconds = soak_seconds(), left = GUESTS, i;
	uint64_t report_ms;

	begin_ms = now_ms();
	daemon_life.prng.state = prng_mix(vm_process_seed() + 1);
	drive_daemon();
	for (i = 0; i < GUESTS; i++)
		start(&guests[i], &plans[i], seconds * 1000);
	for (report_ms = now_ms() + REPORT_MS; left;) {
		left = 0;
		drive_daemon();
		for (i = 0; i < GUESTS; i++) {
			if (guests[i].qmp < 0)
				continue;
			step(&guests[i]);
			left += guests[i].qmp >= 0;
		}
		if (now_ms() < report_ms)
			continue;
		for (i = 0; i < GUESTS; i++)
			if (guests[i].qmp >= 0)
				report(&guests[i]);
		report_ms += REPORT_MS;
	}
	for (i = 0; i < GUESTS; i++) {
		report(&guests[i]);
		check_used(&guests[i]);
		close_log(&guests[i]);
		vm_process_end(guests[i].vm);
		json_decref(guests[i].memory);
		json_decref(guests[i].dedup);
	}
	check_daemon();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("soak");
	TCase *tests = tcase_create("soak");

	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, soak_seconds() + 150);
	tcase_add_test(tests, guests_keep_every_byte_while_memory_comes_and_goes);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
