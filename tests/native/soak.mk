# The soak: its VMM whose kernel and disk fail now and then, and the long run. Included by the top Makefile behind guests.mk, where
# NATIVE_SHARED is set and the rules that use it are yet to come.
FAULTY_DOORS := $(BUILD)/tests/native/faulty_doors.o
FAULTY_VMM := $(BUILD)/tests/native/pagoda-vmm-faulty
SOAK := $(BUILD)/tests/native/test_guest_soak

# The doors are that VMM's, not the tests'.
NATIVE_SHARED := $(filter-out $(FAULTY_DOORS),$(NATIVE_SHARED))

$(FAULTY_VMM): $(filter $(VMM_LAYERS:%=$(BUILD)/%/%),$(OBJS)) $(FAULTY_DOORS) $(PARTS)
	$(call say,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

native-tests: $(FAULTY_VMM)

soak: $(SOAK) $(FAULTY_VMM) $(BUILD)/pagoda-vmm $(BUILD)/pagodad guests ## soak memory manager and shared pages with micro-guests for SOAK_SECONDS (600)
	@SOAK_SECONDS=$(or $(SOAK_SECONDS),600) CK_RUN_CASE=soak $(SOAK)

.PHONY: soak
