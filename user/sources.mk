# Programs for the guest: static, ET_EXEC, linked at 0x40000000. Each is one
# file and becomes /usr/local/bin/NAME (init: /init).
USER_PROGRAMS := init hello cost faults wild memory signals
USER_BIN      := $(patsubst %,$(BUILD)/user/%,$(USER_PROGRAMS))
USER_CFLAGS   := -std=gnu17 -O2 -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wno-array-bounds -MMD -MP -fno-pie -Iuser

.PHONY: user
user: $(USER_BIN)

$(BUILD)/user/%: user/%.c
	@mkdir -p $(@D)
	$(call say,CC [user],$<) $(CC) $(USER_CFLAGS) -MF $@.d -static -no-pie -s \
		-Wl,-Ttext-segment=0x40000000 -Wl,--build-id=none -o $@ $< -lpthread
