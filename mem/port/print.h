/* SPDX-License-Identifier: MIT */
#ifndef MEM_PORT_PRINT_H
#define MEM_PORT_PRINT_H
#include <stdarg.h>

/* Print what mem/host.h says of formats, through mem_port_putchar, and a newline. */
void mem_port_print(const char *format, va_list args);
#endif
