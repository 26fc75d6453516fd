# Micro-guests: $(BUILD)/guests/NAME.elf for each tests/guests/NAME.c. Included by the top Makefile, which sets BUILD, CC and WARN.
GUEST_NAMES := $(patsubst tests/guests/%.c,%,$(wildcard tests/guests/*.c)) $(patsubst tests/guests/alone/%.S,%,$(wildcard tests/guests/alone/*.S))
GUESTS := $(GUEST_NAMES:%=$(BUILD)/guests/%.elf)
GUEST_LIB := $(patsubst tests/guests/%,$(BUILD)/guests/%.o,$(basename $(wildcard tests/guests/lib/*.c))) $(BUILD)/guests/boot.o
# SSE is on from the first instruction of ring 3; interrupts use their own stack, and so leave the red zone alone.
GUEST_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -nostdlib -fno-pic -fno-pie -mcmodel=small -fno-stack-protector -fcf-protection=none \
	-fno-asynchronous-unwind-tables -fno-strict-aliasing -Itests/guests \
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Werror
GUEST_LDFLAGS := -nostdlib -static -Wl,-T,tests/guests/guest.ld -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack \
	-Wl,--no-warn-rwx-segments

guests: $(GUESTS) ## build the micro-guests, which run on any /dev/kvm

$(BUILD)/guests/%.o: tests/guests/%.c
	@mkdir -p $(@D)
	$(call say,GUEST)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/guests/%.o: tests/guests/%.S
	@mkdir -p $(@D)
	$(call say,GUEST)
	$(Q)$(CC) $(GUEST_CFLAGS) -MMD -MP -c -o $@ $<

$(patsubst tests/guests/%.c,$(BUILD)/guests/%.elf,$(wildcard tests/guests/*.c)): $(BUILD)/guests/%.elf: $(BUILD)/guests/%.o $(GUEST_LIB) tests/guests/guest.ld
	$(call say,GUEST)
	$(Q)$(CC) $(GUEST_LDFLAGS) -o $@ $(filter %.o,$^)

# Guests that are a single assembly file, without library.
$(patsubst tests/guests/alone/%.S,$(BUILD)/guests/%.elf,$(wildcard tests/guests/alone/*.S)): $(BUILD)/guests/%.elf: $(BUILD)/guests/alone/%.o tests/guests/alone/alone.ld
	$(call say,GUEST)
	$(Q)$(CC) -nostdlib -static -Wl,-T,tests/guests/alone/alone.ld -Wl,--build-id=none -Wl,-z,max-page-size=4096 -o $@ $<

.PHONY: guests
-include $(wildcard $(BUILD)/guests/*.d $(BUILD)/guests/lib/*.d)
