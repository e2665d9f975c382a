# Programs for the guest: static, ET_EXEC, linked at 0x40000000. Each is one
# file and becomes /usr/local/bin/NAME (init: /init).
USER_PROGRAMS := init now hello cost faults wild memory exhaust stress pie signals sigframes cpuvalues secrets threads processes sessions rights files descriptors events ptys badelf chaos exact latency counts areas USER_PROGRAMS += identity trespass
USER_BIN      := $(patsubst %,$(BUILD)/user/%,$(USER_PROGRAMS))
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
