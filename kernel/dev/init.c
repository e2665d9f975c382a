/* SPDX-License-Identifier: MIT */
#include <kernel/console.h>

#include "kernel/dev/dev.h"

int dev_init(void)
{
	int r = memory_devices_init();
	if (!r)
		r = random_init();
	if (!r)
		r = tty_init();
	if (!r)
		r = pty_init();
	return r ? r : uart_attach();
}
