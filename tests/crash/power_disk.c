/*
 * power_disk.c: what a disk may hold after a power cut, made from a log of power_shim.c.
 *
 *     power_disk LOG KEEP ROOT
 *
 * reads commands and answers each with a line:
 *     base             the log begins with what the folder ROOT now holds, all of it on the disk; the first command, if at all
 *     marks            the numbers of the records that are no plain writes, with an n those that are about names
 *     same             is what the log says what the folder ROOT holds?  For a process of its own
 *     cut K SEED DIR   make the folder DIR as it may be if the power fails before record K, or just in it; K rises from one to the next
 *
 * The model, of what a file system with a journal does and what it does not promise:
 * 1. What is synced is there.  What is not: each write is there, or not, or some of its sectors of 512 bytes are, in no order; or, as the seed
 *    says, all, none, or those up to one of them.  A file that is too short for what is there has zeros; one that a lost write made longer is
 *    now longer, now not.
 * 2. Names (creations, renames, removals) are there after fsync of their folder, not by fsync of the file.  Else the journal has them up to some
 *    point, in the order in which they were made; one time in four those of different names are there independently of each other, which is
 *    more than any journal does.  A rename is one thing.
 * 3. A file has the inode that it had.  LMDB's tables of readers hold zeros, or anything.
 */
#include "power_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SECTOR 512u
#define SLOTS 65536u
#define NOTE_ATTR "user.divan"

/* What was told a file, or the names, and is not known to be on the disk with all before it. */
struct op {
	const struct power_rec *r;
	uint64_t number;
	int synced;
};

struct ops {
	struct op *v;
	size_t n, cap;
};

/* Bytes of a file. */
struct image {
	unsigned char *p;
	size_t size, cap;
	const struct power_rec *note; /* NULL: none */
};

struct file {
	uint64_t file; /* 0: the slot is free */
	int is_folder;
	struct image disk;
	struct ops ops;
};

struct name {
	uint64_t folder, file;
	const char *name;
};

struct names {
	struct name *v;
	size_t n, cap;
};

static struct file files[SLOTS];
static struct names on_disk;
static struct ops names_ops;
static const char *log_at, *keep_dir, *root_dir;
static uint64_t log_ops, next_op; /* next_op: of the record at log_at */
static uint64_t dice;

enum fate { ALL, NONE, COIN, UPTO };
static const char *const fates[] = {"all", "none", "by coin", "up to one"};
static struct tally {
	unsigned writes, lost, torn, names, names_lost;
} tally;

static void
die(const char *what, const char *why)
{
	fprintf(stderr, "power_disk: %s: %s (%s)\n", what, why, strerror(errno));
	exit(1);
}

static void *
more(void *p, size_t *cap, size_t want, size_t each)
{
	if (want <= *cap)
		return p;
	*cap = *cap * 2 > want ? *cap * 2 : want;
	p = realloc(p, *cap * each);
	if (p == NULL)
		die("realloc", "no memory");
	return p;
}

static unsigned
draw(unsigned n)
{
	dice ^= dice << 13;
	dice ^= dice >> 7;
	dice ^= dice << 17;
	return (unsigned)((dice * UINT64_C(0x2545f4914f6cdd1d) >> 33) % n);
}

static const char *
data_of(const struct power_rec *r)
{
	return (const char *)(r + 1);
}

static struct file *
file_of(uint64_t file)
{
	for (uint64_t i = file * 40503u;; i++) {
		struct file *f = &files[i % SLOTS];

		if (f->file == file || f->file == 0) {
			f->file = file;
			return f;
		}
	}
}

/* ---- Files ---- */

static void
resize(struct image *m, size_t size)
{
	m->p = more(m->p, &m->cap, size, 1);
	if (size > m->size)
		memset(m->p + m->size, 0, size - m->size);
	m->size = size;
}

static void
make(struct image *m, const struct power_rec *r)
{
	if (r->kind == POWER_NOTE) {
		m->note = r;
	} else if (r->kind == POWER_TRUNCATE) {
		resize(m, r->at);
	} else {
		if (m->size < r->at + r->len)
			resize(m, r->at + r->len);
		memcpy(m->p + r->at, data_of(r), r->len);
	}
}

/* Some of its sectors. */
static void
tear(struct image *m, const struct power_rec *r)
{
	for (uint64_t at = r->at, end = r->at + r->len, next; at < end; at = next) {
		next = (at / SECTOR + 1) * SECTOR;
		if (next > end)
			next = end;
		if (draw(2) == 0)
			continue;
		if (m->size < next)
			resize(m, next);
		memcpy(m->p + at, data_of(r) + (at - r->at), next - at);
	}
}

static void
push(struct ops *ops, const struct power_rec *r, uint64_t number)
{
	ops->v = more(ops->v, &ops->cap, ops->n + 1, sizeof(*ops->v));
	ops->v[ops->n++] = (struct op){.r = r, .number = number};
}

static void
drop_first(struct ops *ops, size_t n)
{
	ops->n -= n;
	memmove(ops->v, ops->v + n, ops->n * sizeof(*ops->v));
}

/* What is on the disk with all before it needs no remembering. */
static void
settle(struct file *f)
{
	size_t n = 0;

	for (; n < f->ops.n && f->ops.v[n].synced; n++)
		make(&f->disk, f->ops.v[n].r);
	drop_first(&f->ops, n);
}

static int
is_kept(enum fate fate, size_t i, size_t upto)
{
	return fate == ALL || (fate == UPTO && i < upto) || (fate == COIN && draw(3) == 0);
}

/* The file as it may be.  out is the caller's to free. */
static void
fall(const struct file *f, enum fate fate, struct image *out)
{
	size_t upto = draw((unsigned)f->ops.n + 1);

	*out = (struct image){.note = f->disk.note};
	resize(out, f->disk.size);
	if (f->disk.size > 0)
		memcpy(out->p, f->disk.p, f->disk.size);
	for (size_t i = 0; i < f->ops.n; i++) {
		const struct op *o = &f->ops.v[i];
		int is_write = o->r->kind == POWER_WRITE;

		tally.writes += !o->synced;
		if (o->synced || is_kept(fate, i, upto)) {
			make(out, o->r);
		} else if (is_write && ((fate == COIN && draw(2) == 0) || (fate == UPTO && i == upto))) {
			tally.torn++;
			tear(out, o->r);
		} else {
			tally.lost++;
			if (is_write && draw(4) == 0 && out->size < o->r->at + o->r->len)
				resize(out, o->r->at + o->r->len);
		}
	}
}

/* ---- Names ---- */

static struct name *
find_name(const struct names *names, uint64_t folder, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (names->v[i].folder == folder && strcmp(names->v[i].name, name) == 0)
			return &names->v[i];
	return NULL;
}

static void
set_name(struct names *names, uint64_t folder, const char *name, uint64_t file)
{
	struct name *at = find_name(names, folder, name);

	if (at == NULL) {
		names->v = more(names->v, &names->cap, names->n + 1, sizeof(*names->v));
		at = &names->v[names->n++];
	}
	*at = (struct name){folder, file, name};
}

static void
remove_name(struct names *names, uint64_t folder, const char *name)
{
	struct name *at = find_name(names, folder, name);

	if (at != NULL)
		*at = names->v[--names->n];
}

static const char *
other_name(const struct power_rec *r)
{
	return r->kind == POWER_RENAME ? data_of(r) + strlen(data_of(r)) + 1 : data_of(r);
}

static void
make_name(struct names *names, const struct power_rec *r)
{
	if (r->kind == POWER_RENAME || r->kind == POWER_UNLINK)
		remove_name(names, r->at, data_of(r));
	if (r->kind != POWER_UNLINK)
		set_name(names, r->at, other_name(r), r->file);
}

/* The names as they may be: of those that are not synced the journal has what came before ${upto}, or it is up to coins. */
static void
fall_names(int loose, uint64_t upto, struct names *out)
{
	struct names lost = {0};

	*out = (struct names){0};
	for (size_t i = 0; i < on_disk.n; i++)
		set_name(out, on_disk.v[i].folder, on_disk.v[i].name, on_disk.v[i].file);
	for (size_t i = 0; i < names_ops.n; i++) {
		const struct power_rec *r = names_ops.v[i].r;
		int kept =
		    loose ? draw(2) && !find_name(&lost, r->at, data_of(r)) && !find_name(&lost, r->at, other_name(r))
			  : names_ops.v[i].number < upto;

		tally.names++;
		if (kept) {
			make_name(out, r);
		} else {
			tally.names_lost++;
			set_name(&lost, r->at, data_of(r), 0);
			set_name(&lost, r->at, other_name(r), 0);
		}
	}
	free(lost.v);
}

static void
sync_names(uint64_t folder, uint64_t upto)
{
	size_t n = 0;

	for (size_t i = 0; i < names_ops.n; i++) {
		if (names_ops.v[i].r->at == folder && names_ops.v[i].number < upto)
			make_name(&on_disk, names_ops.v[i].r);
		else
			names_ops.v[n++] = names_ops.v[i];
	}
	names_ops.n = n;
}

/* ---- The log ---- */

static void
take(const struct power_rec *r)
{
	struct file *f = file_of(r->file);

	switch (r->kind) {
	case POWER_WRITE:
	case POWER_TRUNCATE:
	case POWER_NOTE:
		push(&f->ops, r, next_op);
		break;
	case POWER_CREATE:
	case POWER_MKDIR:
	case POWER_RENAME:
	case POWER_UNLINK:
		f->is_folder |= r->kind == POWER_MKDIR;
		push(&names_ops, r, next_op);
		break;
	default:
		for (size_t i = 0; i < f->ops.n; i++) {
			struct op *o = &f->ops.v[i];

			if (r->kind == POWER_WROTE
				? o->number == r->at
				: o->number < r->at && (r->kind == POWER_SYNC || o->r->kind != POWER_NOTE))
				o->synced = 1;
		}
		settle(f);
		sync_names(r->file, r->at);
	}
}

static const struct power_rec *
next_rec(void)
{
	const struct power_rec *r = (const struct power_rec *)(const void *)log_at;

	log_at += power_rec_size(r);
	return r;
}

static void
go_on(uint64_t upto)
{
	for (; next_op < upto && next_op < log_ops; next_op++)
		take(next_rec());
}

/* ---- Making a folder ---- */

static void
path_to(char path[PATH_MAX], const char *dir, const char *name)
{
	if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX)
		die(dir, "too long");
}

static int
is_lock(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && strcmp(name + n - 5, "-lock") == 0;
}

static void
put_file(const struct name *name, const char *dir, enum fate fate)
{
	char number[32], from[PATH_MAX], to[PATH_MAX];
	struct image m;
	int fd;

	fall(file_of(name->file), fate, &m);
	if (is_lock(name->name) && draw(2) == 0)
		for (size_t i = 0; i < m.size; i++)
			m.p[i] = (unsigned char)draw(256);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)name->file);
	path_to(from, keep_dir, number);
	path_to(to, dir, name->name);
	fd = open(from, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || (m.size > 0 && pwrite(fd, m.p, m.size, 0) != (ssize_t)m.size))
		die(from, "write");
	(void)fremovexattr(fd, NOTE_ATTR);
	if (m.note != NULL)
		(void)fsetxattr(fd, NOTE_ATTR, data_of(m.note), m.note->len, 0);
	close(fd);
	if (link(from, to) != 0)
		die(to, "link");
	free(m.p);
}

static void
put_folder(const struct names *names, uint64_t folder, const char *dir, enum fate fate)
{
	char path[PATH_MAX];

	if (mkdir(dir, 0700) != 0)
		die(dir, "mkdir");
	for (size_t i = 0; i < names->n; i++) {
		const struct name *name = &names->v[i];

		if (name->folder != folder)
			continue;
		path_to(path, dir, name->name);
		if (file_of(name->file)->is_folder)
			put_folder(names, name->file, path, fate);
		else
			put_file(name, dir, fate);
	}
}

static uint64_t
root_file(void)
{
	struct stat st;

	if (stat(root_dir, &st) != 0)
		die(root_dir, "stat");
	return st.st_ino;
}

static void
cut(uint64_t k, uint64_t seed, const char *dir)
{
	struct names names;
	enum fate fate;
	size_t some;
	int loose;

	go_on(k);
	dice = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	for (int i = 0; i < 8; i++)
		(void)draw(2);
	memset(&tally, 0, sizeof(tally));
	fate = (enum fate[]){ALL, NONE, NONE, COIN, COIN, COIN, COIN, UPTO}[draw(8)];
	loose = draw(4) == 0;
	some = draw((unsigned)names_ops.n + 1);
	fall_names(loose, some < names_ops.n ? names_ops.v[some].number : next_op, &names);
	put_folder(&names, root_file(), dir, fate);
	free(names.v);
	printf("%s%s, %u writes: %u lost, %u torn; %u names: %u lost\n", fates[fate], loose ? ", names loose" : "",
	    tally.writes, tally.lost, tally.torn, tally.names, tally.names_lost);
}

/* ---- A log that begins with a folder ---- */

static void
read_file(int fd, const char *path, struct image *m)
{
	static unsigned char note[256];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		die(path, "stat");
	resize(m, (size_t)st.st_size);
	if (st.st_size > 0 && pread(fd, m->p, m->size, 0) != st.st_size)
		die(path, "read");
	if ((n = fgetxattr(fd, NOTE_ATTR, note, sizeof(note))) > 0) {
		struct power_rec *r = malloc(sizeof(*r) + (size_t)n);

		if (r == NULL)
			die(path, "no memory");
		*r = (struct power_rec){.kind = POWER_NOTE, .len = (uint32_t)n};
		memcpy(r + 1, note, (size_t)n);
		m->note = r;
	}
}

static void
base(uint64_t folder, const char *dir)
{
	char path[PATH_MAX];
	DIR *d = opendir(dir);
	struct dirent *e;
	struct stat st;
	int fd;

	if (d == NULL)
		die(dir, "opendir");
	while ((e = readdir(d)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		path_to(path, dir, e->d_name);
		if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 || fstat(fd, &st) != 0)
			die(path, "open");
		set_name(&on_disk, folder, strdup(e->d_name), st.st_ino);
		file_of(st.st_ino)->is_folder = S_ISDIR(st.st_mode);
		if (S_ISDIR(st.st_mode))
			base(st.st_ino, path);
		else
			read_file(fd, path, &file_of(st.st_ino)->disk);
		close(fd);
	}
	closedir(d);
}

/* ---- Is the log whole? ---- */

static void
compare_file(const struct name *name, const char *path)
{
	struct image m;
	struct stat st;
	int fd;

	if (is_lock(name->name))
		return;
	fall(file_of(name->file), ALL, &m);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0 || fstat(fd, &st) != 0)
		die(path, "the log has it, the folder has not");
	if ((size_t)st.st_size != m.size)
		die(path, "not as long as the log says");
	for (size_t at = 0; at < m.size;) {
		static unsigned char piece[65536];
		ssize_t n = read(fd, piece, sizeof(piece));

		if (n <= 0 || memcmp(piece, m.p + at, (size_t)n) != 0)
			die(path, "other bytes than the log says");
		at += (size_t)n;
	}
	close(fd);
	free(m.p);
}

static void
same(const struct names *names, uint64_t folder, const char *dir, unsigned *np)
{
	char path[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < names->n; i++) {
		if (names->v[i].folder != folder)
			continue;
		path_to(path, dir, names->v[i].name);
		if (stat(path, &st) != 0 || st.st_ino != names->v[i].file)
			die(path, "another file than the log says");
		++*np;
		if (S_ISDIR(st.st_mode))
			same(names, st.st_ino, path, np);
		else
			compare_file(&names->v[i], path);
	}
}

static void
marks(void)
{
	const char *p = log_at;

	for (uint64_t i = next_op; i < log_ops; i++) {
		const struct power_rec *r = (const struct power_rec *)(const void *)p;

		p += power_rec_size(r);
		if (r->kind != POWER_WRITE)
			printf("%llu%s ", (unsigned long long)i,
			    r->kind >= POWER_CREATE && r->kind <= POWER_UNLINK ? "n" : "");
	}
	printf("\n");
}

int
main(int argc, char **argv)
{
	char line[PATH_MAX + 100], dir[PATH_MAX];
	unsigned long long k, seed;
	const struct power_head *head;
	struct stat st;
	int fd;

	if (argc != 4)
		die("usage", "power_disk LOG KEEP ROOT");
	keep_dir = argv[2];
	root_dir = argv[3];
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0)
		die(argv[1], "open");
	head = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (head == MAP_FAILED)
		die(argv[1], "mmap");
	log_at = (const char *)head + POWER_LOG_HEAD;
	while (fgets(line, sizeof(line), stdin) != NULL) {
		log_ops = head->ops;
		if (strcmp(line, "base\n") == 0) {
			base(root_file(), root_dir);
			printf("base\n");
		} else if (strcmp(line, "marks\n") == 0) {
			marks();
		} else if (strcmp(line, "same\n") == 0) {
			struct names names;
			unsigned n = 0;

			go_on(log_ops);
			fall_names(0, log_ops, &names);
			same(&names, root_file(), root_dir, &n);
			printf("same %u\n", n);
		} else if (sscanf(line, "cut %llu %llu %4095s", &k, &seed, dir) == 3) {
			cut(k, seed, dir);
		}
		fflush(stdout);
	}
	return 0;
}
