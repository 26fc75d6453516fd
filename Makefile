# Pagoda. `make help` lists what there is to make. Objects lie under build/, or build/SAN with SAN=address|thread|undefined.
ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang-14
PREFIX ?= /usr/local
UNITS ?= /etc/systemd/system
ACTIONS ?= /usr/share/polkit-1/actions
SAN ?=
BUILD := build$(addprefix /,$(SAN))

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$@")

CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Werror
# libev and the devices view one structure as another that begins with it: no type-based aliasing.
BASE_CFLAGS := -std=gnu11 -D_GNU_SOURCE -I. -isystem /usr/include/libxml2 -fno-strict-aliasing -pthread -fPIE $(WARN)
HARDEN := -fstack-protector-strong -D_FORTIFY_SOURCE=2
SAN_CFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer -DDEBUG,$(HARDEN))
ALL_CFLAGS := $(BASE_CFLAGS) $(CFLAGS) $(SAN_CFLAGS)
LDLIBS := -lev -luring -ljansson -lncursesw -ltinfo -lxml2 -l:liblz4.a -lzstd -lsodium -ldl -lm
ALL_LDFLAGS := -pie -Wl,-z,relro -Wl,--as-needed $(LDFLAGS)

# Layers, lowest first; what each may include is in scripts/layers.txt.
LAYERS := base hv memmgr virtio balloon dedup vmm
VMM_LAYERS := base hv memmgr virtio balloon vmm
# The daemon, the admin's command, and what clients of libvirt run by SSH are programs on the lower ones.
SRCS := $(sort $(wildcard $(LAYERS:%=%/*.c) host/*.c rpc/*.c libvirt/*.c daemon/*.c cli/*.c remote/*.c))
OBJS := $(SRCS:%.c=$(BUILD)/%.o) $(BUILD)/vmm/dsdt_table.o
MAINS := vmm/main.o daemon/main.o cli/main.o remote/main.o
# All but main, for tests; programs take from it what they use of dedup/. An archive, so that a test with a fake of its own
# (tests/unit/fake_machine.h) leaves the real one out.
PARTS := $(BUILD)/libparts.a

UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
NATIVE_TESTS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/native/test_*.c))
UNIT_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c)))
NATIVE_SHARED := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/native/test_%.c,$(wildcard tests/native/*.c)))
CHECK_LIBS := -lcheck -lsubunit -lrt -lpthread -lgnutls
FUZZERS := $(patsubst tests/fuzz/%.c,build/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

all: $(BUILD)/pagoda-vmm $(BUILD)/pagodad $(BUILD)/pagoda $(BUILD)/virt-ssh-helper ## build everything that is installed

$(BUILD)/pagoda-vmm: $(filter $(VMM_LAYERS:%=$(BUILD)/%/%),$(OBJS)) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/pagodad: $(filter $(BUILD)/host/% $(BUILD)/rpc/% $(BUILD)/libvirt/% $(BUILD)/daemon/%,$(OBJS)) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/pagoda: $(filter $(BUILD)/cli/%,$(OBJS)) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/virt-ssh-helper: $(filter $(BUILD)/remote/%,$(OBJS)) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The interpreted ACPI table, as an array: iasl writes C, to which only `const` and the size are added.
$(BUILD)/vmm/dsdt_table.c: vmm/dsdt.asl
	@mkdir -p $(@D)
	$(call say,IASL)
	$(Q)iasl -va -p $(BUILD)/vmm/dsdt -tc $< >$(BUILD)/vmm/dsdt.log 2>&1 || { cat $(BUILD)/vmm/dsdt.log; exit 1; }
	$(Q)sed 's/^unsigned char/extern const unsigned char dsdt_aml_code[];\nextern const unsigned int dsdt_aml_size;\nconst unsigned char/' \
		$(BUILD)/vmm/dsdt.hex >$@
	$(Q)echo 'const unsigned int dsdt_aml_size = sizeof(dsdt_aml_code);' >>$@

$(BUILD)/vmm/dsdt_table.o: $(BUILD)/vmm/dsdt_table.c
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

include dedup/dedup.mk
include tests/guests/guests.mk
include tests/native/soak.mk

# --- tests ---

$(PARTS): $(filter-out $(MAINS:%=$(BUILD)/%),$(OBJS))
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@.$$$$ $^ && mv $@.$$$$ $@

include bench/memory/memory.mk
include bench/dedup/dedup.mk
include bench/arbiter/arbiter.mk
include bench/libvirt/libvirt.mk
include bench/density/density.mk

$(UNIT_TESTS): $(BUILD)/%: $(BUILD)/%.o $(UNIT_SHARED) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LDLIBS)

$(NATIVE_TESTS): $(BUILD)/%: $(BUILD)/%.o $(NATIVE_SHARED) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(CHECK_LIBS) $(LDLIBS)

# Prints where a guest would be placed, for scenarios.
$(BUILD)/tests/rig/place: $(BUILD)/tests/rig/place.o $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# A guest's service and load, for scenarios: it runs in the guests.
$(BUILD)/tests/rig/guest-load: tests/rig/guest-load.c
	@mkdir -p $(@D)
	$(call say,LD)
	$(Q)$(CC) $(BASE_CFLAGS) $(CFLAGS) -static -o $@ $<

unit-tests: $(UNIT_TESTS)
# They start the daemon that lies two folders above them.
$(filter $(BUILD)/tests/unit/test_pagodad% $(BUILD)/tests/unit/test_api,$(UNIT_TESTS)): | $(BUILD)/pagodad $(BUILD)/pagoda-vmm
native-tests: $(NATIVE_TESTS) $(BUILD)/pagoda-vmm $(BUILD)/pagodad $(BUILD)/virt-ssh-helper guests

check: ## set up, build, and run every test
	@scripts/setup build test
	@tests/check

check-unit: unit-tests ## run the unit tests (with SAN=address, thread or undefined under that sanitizer)
	@tests/run-unit $(UNIT_TESTS)

check-native: native-tests ## run micro-guests on this machine's /dev/kvm
	@tests/run-unit $(NATIVE_TESTS)

check-rig: ## run Debian guests, in nested KVM where this machine has no other; RIG='linux-* reboot' picks scenarios
	@scripts/setup build rig
	@$(MAKE) --no-print-directory all $(BUILD)/tests/rig/place $(BUILD)/tests/rig/guest-load
	@tests/rig/rig run $(RIG)

# --- fuzzing ---

FUZZ_CFLAGS := $(BASE_CFLAGS) -O1 -g -DDEBUG -fsanitize=address,undefined -fno-sanitize-recover=all
FUZZ_PARTS := build/fuzz/libparts.a

build/fuzz/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CLANG)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<

build/fuzz/vmm/dsdt_table.o: build/vmm/dsdt_table.c
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -c -o $@ $<

$(FUZZ_PARTS): $(filter-out $(MAINS:%=build/fuzz/%),$(SRCS:%.c=build/fuzz/%.o)) build/fuzz/vmm/dsdt_table.o
	$(call say,AR)
	$(Q)rm -f $@ && ar rcs $@.$$$$ $^ && mv $@.$$$$ $@

$(FUZZERS): build/fuzz/%: build/fuzz/tests/fuzz/%.o $(FUZZ_PARTS)
	$(call say,LD)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer -pie -o $@ $^ $(LDLIBS)

fuzzers: $(FUZZERS)

fuzz: fuzzers ## fuzz everything, FUZZ_SECONDS each (60); FUZZ='virtq options' picks
	@tests/run-fuzz $(FUZZ)

# --- benchmarks ---

bench: ## run all benchmarks: JSON lines in build/bench/results.jsonl, plots and tables in build/bench/report.html
	@scripts/setup build test bench rig
	@$(MAKE) --no-print-directory all guests memory-benches dedup-benches arbiter-bench libvirt-bench density-benches
	@bench/run

bench-%: ## run one benchmark: bench-boot, bench-blk, bench-net, bench-evict, bench-refault-set ... (bench/*.sh)
	@scripts/setup build test bench rig
	@$(MAKE) --no-print-directory all guests memory-benches dedup-benches arbiter-bench libvirt-bench density-benches
	@bench/run $*

demo: ## install what is missing, build, and show Debian guests worth nearly three times the memory that they get
	@scripts/setup build rig
	@$(MAKE) --no-print-directory all $(BUILD)/tests/rig/guest-load
	@scripts/demo

# --- the tree itself ---

setup: ## install the Debian packages that are missing
	@scripts/setup build test bench rig

setup-desktop: ## install virt-manager and what its test needs: 370 MiB where there is no desktop yet
	@scripts/setup desktop

lint: $(BUILD)/vmm/dsdt_table.c ## check style, static analysis, and that includes point down
	@scripts/lint

format: ## lay out the sources as .clang-format says
	clang-format-14 -i $$(git ls-files '*.c' '*.h')

install: all ## install below $(DESTDIR)$(PREFIX)
	install -D -m 755 $(BUILD)/pagoda-vmm $(DESTDIR)$(PREFIX)/bin/pagoda-vmm
	install -D -m 755 $(BUILD)/pagodad $(DESTDIR)$(PREFIX)/sbin/pagodad
	install -D -m 755 $(BUILD)/pagoda $(DESTDIR)$(PREFIX)/bin/pagoda
	@scripts/install-ssh-helper $(BUILD)/virt-ssh-helper "$(DESTDIR)" $(PREFIX)
	install -D -m 644 cli/pagoda.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/pagoda
	install -D -m 644 man/pagoda.1 $(DESTDIR)$(PREFIX)/share/man/man1/pagoda.1
	install -D -m 644 man/pagodad.8 $(DESTDIR)$(PREFIX)/share/man/man8/pagodad.8
	install -D -m 644 man/pagoda-vmm.1 $(DESTDIR)$(PREFIX)/share/man/man1/pagoda-vmm.1
	install -d $(DESTDIR)$(UNITS)
	sed 's|@PREFIX@|$(PREFIX)|' systemd/pagodad.service.in >$(DESTDIR)$(UNITS)/pagodad.service
	install -m 644 $(wildcard systemd/*.socket) $(DESTDIR)$(UNITS)
	install -D -m 644 polkit/pagoda.policy $(DESTDIR)$(ACTIONS)/pagoda.policy
	install -d $(DESTDIR)$(PREFIX)/share/doc/pagoda
	install -m 644 docs/API.md docs/LIBVIRT.md $(DESTDIR)$(PREFIX)/share/doc/pagoda

uninstall: ## remove what install put there
	@scripts/install-ssh-helper --remove "$(DESTDIR)" $(PREFIX)
	rm -f $(DESTDIR)$(PREFIX)/bin/pagoda-vmm $(DESTDIR)$(PREFIX)/share/man/man1/pagoda-vmm.1 \
		$(DESTDIR)$(PREFIX)/bin/pagoda $(DESTDIR)$(PREFIX)/share/man/man1/pagoda.1 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/pagoda \
		$(DESTDIR)$(PREFIX)/sbin/pagodad $(DESTDIR)$(PREFIX)/share/man/man8/pagodad.8 \
		$(DESTDIR)$(ACTIONS)/pagoda.policy $(DESTDIR)$(UNITS)/pagodad.service $(patsubst systemd/%,$(DESTDIR)$(UNITS)/%,$(wildcard systemd/*.socket)) \
		$(DESTDIR)$(PREFIX)/share/doc/pagoda/API.md $(DESTDIR)$(PREFIX)/share/doc/pagoda/LIBVIRT.md
	[ ! -d $(DESTDIR)$(PREFIX)/share/doc/pagoda ] || rmdir --ignore-fail-on-non-empty $(DESTDIR)$(PREFIX)/share/doc/pagoda

clean: ## remove build/
	rm -rf build

help: ## list the targets
	@sed -nE 's/^([a-z%-]+):[^#]*## (.*)/  make \1\t\2/p' Makefile tests/guests/guests.mk tests/native/soak.mk | expand -t 24

.PHONY: all setup-desktop unit-tests native-tests check check-unit check-native check-rig fuzzers fuzz bench demo setup lint format install uninstall clean help
.SECONDARY:
-include $(wildcard $(OBJS:.o=.d) $(BUILD)/tests/*/*.d build/fuzz/*/*.d build/fuzz/tests/fuzz/*.d)
