/*
 * confine_caps.c: capabilities: none.
 *
 * They belong to a thread, and who is root and executes a program gets those of the bounding set back: so that is emptied
 * too, and root made an account like any other (securebits), while there is the right to do that.
 */
#include "confine_impl.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"

#define NO_ROOT \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

static int
get(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

	return (int)syscall(SYS_capget, &head, data);
}

static int
set(const struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};

	if (syscall(SYS_capset, &head, data) == 0)
		return 0;
	log_line(LOG_ERROR, "cannot drop capabilities: %s", strerror(errno));
	return ERR_INTERNAL;
}

static int
has(const struct __user_cap_data_struct data[2], unsigned cap)
{
	return (data[cap / 32].effective >> cap % 32 & 1) != 0;
}

static void
empty_bounds(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	(void)prctl(PR_SET_SECUREBITS, NO_ROOT, 0, 0, 0);
}

void
confine_caps_bound(void)
{
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	if (get(data) == 0 && has(data, CAP_SETPCAP))
		empty_bounds();
}

int
confine_caps_keep(void)
{
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	if (get(data) != 0)
		return ERR_INTERNAL;
	for (unsigned i = 0; i < 2; i++) {
		uint32_t kept = i == CAP_NET_BIND_SERVICE / 32 ? 1u << CAP_NET_BIND_SERVICE % 32 : 0;

		data[i].permitted &= kept;
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return set(data);
}

int
confine_caps_drop(void)
{
	struct __user_cap_data_struct data[2];

	memset(data, 0, sizeof(data));
	confine_caps_bound();
	if (get(data) != 0)
		return ERR_INTERNAL;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	/* A service manager that has taken them all may forbid the call as well. */
	if (data[0].permitted == 0 && data[1].permitted == 0 && data[0].inheritable == 0 && data[1].inheritable == 0)
		return 0;
	memset(data, 0, sizeof(data));
	return set(data);
}
