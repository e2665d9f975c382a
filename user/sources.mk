# Programs for the guest: static, ET_EXEC, linked at 0x40000000. Each is one
# file and becomes /usr/local/bin/NAME (init: /init).
# One line a subject, so that two who add programs do not meet.
USER_PROGRAMS := init now hello stress chaos exact exhaust kills latency
USER_PROGRAMS += memory faults wild pie areas counts budgets hogs
USER_PROGRAMS += signals sigframes cpuvalues secrets badelf
USER_PROGRAMS += fpu threads processes sessions groupkill rights identity trespass
USER_PROGRAMS += files descriptors events ptys listing
USER_BIN      := $(patsubst %,$(BUILD)/user/%,$(USER_PROGRAMS) cost)
USER_CFLAGS   := -std=gnu17 -O2 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wno-array-bounds -MMD -MP -fno-pie -Iuser

.PHONY: user
user: $(USER_BIN)

$(BUILD)/user/%: user/%.c
	@mkdir -p $(@D)
	$(call say,CC [user],$<) $(CC) $(USER_CFLAGS) -MF $@.d -static -s \
		-Wl,-Ttext-segment=0x40000000 -Wl,--build-id=none -o $@ $< -lpthread

# The one that is no ET_EXEC.
$(BUILD)/user/pie: user/pie.c
	@mkdir -p $(@D)
	$(call say,CC [user],$<) $(CC) $(filter-out -fno-pie,$(USER_CFLAGS)) -fpie -MF $@.d -static-pie -s -o $@ $<

# The one of several files, with its symbols: tools/vm_profile.py asks where begin() is.
COST_SRC := bench/vm.c bench/vm_memory.c bench/vm_process.c
$(BUILD)/user/cost: $(COST_SRC) bench/vm.h
	@mkdir -p $(@D)
	$(call say,CC [user],$@) $(CC) $(filter-out -MMD -MP,$(USER_CFLAGS)) -static \
		-Wl,-Ttext-segment=0x40000000 -Wl,--build-id=none -o $@ $(COST_SRC) -lpthread

# Who ends when memory has run out: every way to take it, twenty times.
.PHONY: hogs
hogs:
	$(Q)./run --memory 256M --cpus 4 -- hogs all 20
