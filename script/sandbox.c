/*
 * sandbox.c: the walls around users' JavaScript.
 *
 * 1. An attacker who takes over the engine itself finds a process without files, network, descriptors or privileges.
 * 2. What is allowed is named, all else ends the process: a call that a new version of the engine needs is found by the
 *    tests and not by an attacker.
 * 3. The engine makes threads when it compiles, so clone is allowed for threads alone; clone3, whose flags a filter
 *    cannot see, is not there, and the C library falls back to clone.
 * 4. The engine has its memory for machine code before the walls close: none is made executable afterwards.
 * 5. A process that computes for ever although its parent is gone ends itself: each second of CPU a signal looks.
 */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "wire.h"

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWCGROUP)
#define FILES 16u /* descriptors at most; the engine keeps one or two of its own */

static pid_t parent;

static void
look_for_parent(int signo)
{
	(void)signo;
	if (getppid() != parent)
		_exit(0);
}

static int
limit(int what, rlim_t to)
{
	const struct rlimit rl = {to, to};

	return setrlimit((__rlimit_resource_t)what, &rl) == 0 ? 0 : ERR_INTERNAL;
}

int
sandbox_begin(void)
{
	const struct sigaction sa = {.sa_handler = look_for_parent, .sa_flags = SA_RESTART};
	const struct itimerval each = {{1, 0}, {1, 0}};
	int err;

	parent = getppid();
	if (close_range(SCRIPT_FD + 1, ~0u, 0) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return ERR_INTERNAL;
	if ((err = limit(RLIMIT_CORE, 0)) != 0 || (err = limit(RLIMIT_FSIZE, 0)) != 0 ||
	    (err = limit(RLIMIT_NOFILE, FILES)) != 0)
		return err;
	if (sigaction(SIGVTALRM, &sa, NULL) != 0 || setitimer(ITIMER_VIRTUAL, &each, NULL) != 0)
		return ERR_INTERNAL;
	return 0;
}

/* address_space: Bytes of it in use. */
static size_t
address_space(void)
{
	unsigned long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return 0;
	if (fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	(void)fclose(f);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* What a computation does: memory, threads, time, and its one socket. */
static const int allowed[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close),
    SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(futex), SCMP_SYS(munmap), SCMP_SYS(madvise), SCMP_SYS(mremap),
    SCMP_SYS(brk), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(gettid), SCMP_SYS(getpid), SCMP_SYS(getppid),
    SCMP_SYS(getrandom), SCMP_SYS(membarrier), SCMP_SYS(getrusage), SCMP_SYS(sysinfo), SCMP_SYS(pread64),
    SCMP_SYS(fstat), SCMP_SYS(lseek), SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(restart_syscall)};

/*
 * The engine tries these and goes on without.  The last three would reach other processes of the same user: the server
 * could be made the slowest of all.
 */
static const int refused[] = {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(readlink),
    SCMP_SYS(readlinkat), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(stat), SCMP_SYS(statx),
    SCMP_SYS(newfstatat), SCMP_SYS(sched_setscheduler), SCMP_SYS(sched_setparam), SCMP_SYS(setpriority)};

/* allow_if: A call whose argument ${arg}, masked, is ${value}. */
static int
allow_if(scmp_filter_ctx f, int call, unsigned arg, scmp_datum_t mask, scmp_datum_t value)
{
	const struct scmp_arg_cmp cmp = {arg, SCMP_CMP_MASKED_EQ, mask, value};

	return seccomp_rule_add_array(f, SCMP_ACT_ALLOW, call, 1, &cmp);
}

static int
add_rules(scmp_filter_ctx f)
{
	int rc = 0;

	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]) && rc == 0; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), refused[i], 0);
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (rc == 0)
		rc = allow_if(f, SCMP_SYS(clone), 0, CLONE_THREAD | NAMESPACES, CLONE_THREAD);
	/* Memory of no file, and no code. */
	if (rc == 0)
		rc = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0),
		    SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS));
	if (rc == 0)
		rc = allow_if(f, SCMP_SYS(mprotect), 2, PROT_EXEC, 0);
	/* A thread of its own is stopped for the collector. */
	if (rc == 0)
		rc = allow_if(f, SCMP_SYS(tgkill), 0, UINT32_MAX, (scmp_datum_t)getpid());
	if (rc == 0)
		rc = allow_if(f, SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_NAME);
	if (rc == 0)
		rc = allow_if(f, SCMP_SYS(prctl), 0, UINT32_MAX, PR_SET_VMA);
	return rc;
}

int
sandbox_close(size_t memory)
{
	size_t now = address_space();
	scmp_filter_ctx f;
	int rc;

	if (now == 0 || limit(RLIMIT_AS, memory < RLIM_INFINITY - now ? now + memory : RLIM_INFINITY) != 0)
		return ERR_INTERNAL;
	f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (f == NULL)
		return ERR_NOMEM;
	rc = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1); /* the engine's threads, too */
	if (rc == 0)
		rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS); /* 32-bit calls */
	if (rc == 0)
		rc = add_rules(f);
	if (rc == 0)
		rc = seccomp_load(f);
	seccomp_release(f);
	return rc == 0 ? 0 : ERR_INTERNAL;
}

/* ---- From inside ---- */

static int
probe_fork(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static int
probe_mprotect(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0;
}

/* System calls with arguments that would do where there are no walls. */
static int
probe_call(const char *what)
{
	static char room[256];
	static const char name[] = "x";
	const long self = getpid(), there = parent;
	const struct {
		const char *name;
		long call, arg[4];
	} calls[] = {{"prctl", SYS_prctl, {PR_SET_DUMPABLE, 1, 0, 0}},
	    {"pdeathsig", SYS_prctl, {PR_SET_PDEATHSIG, 0, 0, 0}}, {"seccomp", SYS_prctl, {PR_GET_SECCOMP, 0, 0, 0}},
	    {"userfaultfd", SYS_userfaultfd, {O_NONBLOCK, 0, 0, 0}},
	    {"io_uring", SYS_io_uring_setup, {4, (long)room, 0, 0}}, {"bpf", SYS_bpf, {0, (long)room, 48, 0}},
	    {"perf", SYS_perf_event_open, {(long)room, 0, -1, -1}}, {"memfd", SYS_memfd_create, {(long)name, 0, 0, 0}},
	    {"shmget", SYS_shmget, {0, 4096, 01600, 0}}, {"shmat", SYS_shmat, {0, 0, 0, 0}},
	    {"mq", SYS_mq_open, {(long)name, O_CREAT | O_RDWR, 0600, 0}}, {"pidfd", SYS_pidfd_open, {there, 0, 0, 0}},
	    {"vmread", SYS_process_vm_readv, {there, (long)room, 0, (long)room}}, {"keyctl", SYS_keyctl, {0, -3, 1, 0}},
	    {"setuid", SYS_setuid, {0, 0, 0, 0}}, {"unshare", SYS_unshare, {CLONE_FS, 0, 0, 0}},
	    {"dup", SYS_dup, {SCRIPT_FD, 0, 0, 0}}, {"fcntl", SYS_fcntl, {SCRIPT_FD, F_GETFD, 0, 0}},
	    {"ioctl", SYS_ioctl, {SCRIPT_FD, 0x541b, (long)room, 0}},
	    {"socketpair", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, (long)room}},
	    {"pipe", SYS_pipe2, {(long)room, 0, 0, 0}}, {"tgkill", SYS_tgkill, {there, there, 0, 0}},
	    {"tkill", SYS_tkill, {there, 0, 0, 0}}, {"sigqueue", SYS_rt_sigqueueinfo, {there, 0, (long)room, 0}},
	    {"rlimit", SYS_prlimit64, {there, RLIMIT_NOFILE, 0, (long)room}},
	    {"ownrlimit", SYS_prlimit64, {self, RLIMIT_AS, 0, (long)room}},
	    {"affinity", SYS_sched_setaffinity, {there, 8, (long)room, 0}},
	    {"inotify", SYS_inotify_init1, {0, 0, 0, 0}},
	    {"timer", SYS_timer_create, {CLOCK_REALTIME, 0, (long)room, 0}}, {"chdir", SYS_chdir, {(long)"/", 0, 0, 0}},
	    {"unlink", SYS_unlinkat, {AT_FDCWD, (long)name, 0, 0}}, {"mlock", SYS_mlock, {(long)room, 16, 0, 0}},
	    {"uname", SYS_uname, {(long)room, 0, 0, 0}},
	    {"namespace", SYS_clone, {CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWNET, 0, 0, 0}}};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		const long *a = calls[i].arg;

		if (strcmp(calls[i].name, what) == 0)
			return syscall(calls[i].call, a[0], a[1], a[2], a[3]) >= 0;
	}
	return -1;
}

int
sandbox_probe(const char *what)
{
	char *const argv[] = {(char[]){"true"}, NULL};
	const struct sched_param none = {0};
	struct stat st;

	if (strcmp(what, "open") == 0)
		return open("/etc/hostname", O_RDONLY | O_CLOEXEC) >= 0;
	if (strcmp(what, "create") == 0)
		return open("/tmp/divan-js-probe", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0;
	if (strcmp(what, "socket") == 0)
		return socket(AF_INET, SOCK_STREAM, 0) >= 0;
	if (strcmp(what, "exec") == 0)
		return execv("/bin/true", argv) == 0;
	if (strcmp(what, "fork") == 0)
		return probe_fork();
	if (strcmp(what, "ptrace") == 0)
		return ptrace(PTRACE_ATTACH, parent, NULL, NULL) == 0;
	if (strcmp(what, "kill") == 0)
		return kill(parent, 0) == 0;
	if (strcmp(what, "stat") == 0)
		return fstatat(AT_FDCWD, "/etc/hostname", &st, 0) == 0;
	if (strcmp(what, "nice") == 0)
		return setpriority(PRIO_PROCESS, (id_t)parent, 5) == 0;
	if (strcmp(what, "idle") == 0)
		return sched_setscheduler(parent, SCHED_IDLE, &none) == 0;
	if (strcmp(what, "mapfile") == 0)
		return mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, SCRIPT_FD, 0) != MAP_FAILED;
	if (strcmp(what, "executable") == 0)
		return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
	if (strcmp(what, "mprotect") == 0)
		return probe_mprotect();
	if (strcmp(what, "memory") == 0)
		return mmap(NULL, (size_t)16 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
		       MAP_FAILED;
	return probe_call(what);
}
