/*
 * power_log.h: the log of what a process did to the disk, as power_shim.c writes it and power_disk.c reads it.
 *
 * A header of one page, then records; each begins at a multiple of 8. The header's counters are moved on once a record is whole, so that
 * another process sees how far the log is, and a kill leaves it readable.
 */
#ifndef TESTS_CRASH_POWER_LOG_H_
#define TESTS_CRASH_POWER_LOG_H_

#include <stdint.h>

#define POWER_LOG_HEAD 4096u
#define POWER_LOG_MAX ((uint64_t)4 << 30) /* of a sparse file */

struct power_head {
	_Atomic uint64_t ops;   /* records so far; a record's number is how many were before it */
	_Atomic uint64_t bytes; /* of the records */
	_Atomic uint64_t halt;  /* set from outside: the process dies, with nothing recorded that it did not do */
};

enum power_kind {
	POWER_WRITE = 1, /* file, at; data */
	POWER_TRUNCATE,  /* file, at: the new size */
	POWER_NOTE,      /* file; data: the extended attribute user.divan */
	POWER_CREATE,    /* file in folder `at`; data: its name */
	POWER_MKDIR,     /* folder `file` in folder `at`; data: its name */
	POWER_RENAME,    /* file in folder `at`; data: its name, NUL, its new name */
	POWER_UNLINK,    /* file in folder `at`; data: its name */
	POWER_SYNC,      /* file or folder; what it was told before record number `at` is on the disk */
	POWER_DATASYNC,  /* the same of a file, but for its extended attribute */
	POWER_WROTE      /* file; record number `at`, written to a descriptor with O_DSYNC, is on the disk */
};

/* Files and folders are told by their inodes: the recording keeps a link to each, so none is used again. */
struct power_rec {
	uint32_t kind;
	uint32_t len; /* of the data behind it */
	uint64_t file;
	uint64_t at;
};

static inline uint64_t
power_rec_size(const struct power_rec *r)
{
	return sizeof(*r) + ((uint64_t)r->len + 7) / 8 * 8;
}

#endif
