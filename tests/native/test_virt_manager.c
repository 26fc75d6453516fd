/*
 * Unmodified virt-install and virt-manager on a real daemon with guests that run: virt-install makes a guest with the devices that it adds
 * unasked, and is told by name what cannot be; virt-manager's windows say what is so, and its buttons do what they say (virt_manager_session.py).
 * Pictures of the windows are kept in build/artifacts/virt-manager.
 */
#include "tests/unit/pagodad_process.h"

#include "tests/native/command.h"
#include "tests/native/vm_process.h"

static char guests_directory[VM_PROCESS_PATH_SIZE];

/* A command of the shell; what it says, errors too, is in said. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char words[2048];
	va_list values;
	va_start(values, format);
	ck_assert_int_lt(vsnprintf(words, sizeof(words), format, values), (int)sizeof(words));
	va_end(values);
	return command_run("(%s) 2>&1", words);
}

static void set_up(void)
{
	vm_process_find_guests(guests_directory);
	pagodad_set_up();
	/* Clients look for images in storage pools, of which the daemon has this one, and would make a pool of any other folder. */
	char images[100], uri[200];
	snprintf(images, sizeof(images), "--images=%s/images", pagodad_directory);
	ck_assert_int_eq(run("mkdir %s/images && cd %s/images && truncate -s 8M a b disk", pagodad_directory, pagodad_directory),
			 0);
	pagodad_start(images);
	/* Clients give guests of a session the network that they can have without anything on the host. */
	snprintf(uri, sizeof(uri), "qemu+unix:///session?socket=%s/virtpagodad-sock", pagodad_run);
	setenv("LIBVIRT_DEFAULT_URI", uri, 1);
	setenv("LC_ALL", "C.UTF-8", 1);
	setenv("HOME", pagodad_directory, 1);
}

static void tear_down(void)
{
	run("for g in $(virsh list --name); do virsh destroy $g; done");
	pagodad_tear_down();
}

/* Installs a guest that verifies its memory, and says how much it touched, until it hears a key. */
static int install(const char *name, const char *boot, const char *more)
{
	return run("timeout 60 virt-install --name %s --memory 48 --vcpus 1 --import --disk path=%s/images/%s --osinfo debian11 "
		   "--noautoconsole %s %s",
		   name, pagodad_directory, name, boot, more);
}

START_TEST(virt_install_makes_a_guest_and_is_told_what_cannot_be)
{
	char boot[700];
	snprintf(boot, sizeof(boot), "--boot 'kernel=%s/memory.elf,kernel_args=rounds=1000000000 until_key'", guests_directory);
	ck_assert_msg(install("a", boot, "") == 0, "%s", said);
	ck_assert_msg(run("virsh domstate a") == 0 && strstr(said, "running"), "%s", said);
	ck_assert_msg(run("virsh dominfo a") == 0 && strstr(said, "Max memory:     49152 KiB"), "%s", said);
	ck_assert_int_eq(run("virsh dumpxml a"), 0);
	static const char *const there[] = {"<disk ", "<interface type=\"user\">", "<rng model=\"virtio\">",
					    "<console type=\"pty\">"};
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		ck_assert_msg(strstr(said, there[i]) != NULL, "%s is not in %s", there[i], said);
	static const char *const absent[] = {"<graphics", "<video", "<sound", "<input", "<redirdev", "<channel", "<controller"};
	for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
		ck_assert_msg(!strstr(said, absent[i]), "%s is in %s", absent[i], said);
	ck_assert_int_ne(install("b", "", ""), 0);
	ck_assert_msg(strstr(said, "there is no firmware here"), "%s", said);
	ck_assert_int_ne(install("b", boot, "--tpm emulator"), 0);
	ck_assert_msg(strstr(said, "domain/devices/tpm"), "%s", said);
	ck_assert_int_ne(install("b", boot, "--watchdog default"), 0);
	ck_assert_msg(strstr(said, "domain/devices/watchdog"), "%s", said);
	ck_assert_int_ne(run("virsh dominfo b"), 0);
}
END_TEST

/* What tells virt-manager where it is, and runs the session: a screen, a bus, a home, all of its own. */
static const char screen[] =
	"export XDG_RUNTIME_DIR=%s GSETTINGS_BACKEND=memory GTK_MODULES=gail:atk-bridge; unset WAYLAND_DISPLAY XAUTHORITY; "
	"mkdir -p build/artifacts/virt-manager; exec 3>%s/display; Xvfb -displayfd 3 -screen 0 1024x768x24 -nolisten tcp "
	"2>/dev/null & xvfb=$!; "
	"for i in $(seq 100); do [ -s %s/display ] && break; sleep 0.1; done; export DISPLAY=:$(cat %s/display); "
	"timeout -k 5 100 dbus-run-session -- /usr/bin/python3 -B tests/native/virt_manager_session.py \"$LIBVIRT_DEFAULT_URI\" "
	"%s/memory.elf %s/images/disk build/artifacts/virt-manager; status=$?; kill $xvfb; wait $xvfb; exit $status";

static void define(const char *name)
{
	ck_assert_int_eq(run("echo \"<domain type='kvm'><name>%s</name><memory unit='MiB'>48</memory><vcpu>1</vcpu><os><type "
			     "arch='x86_64'>hvm</type><kernel>%s/memory.elf</kernel><cmdline>rounds=1000000000 "
			     "until_key</cmdline></os><devices>"
			     "<console type='pty'/></devices></domain>\" >%s/xml && virsh define %s/xml",
			     name, guests_directory, pagodad_directory, pagodad_directory),
			 0);
}

START_TEST(virt_manager_shows_what_is_so_and_does_what_it_says)
{
	const char *d = pagodad_directory;
	define("web");
	define("mail");
	ck_assert_msg(run("virsh start web") == 0, "%s", said);
	int status = run(screen, d, d, d, d, guests_directory, d);
	ck_assert_msg(status == 0, "status %d: %s", status, said);
}
END_TEST

int main(void)
{
	static const char is_there[] = "for program in virt-manager virt-install Xvfb dbus-run-session; do command -v $program "
				       ">/dev/null || exit 1; done; "
				       "/usr/bin/python3 -c \"import gi; gi.require_version('Atspi', '2.0'); "
				       "gi.require_version('Gtk', '3.0')\" 2>/dev/null";
	/* The desktop's packages are large, and so have a set-up of their own. */
	if (system(is_there) != 0) { // NOLINT(cert-env33-c)
		printf("skipped: virt-manager, Xvfb or the accessibility bus is not installed: make setup-desktop\n");
		return 0;
	}
	Suite *suite = suite_create("virt-manager");
	TCase *tests = tcase_create("virt-manager");
	tcase_set_timeout(tests, 180);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, virt_install_makes_a_guest_and_is_told_what_cannot_be);
	tcase_add_test(tests, virt_manager_shows_what_is_so_and_does_what_it_says);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
