# Pagoda: see `make help`. One makefile, objects under build/ (build/asan, build/tsan, build/ubsan with SAN=address|thread|undefined).
SAN ?=
BUILD := build$(if $(SAN),/$(SAN))
CC ?= gcc
PKGS := libev liburing jansson
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Werror
ALL_CFLAGS := -std=gnu11 -D_GNU_SOURCE -I. -I$(BUILD) -fno-strict-aliasing -pthread $(WARN) $(CFLAGS) $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
LIBS := -lev -luring -ljansson -lm -lpthread

LAYERS := base hv memmgr virtio vmm
SRCS := $(foreach d,$(LAYERS),$(wildcard $(d)/*.c))
OBJS := $(SRCS:%.c=$(BUILD)/%.o)

all: $(BUILD)/pagoda-vmm

$(BUILD)/pagoda-vmm: $(OBJS)
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

clean:
	rm -rf build

.PHONY: all clean
-include $(OBJS:.o=.d)
