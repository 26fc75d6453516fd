# The benchmark of libvirt's protocol. Included by the top Makefile.
$(BUILD)/bench/libvirt/calls: %: %.o $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

libvirt-bench: $(BUILD)/bench/libvirt/calls

.PHONY: libvirt-bench
-include $(wildcard $(BUILD)/bench/libvirt/*.d)
