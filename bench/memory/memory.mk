# Programs of the memory benchmarks: $(BUILD)/bench/memory/NAME for each NAME in MEMORY_NAMES. Included by the top Makefile.
MEMORY_NAMES := evict refault scale wss store pageout parts
MEMORY_BENCHES := $(MEMORY_NAMES:%=$(BUILD)/bench/memory/%)
MEMORY_SHARED := $(addprefix $(BUILD)/bench/memory/,options.o place.o stalls.o pattern.o zipf.o)

$(BUILD)/bench/memory/pattern.o $(BUILD)/bench/memory/zipf.o: $(BUILD)/bench/memory/%.o: tests/guests/lib/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bench/memory/parts: $(BUILD)/bench/memory/parts_guest.o
$(MEMORY_BENCHES): %: %.o $(MEMORY_SHARED) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(PARTS) $(LDLIBS)

memory-benches: $(MEMORY_BENCHES)

.PHONY: memory-benches
-include $(wildcard $(BUILD)/bench/memory/*.d)
