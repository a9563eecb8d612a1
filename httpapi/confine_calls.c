/*
 * confine_calls.c: the system calls that divand, and divan-js until it closes walls of its own, can make: seccomp.
 *
 * What is allowed is named.  What is not is answered as by a kernel that does not have it (ENOSYS): the C library and
 * others that try something new go on as on an older one.  What only somebody tries who has taken over the process ends
 * it, so that there is a line in the kernel's log and no second try.
 *
 * 1. A filter sees numbers, not what pointers point to: the one program that may be executed is named by an address, of
 *    memory that nobody can write (confine_exe()).
 * 2. Listening is over: no socket is bound any more.  Sockets are those of TCP, UDP and this machine.
 * 3. divan-js inherits it, so it has what the dynamic linker, the engine's start and the making of stricter walls need;
 *    its own filter comes on top, and of two answers the kernel takes the stricter.
 */
#include "confine_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/prctl.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)
#define C(name) SCMP_SYS(name)

/* Those of a request come first. */
static const int allowed[] = {C(epoll_wait), C(read), C(writev), C(write), C(futex), C(epoll_ctl), C(recvfrom),
    C(sendmsg), C(pread64), C(pwrite64), C(fdatasync), C(epoll_pwait), C(epoll_pwait2), C(accept4), C(close),
    C(recvmsg), C(sendto), C(readv), C(pwritev), C(preadv), C(sendfile), C(getsockopt), C(setsockopt), C(shutdown),
    C(getsockname), C(getpeername), C(connect), C(accept), C(sendmmsg), C(recvmmsg), C(socketpair), C(eventfd2),
    C(epoll_create1), C(poll), C(ppoll), C(select), C(pselect6), C(pipe2), C(pipe), C(splice),
    /* Memory and threads. */
    C(mmap), C(munmap), C(mremap), C(mprotect), C(madvise), C(brk), C(msync), C(mincore), C(mlock), C(munlock),
    C(membarrier), C(set_robust_list), C(get_robust_list), C(rseq), C(set_tid_address), C(arch_prctl), C(gettid),
    C(sched_yield), C(sched_getaffinity), C(sched_setaffinity), C(sched_getparam), C(sched_getscheduler),
    C(sched_get_priority_max), C(sched_get_priority_min), C(getpriority), C(exit), C(exit_group), C(getcpu),
    C(memfd_create),
    /* Files: which, Landlock and permissions say. */
    C(open), C(openat), C(openat2), C(stat), C(lstat), C(fstat), C(newfstatat), C(statx), C(statfs), C(fstatfs),
    C(access), C(faccessat), C(faccessat2), C(readlink), C(readlinkat), C(getdents64), C(getcwd), C(lseek), C(fsync),
    C(sync_file_range), C(ftruncate), C(fallocate), C(fadvise64), C(readahead), C(copy_file_range), C(rename),
    C(renameat), C(renameat2), C(unlink), C(unlinkat), C(mkdir), C(mkdirat), C(rmdir), C(flock), C(fcntl), C(dup),
    C(dup2), C(dup3), C(close_range), C(fgetxattr), C(fsetxattr), C(fremovexattr),
    /* Time, signals, itself. */
    C(clock_gettime), C(clock_getres), C(clock_nanosleep), C(nanosleep), C(gettimeofday), C(time), C(setitimer),
    C(getitimer), C(alarm), C(timerfd_create), C(timerfd_settime), C(timerfd_gettime), C(rt_sigaction),
    C(rt_sigprocmask), C(rt_sigreturn), C(rt_sigtimedwait), C(rt_sigsuspend), C(rt_sigpending), C(sigaltstack),
    C(pause), C(restart_syscall), C(kill), C(tgkill), C(wait4), C(waitid), C(getpid), C(getppid), C(getpgrp),
    C(getpgid), C(setpgid), C(getsid), C(getuid), C(geteuid), C(getgid), C(getegid), C(getresuid), C(getresgid),
    C(getgroups), C(capget), C(getrlimit), C(getrusage), C(times), C(sysinfo), C(uname), C(getrandom),
    /* What makes walls higher. */
    C(seccomp), C(landlock_create_ruleset), C(landlock_add_rule), C(landlock_restrict_self)};

/* Nothing here uses them, nor does any library that tries what there is. */
static const int hostile[] = {C(ptrace), C(process_vm_readv), C(process_vm_writev), C(kexec_load), C(kexec_file_load),
    C(init_module), C(finit_module), C(delete_module), C(mount), C(umount2), C(pivot_root), C(chroot), C(open_tree),
    C(move_mount), C(fsopen), C(fsmount), C(mount_setattr), C(bpf), C(userfaultfd), C(keyctl), C(add_key),
    C(request_key), C(perf_event_open), C(reboot), C(swapon), C(swapoff), C(open_by_handle_at), C(setns), C(unshare),
    C(ioperm), C(iopl), C(acct), C(quotactl), C(settimeofday), C(clock_settime), C(adjtimex), C(clock_adjtime),
    C(sethostname), C(setdomainname), C(syslog), C(lookup_dcookie), C(modify_ldt), C(uselib), C(pidfd_getfd)};

static const unsigned asked[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS,
    PR_GET_DUMPABLE, PR_CAPBSET_READ, PR_GET_SECCOMP};

static const unsigned long controls[] = {FIONREAD, FIONBIO, TCGETS, TIOCGWINSZ};

static int
allow_word(scmp_filter_ctx f, int call, unsigned arg, scmp_datum_t value)
{
	const struct scmp_arg_cmp cmp = {arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, value};

	return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

/* Flags beside the type are SOCK_CLOEXEC and the like. */
static int
allow_socket(scmp_filter_ctx f, int family, int type, int protocol)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, C(socket), 3,
	    SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)family),
	    SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, (scmp_datum_t)type),
	    SCMP_A2(SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)protocol));
}

static int
add_sockets(scmp_filter_ctx f)
{
	static const int inet[] = {AF_INET, AF_INET6};
	int rc = allow_socket(f, AF_UNIX, SOCK_STREAM, 0);

	if (rc == 0)
		rc = allow_socket(f, AF_UNIX, SOCK_DGRAM, 0);
	for (size_t i = 0; i < COUNT(inet) && rc == 0; i++) {
		rc = allow_socket(f, inet[i], SOCK_STREAM, 0);
		if (rc == 0)
			rc = allow_socket(f, inet[i], SOCK_STREAM, IPPROTO_TCP);
		if (rc == 0)
			rc = allow_socket(f, inet[i], SOCK_DGRAM, 0);
		if (rc == 0)
			rc = allow_socket(f, inet[i], SOCK_DGRAM, IPPROTO_UDP);
	}
	return rc;
}

/* Threads, and a process for divan-js as posix_spawn() makes it; clone3's flags cannot be seen, so it is not there. */
static int
add_processes(scmp_filter_ctx f, const char *exe)
{
	int rc = seccomp_rule_add(
	    f, SCMP_ACT_ALLOW, C(clone), 1, SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD | NAMESPACES, CLONE_THREAD));

	if (rc == 0 && exe != NULL)
		rc = allow_word(f, C(clone), 0, CLONE_VM | CLONE_VFORK | SIGCHLD);
	if (rc == 0 && exe != NULL)
		rc = seccomp_rule_add(
		    f, SCMP_ACT_ALLOW, C(execve), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)(uintptr_t)exe, 0));
	/* Limits of its own process. */
	if (rc == 0)
		rc = allow_word(f, C(prlimit64), 0, 0);
	return rc;
}

static int
add_rules(scmp_filter_ctx f, const char *exe)
{
	int rc = 0;

	for (size_t i = 0; i < COUNT(allowed) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < COUNT(hostile) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, hostile[i], 0);
	for (size_t i = 0; i < COUNT(asked) && rc == 0; i++)
		rc = allow_word(f, C(prctl), 0, asked[i]);
	for (size_t i = 0; i < COUNT(controls) && rc == 0; i++)
		rc = allow_word(f, C(ioctl), 1, controls[i]);
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, C(prctl), 2,
		    SCMP_A0(SCMP_CMP_MASKED_EQ, UINT32_MAX, PR_SET_DUMPABLE), SCMP_A1(SCMP_CMP_EQ, 0, 0));
	if (rc == 0)
		rc = add_sockets(f);
	return rc == 0 ? add_processes(f, exe) : rc;
}

int
confine_calls(const char *exe, int *donep)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	int rc, built;

	*donep = 0;
	if (f == NULL)
		return ERR_NOMEM;
	rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); /* 32-bit calls */
	/* No code of others runs in divand, and before Linux 5.16 a filter would else cost it speculation. */
	if (rc == 0)
		rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
	/* A tree instead of a chain: newer kernels remember what is always allowed, older ones look each time. */
	if (rc == 0)
		rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = add_rules(f, exe);
	built = rc == 0;
	*donep = built && seccomp_load(f) == 0;
	seccomp_release(f);
	return built ? 0 : ERR_NOMEM;
}
