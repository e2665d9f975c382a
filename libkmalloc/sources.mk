# The heap as a malloc to be put before programs of this machine:
#
#   make libkmalloc       build/libkmalloc.so
#   make bench-programs   real programs on it, beside other mallocs
LIBKMALLOC_SRC := libkmalloc/malloc.c libkmalloc/slots.c libkmalloc/host.c libkmalloc/area.c
