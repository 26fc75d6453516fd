/* Guests whose Ethernet frames come back from a socket in this test. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/native/vm_process.h"

enum { TIMEOUT_MS = 40000, FRAME_MOST = 65536 };

static int listen_at(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static bool transfer(int fd, uint8_t *data, size_t len, bool is_read)
{
	ssize_t done;

	while (len) {
		done = is_read ? recv(fd, data, len, 0) : send(fd, data, len, MSG_NOSIGNAL);
		if (done <= 0)
			return false;
		data += done;
		len -= (size_t)done;
	}
	return true;
}

/* Takes one connection and sends each frame back with its addresses exchanged, until the peer closes. */
static void *echo(void *argument)
{
	static uint8_t frame[4 + FRAME_MOST];
	uint8_t address[6];
	uint32_t len;
	int fd = accept4(*(int *)argument, NULL, NULL, SOCK_CLOEXEC);

	while (fd >= 0 && transfer(fd, frame, 4, true)) {
		memcpy(&len, frame, 4);
		len = ntohl(len);
		if (len < 14 || len > FRAME_MOST || !transfer(fd, frame + 4, len, true))
			break;
		memcpy(address, frame + 4, 6);
		memcpy(frame + 4, frame + 10, 6);
		memcpy(frame + 10, address, 6);
		if (!transfer(fd, frame, 4 + len, false))
			break;
	}
	close(fd);
	return NULL;
}

START_TEST(frames_come_back_as_they_were_sent)
{
	static const char *const options[] = {"count=300 window=1", "count=1000 window=8", "count=2000 window=32"};
	const char *path = vm_process_path("net.sock");
	int listener = listen_at(path);
	char append[100];
	struct vm_process *vm;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, echo, &listener), 0);
	snprintf(append, sizeof(append), "seed=%llu %s", (unsigned long long)vm_process_seed(), options[_i]);
	vm = vm_process_start("net", append,
			      "-m 64 -netdev stream,id=n,addr.type=unix,addr.path=%s,server=off "
			      "-device virtio-net-pci,netdev=n,mac=52:54:00:aa:bb:cc",
			      path);
	vm_process_expect(vm, "net: mac 52:54:00:aa:bb:cc", TIMEOUT_MS);
	vm_process_expect_exit(vm, 0, TIMEOUT_MS);
	vm_process_end(vm);
	pthread_join(thread, NULL);
	close(listener);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("guest networks");
	TCase *tests = tcase_create("net");

	tcase_add_checked_fixture(tests, vm_process_files_make, vm_process_files_remove);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, frames_come_back_as_they_were_sent, 0, 3);
	suite_add_tcase(suite, tests);
	return vm_process_run_suite(suite);
}
