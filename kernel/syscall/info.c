/* SPDX-License-Identifier: MIT */
/* What the system is and how it does: uname, sysinfo, host name, ending it. */
#include "kernel/proc/internal.h"
#include <kernel/boot.h>
#include <kernel/uaccess.h>
#include <mem/pmm.h>

#include "kernel/syscall/syscalls.h"

#define UTS_FIELD 65

char proc_nodename[UTS_FIELD] = "quire";
char proc_domainname[UTS_FIELD] = "(none)";

struct utsname_user {
	char sysname[UTS_FIELD], nodename[UTS_FIELD], release[UTS_FIELD], version[UTS_FIELD],
	    machine[UTS_FIELD], domainname[UTS_FIELD];
};

long sys_uname(uint64_t at)
{
	struct utsname_user u;
	memset(&u, 0, sizeof(u));
	/* Programs refuse to start on what they do not know: the interface is Linux's, so
	 * its name is Linux; the release says whose it is. */
	kstrlcpy(u.sysname, "Linux", UTS_FIELD);
	kstrlcpy(u.release, "6.1.0-quire", UTS_FIELD);
	kstrlcpy(u.version, "#1 SMP Quire", UTS_FIELD);
	kstrlcpy(u.machine, "x86_64", UTS_FIELD);
	unsigned long irq = proc_lock();
	memcpy(u.nodename, proc_nodename, UTS_FIELD);
	memcpy(u.domainname, proc_domainname, UTS_FIELD);
	proc_unlock(irq);
	if (current_process()->personality & 0x0020000) /* UNAME26 */
		kstrlcpy(u.release, "2.6.60-quire", UTS_FIELD);
	return copy_to_user(at, &u, sizeof(u));
}

static long set_name(char *to, uint64_t at, uint64_t bytes)
{
	char name[UTS_FIELD] = {0};
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if ((int64_t)bytes < 0 || bytes >= UTS_FIELD)
		return -EINVAL;
	if (copy_from_user(name, at, bytes))
		return -EFAULT;
	unsigned long irq = proc_lock();
	memcpy(to, name, UTS_FIELD);
	proc_unlock(irq);
	return 0;
}

long sys_sethostname(uint64_t at, uint64_t bytes)
{
	return set_name(proc_nodename, at, (uint64_t)(int64_t)(int)bytes);
}

long sys_setdomainname(uint64_t at, uint64_t bytes)
{
	return set_name(proc_domainname, at, (uint64_t)(int64_t)(int)bytes);
}

struct sysinfo_user {
	int64_t uptime;
	uint64_t loads[3], totalram, freeram, sharedram, bufferram, totalswap, freeswap;
	uint16_t procs, pad;
	uint64_t totalhigh, freehigh;
	uint32_t mem_unit;
};

long sys_sysinfo(uint64_t at)
{
	struct sysinfo_user info;
	struct pmm_stats frames;
	uint32_t loads[3], tasks;
	memset(&info, 0, sizeof(info));
	pmm_get_stats(kernel_pmm, &frames);
	sched_get_loadavg(loads);
	process_counts(NULL, &tasks, NULL);
	info.uptime = (int64_t)(time_monotonic() / NSEC_PER_SEC);
	for (unsigned i = 0; i < 3; i++)
		info.loads[i] = (uint64_t)loads[i] << 5; /* from 1/2048 to 1/65536 */
	info.totalram = frames.total * PAGE_SIZE;
	info.freeram = (frames.free + frames.records) * PAGE_SIZE; /* as MemFree in /proc/meminfo */
	info.procs = (uint16_t)mem_min(tasks, (uint32_t)UINT16_MAX);
	info.mem_unit = 1;
	return copy_to_user(at, &info, sizeof(info));
}

#define REBOOT_MAGIC1    0xfee1dead
#define REBOOT_RESTART   0x01234567
#define REBOOT_HALT      0xcdef0123
#define REBOOT_POWER_OFF 0x4321fedc
#define REBOOT_CAD_OFF   0
#define REBOOT_CAD_ON    0x89abcdef

/* Everything lives in memory, so there is nothing to save first. */
long sys_reboot(uint64_t magic1, uint64_t magic2, uint64_t command, uint64_t arg)
{
	(void)arg;
	uint32_t second = (uint32_t)magic2;
	if (!capable(CAP_SYS_BOOT))
		return -EPERM;
	if ((uint32_t)magic1 != REBOOT_MAGIC1 || (second != 672274793 && second != 85072278 &&
						  second != 369367448 && second != 537993216))
		return -EINVAL;
	switch ((uint32_t)command) {
	case REBOOT_RESTART:
	case REBOOT_HALT:
	case REBOOT_POWER_OFF:
		machine_exit(0);
	case REBOOT_CAD_OFF: /* there is no Ctrl-Alt-Del to turn on or off */
	case REBOOT_CAD_ON:
		return 0;
	default:
		return -EINVAL;
	}
}
