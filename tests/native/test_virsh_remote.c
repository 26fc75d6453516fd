/*
 * Unmodified virsh comes from "another machine": by SSH, through a real sshd on the loopback interface, and by TLS with certificates. Guests run; what became of them is
 * asked by the daemon's own API. The sshd is in a mount namespace with accounts of its own, so that the machine is as it was: it needs root.
 */
#include "tests/unit/pagodad_process.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdarg.h>

#include "tests/native/command.h"
#include "tests/native/vm_process.h"
#include "tests/unit/api_client.h"
#include "tests/unit/tls_certificates.h"

enum { SOON_MS = 20000, KNOCKING = 40 };

static char guests_directory[VM_PROCESS_PATH_SIZE], uri[512], helper[600];
static char sshd_program[300], bus_address[200];
static pid_t sshd_pid;
static unsigned port;
static struct tls_authority ours, theirs;

/* Expects that it succeeds, or fails, and says this. */
#define virsh(says, ...) virsh_ends(0, uri, says, __VA_ARGS__)
#define virsh_fails(says, ...) virsh_ends(1, uri, says, __VA_ARGS__)

/* --- files and processes --- */

static const char *path_of(const char *name)
{
	static char paths[8][200];
	static unsigned next;
	char *path = paths[next++ % 8];
	snprintf(path, sizeof(paths[0]), "%s/%s", pagodad_directory, name);
	return path;
}

__attribute__((format(printf, 3, 4))) static void write_file(const char *name, unsigned mode, const char *format, ...)
{
	va_list values;
	FILE *file = fopen(path_of(name), "w");
	ck_assert_ptr_nonnull(file);
	va_start(values, format);
	ck_assert_int_gt(vfprintf(file, format, values), 0);
	va_end(values);
	ck_assert_int_eq(fclose(file), 0);
	ck_assert_int_eq(chmod(path_of(name), mode), 0);
}

__attribute__((format(printf, 1, 2))) static int shell(const char *format, ...)
{
	char command[1200];
	va_list values;
	va_start(values, format);
	vsnprintf(command, sizeof(command), format, values);
	va_end(values);
	return system(command); // NOLINT(cert-env33-c)
}

static void free_port(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, len) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0);
	close(fd);
	port = ntohs(a.sin_port);
}

static int knock(void)
{
	const struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	close(fd);
	return -1;
}

static const char *xml_of(const char *name)
{
	char file[40];
	snprintf(file, sizeof(file), "%s.xml", name);
	write_file(file, 0600,
		   "<domain type='kvm'><name>%s</name><memory unit='MiB'>48</memory><vcpu>1</vcpu>"
		   "<os><type arch='x86_64'>hvm</type><kernel>%s/memory.elf</kernel>"
		   "<cmdline>seed=%llu rounds=1000000000 until_key order=random idle_ms=2 quiet</cmdline></os>"
		   "<devices><console type='pty'/></devices></domain>",
		   name, guests_directory, (unsigned long long)vm_process_seed() % 1000000);
	return path_of(file);
}

/* How many helpers of ours run. */
static unsigned count_helpers(void)
{
	unsigned nr = 0;
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	ck_assert_ptr_nonnull(proc);
	while ((entry = readdir(proc)) != NULL) {
		char link[300], program[PATH_MAX];
		snprintf(link, sizeof(link), "/proc/%s/exe", entry->d_name);
		ssize_t len = readlink(link, program, sizeof(program) - 1);
		program[len > 0 ? len : 0] = '\0';
		nr += !strcmp(program, helper);
	}
	closedir(proc);
	return nr;
}

static void expect_helpers(unsigned wanted)
{
	for (int i = 0; i < SOON_MS / 20 && count_helpers() != wanted; i++)
		usleep(20000);
	ck_assert_uint_eq(count_helpers(), wanted);
}

static void set_up(void)
{
	vm_process_find_guests(guests_directory);
	pagodad_set_up();
	pagodad_find(helper, sizeof(helper));
	strcpy(strrchr(helper, '/'), "/virt-ssh-helper");
}

static void tear_down(void)
{
	struct api_connection c = api_connect("api");
	json_t *list = api_get(&c, "list", " ");
	const json_t *row;
	size_t i;
	json_array_foreach(list, i, row)
	{
		pid_t pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
		if (pid > 0)
			kill(pid, SIGKILL);
	}
	json_decref(list);
	api_hang_up(&c);
	memset(pagodad_more, 0, sizeof(pagodad_more));
	pagodad_tear_down();
}

/* --- SSH --- */

/* An sshd that knows one account, root, whose home is the test's directory. */
static void start_sshd(void)
{
	char command[1200], folder[600];
	write_file("passwd", 0644, "root:*:0:0::%s:/bin/bash\nsshd:*:65533:65534::/run/sshd:/usr/sbin/nologin\n",
		   pagodad_directory);
	write_file("shadow", 0600, "root:*:1::::::\nsshd:*:1::::::\n");
	snprintf(command, sizeof(command),
		 "cd %s && ssh-keygen -q -t ed25519 -N '' -f host-key && ssh-keygen -q -t ed25519 -N '' -f key && cp key.pub "
		 "allowed",
		 pagodad_directory);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	free_port();
	snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(helper, '/') - helper), helper);
	write_file("sshd_config", 0600,
		   "ListenAddress 127.0.0.1\nPort %u\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nUsePAM no\nStrictModes no\n"
		   "PermitRootLogin prohibit-password\nPasswordAuthentication no\nUseDNS no\n"
		   "SetEnv PATH=%s:%s:/usr/bin:/bin PAGODA_LIBVIRT=%s\n",
		   port, path_of("host-key"), path_of("allowed"), folder, path_of("other"), pagodad_run);
	write_file("ssh", 0700, "#!/bin/sh\nexec ssh -F /dev/null -o UserKnownHostsFile=%s -o IdentitiesOnly=yes \"$@\"\n",
		   path_of("known"));
	snprintf(command, sizeof(command),
		 "mount --bind %s /etc/passwd && mount --bind %s /etc/shadow && mount -t tmpfs none /run && "
		 "mkdir -m 755 /run/sshd && exec %s -D -e -f %s 2>%s",
		 path_of("passwd"), path_of("shadow"), sshd_program, path_of("sshd_config"), path_of("sshd.log"));
	sshd_pid = fork();
	ck_assert_int_ge(sshd_pid, 0);
	if (sshd_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("unshare", "unshare", "--mount", "--propagation", "private", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < SOON_MS / 20; i++) {
		int fd = knock();
		if (fd >= 0) {
			close(fd);
			return;
		}
		usleep(20000);
	}
	ck_abort_msg("sshd does not listen; see %s", path_of("sshd.log"));
}

static void set_up_ssh(void)
{
	set_up();
	start_sshd();
	pagodad_start(NULL);
}

static void tear_down_ssh(void)
{
	kill(sshd_pid, SIGKILL);
	waitpid(sshd_pid, NULL, 0);
	tear_down();
}

static void by_ssh(const char *scheme, const char *more)
{
	snprintf(uri, sizeof(uri), "%s+ssh://root@127.0.0.1:%u/system?keyfile=%s&no_verify=1&command=%s%s", scheme, port,
		 path_of("key"), path_of("ssh"), more);
}

START_TEST(virsh_drives_guests_by_ssh)
{
	struct api_connection c = api_connect("api");
	char more[200];
	by_ssh("qemu", "");
	virsh("Domain 'a' defined", "define %s", xml_of("a"));
	virsh("started", "start a");
	api_expect(&c, "a", "state", "running");
	virsh("Max memory:     49152 KiB", "dominfo a");
	virsh("memory.elf", "dumpxml a");
	by_ssh("pagoda", "");
	virsh("running", "list");
	/* With a path, clients run netcat in place of the helper. */
	snprintf(more, sizeof(more), "&socket=%s/virtpagodad-sock", pagodad_run);
	by_ssh("qemu", more);
	virsh("suspended", "suspend a");
	virsh("destroyed", "destroy a");
	api_expect(&c, "a", "state", "stopped");
	virsh("undefined", "undefine a");
	api_hang_up(&c);
	expect_helpers(0);
}
END_TEST

START_TEST(who_only_looks_by_ssh_is_led_to_the_socket_for_that)
{
	char command[900];
	by_ssh("qemu", "");
	virsh("defined", "define %s", xml_of("a"));
	virsh("shut off", "-r list --all");
	virsh_fails("read only access prevents", "-r undefine a");
	/* A key that is for nothing else, whatever its owner asks for. */
	snprintf(command, sizeof(command), "sed -i 's|^|command=\"virt-ssh-helper -r qemu:///system\",restrict |' %s",
		 path_of("allowed"));
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	virsh("shut off", "list --all");
	virsh_fails("read-only connection", "undefine a");
	ck_assert_int_eq(rename(path_of("key.pub"), path_of("allowed")), 0);
	/* Without the client's own mind: the other socket alone is what the helper is led to. */
	ck_assert_int_eq(unlink(path_of("run/virtpagodad-sock-ro")), 0);
	virsh_fails("there is no virtpagodad-sock-ro", "-r list --all");
	virsh("shut off", "list --all");
	snprintf(command, sizeof(command), "PAGODA_LIBVIRT=%s %s lxc:/// </dev/null 2>&1 | grep -q 'is not for Pagoda'",
		 pagodad_run, helper);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
}
END_TEST

START_TEST(nothing_is_left_of_a_client_that_has_gone)
{
	char command[1200];
	by_ssh("qemu", "");
	virsh("defined", "define %s", xml_of("a"));
	snprintf(command, sizeof(command), "timeout -s KILL 60 virsh -c '%s' event --all --loop >%s 2>&1 & echo $! >%s", uri,
		 path_of("events"), path_of("pid"));
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	expect_helpers(1);
	snprintf(command, sizeof(command), "pkill -KILL -P $(cat %s)", path_of("pid"));
	for (int i = 0; i < SOON_MS / 20 && system(command) != 0; i++) // NOLINT(cert-env33-c)
		usleep(20000);
	expect_helpers(0);
	/* And a daemon that goes takes its helpers along. */
	snprintf(command, sizeof(command), "timeout 60 virsh -k 0 -c '%s' event --all --loop >%s 2>&1 &", uri, path_of("events"));
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	expect_helpers(1);
	pagodad_end(SIGTERM);
	expect_helpers(0);
	pagodad_start(NULL);
	virsh("shut off", "list --all");
}
END_TEST

START_TEST(the_helper_steps_aside_for_libvirts_own)
{
	by_ssh("qemu", "");
	virsh("Id", "list");
	ck_assert_int_eq(mkdir(path_of("other"), 0755), 0);
	write_file("other/virt-ssh-helper", 0755, "#!/bin/sh\nexit 1\n");
	virsh_fails("libvirt's own is installed", "list");
}
END_TEST

START_TEST(the_helper_is_not_installed_over_or_beside_libvirts_own)
{
	static const char script[] = "scripts/install-ssh-helper";
	const char *root = pagodad_directory;
	ck_assert_int_eq(shell("%s %s %s /usr/local", script, helper, root), 0);
	ck_assert_int_eq(shell("cmp %s %s/usr/local/bin/virt-ssh-helper", helper, root), 0);
	ck_assert_int_eq(shell("%s --remove %s /usr/local", script, root), 0);
	ck_assert_int_ne(access(path_of("usr/local/bin/virt-ssh-helper"), F_OK), 0);
	ck_assert_int_eq(shell("mkdir -p %s/usr/bin", root), 0);
	write_file("usr/bin/virt-ssh-helper", 0755, "another one\n");
	ck_assert_int_eq(shell("%s %s %s /usr/local 2>&1 | grep -q \"libvirt's own %s/usr/bin/virt-ssh-helper stays\"", script,
			       helper, root, root),
			 0);
	ck_assert_int_ne(access(path_of("usr/local/bin/virt-ssh-helper"), F_OK), 0);
	ck_assert_int_eq(shell("%s %s %s /usr 2>/dev/null && %s --remove %s /usr", script, helper, root, script, root), 0);
	ck_assert_int_eq(shell("grep -q 'another one' %s/usr/bin/virt-ssh-helper", root), 0);
	pagodad_start(NULL); /* which the tear-down asks */
}
END_TEST

/* --- TLS --- */

static void make_client(const struct tls_authority *authority, const char *name, int days)
{
	tls_make_certificate(authority, name, GNUTLS_KP_TLS_WWW_CLIENT, NULL, days, path_of("pki/clientcert.pem"),
			     path_of("pki/clientkey.pem"));
}

static void set_up_tls(void)
{
	static char options[5][260];
	set_up();
	ck_assert_int_eq(mkdir(path_of("pki"), 0700), 0);
	tls_make_authority("CN=ours", &ours);
	tls_make_authority("CN=theirs", &theirs);
	tls_write_authority(&ours, path_of("pki/cacert.pem"));
	tls_make_certificate(&ours, "CN=localhost", GNUTLS_KP_TLS_WWW_SERVER, "localhost", 30, path_of("cert"),
			     path_of("cert-key"));
	make_client(&ours, "CN=admin,O=Example", 30);
	free_port();
	snprintf(options[0], sizeof(options[0]), "--tls=127.0.0.1:%u", port);
	snprintf(options[1], sizeof(options[1]), "--tls-ca=%s", path_of("pki/cacert.pem"));
	snprintf(options[2], sizeof(options[2]), "--tls-cert=%s", path_of("cert"));
	snprintf(options[3], sizeof(options[3]), "--tls-key=%s", path_of("cert-key"));
	for (unsigned i = 0; i < 4; i++)
		pagodad_more[i] = options[i];
	pagodad_start(NULL);
	snprintf(uri, sizeof(uri), "qemu+tls://localhost:%u/system?pkipath=%s", port, path_of("pki"));
}

static void tear_down_tls(void)
{
	tear_down();
	tls_free_authority(&ours);
	tls_free_authority(&theirs);
}

START_TEST(virsh_drives_guests_by_tls)
{
	struct api_connection c = api_connect("api");
	virsh("Domain 'a' defined", "define %s", xml_of("a"));
	virsh("started", "start a");
	api_expect(&c, "a", "state", "running");
	virsh("memory.elf", "dumpxml a");
	virsh("state.state=1", "domstats a");
	snprintf(uri, sizeof(uri), "pagoda+tls://localhost:%u/system?pkipath=%s", port, path_of("pki"));
	virsh("running", "list");
	virsh_fails("read only access prevents", "-r destroy a");
	virsh("destroyed", "destroy a");
	api_expect(&c, "a", "state", "stopped");
	api_hang_up(&c);
}
END_TEST

START_TEST(virsh_without_a_right_certificate_is_refused)
{
	virsh("Id", "list");
	make_client(&theirs, "CN=admin,O=Example", 30);
	strcat(uri, "&no_sanity=1"); /* or virsh itself would not even try */
	virsh_fails("", "list");
	make_client(&ours, "CN=admin,O=Example", -2);
	virsh_fails("", "list");
	ck_assert_int_eq(unlink(path_of("pki/clientcert.pem")), 0);
	ck_assert_int_eq(unlink(path_of("pki/clientkey.pem")), 0);
	virsh_fails("", "list");
	make_client(&ours, "CN=visitor,O=Example", 30);
	virsh("Id", "list");
	pagodad_end(SIGTERM);
	pagodad_start("--tls-allow=O=Example,CN=ad*");
	virsh_fails("", "list");
	make_client(&ours, "CN=admin,O=Example", 30);
	virsh("Id", "list");
}
END_TEST

START_TEST(who_stalls_at_the_door_harms_nobody)
{
	int fds[KNOCKING];
	char local[512];
	struct api_connection c = api_connect("api");
	for (unsigned i = 0; i < KNOCKING; i++) {
		fds[i] = knock();
		ck_assert_int_ge(fds[i], 0);
		ck_assert_int_eq(write(fds[i], "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", i % 12), i % 12);
	}
	virsh("Domain 'a' defined", "define %s", xml_of("a"));
	virsh("started", "start a");
	snprintf(local, sizeof(local), "qemu+unix:///system?socket=%s/virtpagodad-sock", pagodad_run);
	strcpy(uri, local);
	virsh("running", "list");
	api_expect(&c, "a", "state", "running");
	for (unsigned i = 0; i < KNOCKING; i++)
		close(fds[i]);
	api_hang_up(&c);
}
END_TEST

/* --- sockets on this machine --- */

/* As another user, in no group but this. */
__attribute__((format(printf, 4, 5))) static int virsh_as(unsigned user, unsigned group, const char *socket, const char *format,
							  ...)
{
	char words[400], command[1200];
	size_t len = 0, got;
	va_list values;
	va_start(values, format);
	vsnprintf(words, sizeof(words), format, values);
	va_end(values);
	snprintf(command, sizeof(command),
		 "HOME=/nowhere timeout 60 setpriv --reuid %u --regid %u --clear-groups virsh -c "
		 "'qemu+unix:///system?socket=%s/%s' %s 2>&1",
		 user, group, pagodad_run, socket, words);
	FILE *pipe = popen(command, "r"); // NOLINT(cert-env33-c)
	ck_assert_ptr_nonnull(pipe);
	while (len < sizeof(said) - 1 && (got = fread(said + len, 1, sizeof(said) - 1 - len, pipe)) > 0)
		len += got;
	said[len] = '\0';
	return pclose(pipe);
}

static void expect_logged(const char *file, const char *text)
{
	char log[16384];
	FILE *f = fopen(path_of(file), "r");
	ck_assert_ptr_nonnull(f);
	log[fread(log, 1, sizeof(log) - 1, f)] = '\0';
	fclose(f);
	ck_assert_msg(strstr(log, text) != NULL, "%s is not in: %s", text, log);
}

START_TEST(a_group_may_do_what_others_may_only_look_at_and_who_did_it_is_logged)
{
	enum { USER = 65534, GROUP = 100, NO_GROUP = 65534 };
	int err_fd = dup(STDERR_FILENO), log_fd = open(path_of("log"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert(err_fd >= 0 && log_fd >= 0 && dup2(log_fd, STDERR_FILENO) >= 0);
	pagodad_more[0] = "--group=users";
	pagodad_start("--verbose");
	ck_assert(dup2(err_fd, STDERR_FILENO) >= 0 && close(err_fd) == 0 && close(log_fd) == 0);
	ck_assert_int_eq(chmod(pagodad_directory, 0711), 0);
	ck_assert_int_eq(chmod(xml_of("a"), 0644), 0);
	ck_assert_int_ne(virsh_as(USER, NO_GROUP, "virtpagodad-sock", "list"), 0);
	ck_assert_msg(strstr(said, "Permission denied") != NULL, "%s", said);
	ck_assert_msg(virsh_as(USER, NO_GROUP, "virtpagodad-sock-ro", "list") == 0, "%s", said);
	ck_assert_int_ne(virsh_as(USER, NO_GROUP, "virtpagodad-sock-ro", "define %s", path_of("a.xml")), 0);
	ck_assert_msg(strstr(said, "read-only connection") != NULL, "%s", said);
	ck_assert_msg(virsh_as(USER, GROUP, "virtpagodad-sock", "define %s", path_of("a.xml")) == 0, "%s", said);
	ck_assert_msg(virsh_as(USER, GROUP, "virtpagodad-sock", "undefine a") == 0, "%s", said);
	expect_logged("log", "define a: asked for by user 65534, process ");
	expect_logged("log", "undefine a: asked for by user 65534, process ");
	expect_logged("log", "comes, to look only: user 65534, process ");
}
END_TEST

/* --- polkit --- */

static pid_t polkit_pid;

/* A system bus and a polkitd of the test's own, which know one rule, and our action. */
static void start_polkit(void)
{
	char command[2000];
	ck_assert_int_eq(chmod(pagodad_directory, 0711), 0);
	ck_assert_int_eq(mkdir(path_of("rules"), 0755), 0);
	write_file("rules/10-test.rules", 0644,
		   "polkit.addRule(function(action, subject) {\n"
		   "	if (action.id == 'org.libvirt.unix.manage' && subject.user == 'games') return polkit.Result.YES;\n"
		   "	if (action.id == 'org.libvirt.unix.manage' && subject.user == 'man') return polkit.Result.NO;\n});\n");
	write_file("bus.conf", 0644,
		   "<busconfig><type>system</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth><policy context='default'>"
		   "<allow user='*'/><allow own='*'/><allow send_type='method_call'/><allow send_type='signal'/>"
		   "<allow send_requested_reply='true' send_type='method_return'/><allow send_requested_reply='true' "
		   "send_type='error'/><allow receive_type='method_call'/><allow receive_type='method_return'/>"
		   "<allow receive_type='error'/><allow receive_type='signal'/></policy></busconfig>\n",
		   path_of("bus"));
	snprintf(command, sizeof(command),
		 "mount --bind %s /etc/polkit-1/rules.d && mount --bind \"$PWD/polkit\" /usr/share/polkit-1/actions || exit 1; "
		 "setpriv --pdeathsig KILL dbus-daemon --config-file=%s --nofork --nopidfile & while [ ! -S %s ]; do sleep .02; "
		 "done; "
		 "exec /usr/lib/polkit-1/polkitd --no-debug",
		 path_of("rules"), path_of("bus.conf"), path_of("bus"));
	snprintf(bus_address, sizeof(bus_address), "unix:path=%s", path_of("bus"));
	ck_assert_int_eq(setenv("DBUS_SYSTEM_BUS_ADDRESS", bus_address, 1), 0);
	polkit_pid = fork();
	ck_assert_int_ge(polkit_pid, 0);
	if (polkit_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		setpgid(0, 0);
		execlp("unshare", "unshare", "--mount", "--propagation", "private", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	for (int i = 0; i < SOON_MS / 50; i++) {
		if (shell("pkaction --action-id org.libvirt.unix.manage >/dev/null 2>&1") == 0)
			return;
		usleep(50000);
	}
	ck_abort_msg("polkitd does not know the action");
}

static void set_up_polkit(void)
{
	set_up();
	start_polkit();
	pagodad_start("--polkit");
}

static void tear_down_polkit(void)
{
	kill(-polkit_pid, SIGKILL);
	waitpid(polkit_pid, NULL, 0);
	tear_down();
}

START_TEST(polkit_says_who_may_come_in)
{
	enum { GAMES = 5, MAN = 6, NOBODY = 65534, GROUP = 65534 };
	ck_assert_int_eq(chmod(xml_of("a"), 0644), 0);
	ck_assert_msg(virsh_as(GAMES, GROUP, "virtpagodad-sock", "define %s", path_of("a.xml")) == 0, "%s", said);
	ck_assert_msg(virsh_as(0, 0, "virtpagodad-sock", "dominfo a") == 0, "%s", said);
	ck_assert_int_ne(virsh_as(MAN, GROUP, "virtpagodad-sock", "undefine a"), 0);
	ck_assert_msg(strstr(said, "polkit does not authorize you") != NULL, "%s", said);
	ck_assert_int_ne(virsh_as(NOBODY, GROUP, "virtpagodad-sock", "undefine a"), 0);
	ck_assert_msg(strstr(said, "there is no agent") != NULL, "%s", said);
	ck_assert_msg(virsh_as(NOBODY, GROUP, "virtpagodad-sock-ro", "list --all") == 0, "%s", said);
	/* Nobody is let in when nobody can be asked. */
	kill(-polkit_pid, SIGKILL);
	ck_assert_int_ne(virsh_as(GAMES, GROUP, "virtpagodad-sock", "undefine a"), 0);
	ck_assert_msg(strstr(said, "polkit") != NULL, "%s", said);
	ck_assert_msg(virsh_as(0, 0, "virtpagodad-sock", "undefine a") == 0, "%s", said);
}
END_TEST

/* --- sockets of systemd --- */

/* As systemd does it. */
static void start_activated(void)
{
	static const char *const names[] = {"run/virtpagodad-sock", "run/virtpagodad-sock-ro"};
	struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
	int fds[3];
	ck_assert_int_eq(mkdir(pagodad_run, 0755), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		strcpy(address.sun_path, path_of(names[i]));
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert(bind(fds[i], (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fds[i], 8) == 0);
	}
	fds[2] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert(bind(fds[2], (struct sockaddr *)&inet, sizeof(inet)) == 0 && listen(fds[2], 8) == 0);
	pagodad_pid = fork();
	ck_assert_int_ge(pagodad_pid, 0);
	if (pagodad_pid == 0) {
		char pid[20];
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int i = 0; i < 3; i++)
			fds[i] = fcntl(fds[i], F_DUPFD, 100);
		for (int i = 0; i < 3; i++)
			dup2(fds[i], 3 + i);
		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		setenv("LISTEN_PID", pid, 1);
		setenv("LISTEN_FDS", "3", 1);
		setenv("LISTEN_FDNAMES", "libvirt:libvirt-ro:libvirt-tls", 1);
		pagodad_exec(NULL);
	}
	for (unsigned i = 0; i < 3; i++)
		close(fds[i]);
	close(pagodad_connect());
}

START_TEST(sockets_of_systemd_are_taken_over)
{
	char tls_uri[512], command[200];
	const char *tls_option = pagodad_more[0];
	strcpy(tls_uri, uri);
	pagodad_end(SIGTERM);
	snprintf(command, sizeof(command), "rm -rf %s", pagodad_run);
	ck_assert_int_eq(system(command), 0); // NOLINT(cert-env33-c)
	pagodad_more[0] = "--budget=1G";      /* in place of --tls */
	start_activated();
	virsh("Id", "list");
	snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s/virtpagodad-sock", pagodad_run);
	virsh("defined", "define %s", xml_of("a"));
	snprintf(uri, sizeof(uri), "qemu+unix:///system?socket=%s/virtpagodad-sock-ro", pagodad_run);
	virsh("shut off", "list --all");
	virsh_fails("read-only connection", "undefine a");
	pagodad_end(SIGTERM);
	/* They are the manager's. */
	ck_assert_int_eq(access(path_of("run/virtpagodad-sock"), F_OK), 0);
	ck_assert_int_eq(unlink(path_of("run/virtpagodad-sock")), 0);
	ck_assert_int_eq(unlink(path_of("run/virtpagodad-sock-ro")), 0);
	pagodad_more[0] = tls_option;
	pagodad_start(NULL);
	strcpy(uri, tls_uri);
	virsh("shut off", "list --all");
}
END_TEST

/* NULL: it is there. Otherwise why not. */
static const char *find_sshd(void)
{
	static char line[300];
	if (getuid() != 0)
		return "only root can give an sshd accounts of its own";
	FILE *pipe = popen("tests/native/sshd.sh 2>&1", "r"); // NOLINT(cert-env33-c)
	if (!pipe || !fgets(line, sizeof(line), pipe))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (!pipe || pclose(pipe) != 0)
		return line;
	strcpy(sshd_program, line);
	/* Within a container there may be no namespaces. */
	return system("unshare --mount true 2>/dev/null") == 0 ? NULL
							       : "mount namespaces cannot be made here"; // NOLINT(cert-env33-c)
}

int main(void)
{
	Suite *suite = suite_create("virsh from another machine");
	TCase *ssh = tcase_create("ssh"), *tls = tcase_create("tls"), *rights = tcase_create("rights"),
	      *polkit = tcase_create("polkit");
	const char *why = find_sshd();
	if (why)
		printf("skipped: SSH: %s\n", why);
	tcase_set_timeout(ssh, 120);
	tcase_add_checked_fixture(ssh, set_up_ssh, tear_down_ssh);
	if (!why) {
		tcase_add_test(ssh, virsh_drives_guests_by_ssh);
		tcase_add_test(ssh, who_only_looks_by_ssh_is_led_to_the_socket_for_that);
		tcase_add_test(ssh, nothing_is_left_of_a_client_that_has_gone);
		tcase_add_test(ssh, the_helper_steps_aside_for_libvirts_own);
	}
	suite_add_tcase(suite, ssh);
	tcase_set_timeout(tls, 120);
	tcase_add_checked_fixture(tls, set_up_tls, tear_down_tls);
	tcase_add_test(tls, virsh_drives_guests_by_tls);
	tcase_add_test(tls, virsh_without_a_right_certificate_is_refused);
	tcase_add_test(tls, who_stalls_at_the_door_harms_nobody);
	tcase_add_test(tls, sockets_of_systemd_are_taken_over);
	suite_add_tcase(suite, tls);
	tcase_set_timeout(rights, 60);
	tcase_add_checked_fixture(rights, set_up, tear_down);
	tcase_add_test(rights, the_helper_is_not_installed_over_or_beside_libvirts_own);
	if (getuid() == 0)
		tcase_add_test(rights, a_group_may_do_what_others_may_only_look_at_and_who_did_it_is_logged);
	suite_add_tcase(suite, rights);
	tcase_set_timeout(polkit, 60);
	tcase_add_checked_fixture(polkit, set_up_polkit, tear_down_polkit);
	why = getuid() != 0                                     ? "only root can start a polkitd"
	      : access("/usr/lib/polkit-1/polkitd", X_OK) != 0  ? "polkitd is not installed"
	      : system("unshare --mount true 2>/dev/null") != 0 ? "mount namespaces cannot be made here" // NOLINT(cert-env33-c)
								: NULL;
	if (why)
		printf("skipped: polkit: %s\n", why);
	else
		tcase_add_test(polkit, polkit_says_who_may_come_in);
	suite_add_tcase(suite, polkit);
	return vm_process_run_suite(suite);
}
