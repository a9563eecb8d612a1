/*
 * repair.c: `divan repair`: what can be read of a damaged database, as a new file in its place.
 *
 * 1. The damaged file is read, never written: page by page, without the store (store/pages.h).
 * 2. The new one is made below DIR/.repair, verified there, and takes the name by one rename, after the damaged file has got a
 *    second name.  Killed at any point, the database is the one file or the other, whole; the next repair empties DIR/.repair.
 * 3. Its history is a new one: it is another database that a client has not seen.
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "db/salvage.h"
#include "folder.h"
#include "staging.h"
#include "store/store.h"

#define PILE "pile" /* the database that the records are put into */

const char repair_help[] =
    "usage: divan repair --data DIR DB\n"
    "\n"
    "Saves what can be read of database DB in the data folder DIR, which no divand may serve\n"
    "meanwhile: each document with its revisions and attachments, _local documents, settings,\n"
    "into a new file that takes the place of the damaged one. That one stays, unchanged, beside\n"
    "it, as DB.divan.damaged. Each loss is told by a line, then a summary. It takes up to twice\n"
    "the size of the database of disk space besides.\n"
    "\n"
    "Exit status: 0 nothing is lost, 1 something is, 2 nothing could be done and all is as it was.\n";

/* Where it happens. */
struct place {
	struct staging at;  /* at.path: the damaged file */
	char old[PATH_MAX]; /* what it is called then */
};

/* say_loss: It names what stood in the damaged file. */
static void
say_loss(void *cookie, const char *line)
{
	const struct place *p = cookie;

	printf("%s: ", p->at.db);
	cli_print(stdout, line, strlen(line));
	(void)putchar('\n');
}

/* gather: The pile: PILE, or, should the database itself be called so, another name. */
static const char *
pile_name(const struct place *p)
{
	return strcmp(p->at.db, PILE) != 0 ? PILE : PILE "2";
}

static int
make_pile(struct place *p, struct db_salvage *out)
{
	struct errtext why = {""};
	struct folder f;
	struct store *s;
	int err = folder_open(p->at.folder, -1, &f);

	if (err != 0)
		return err;
	err = dbs_create(f.dbs, pile_name(p), NULL, &folder_owner, &why);
	folder_close(&f);
	if (err == 0 && (err = store_lmdb_new(p->at.folder, &s)) == 0) {
		err = db_salvage_gather(s, pile_name(p), p->at.path, out);
		store_free(s);
	}
	if (err == ERR_CORRUPT)
		cli_say("%s: there is nothing in it that can be read", p->at.path);
	else if (err != 0)
		cli_say("%s: %s", p->at.path, err_reason(err));
	return err;
}

/* make_copy: The new database, verified. */
static int
make_copy(struct place *p, struct folder *f, struct db *pile, struct db_salvage *out)
{
	struct db_options options = {.partitioned = db_is_partitioned(pile)};
	struct errtext why = {""};
	struct db *to;
	int err = dbs_create(f->dbs, p->at.db, &options, &folder_owner, &why);

	if (err == 0)
		err = db_open(f->dbs, p->at.db, &folder_owner, &to);
	if (err == 0) {
		err = db_salvage_copy(pile, to, out);
		if (err == 0)
			err = db_check(to, &why);
		db_close(to);
	}
	if (err != 0)
		cli_say("%s: %s", p->at.db, why.text[0] != '\0' ? why.text : err_reason(err));
	return err;
}

static int
make(struct place *p, struct db_salvage *out)
{
	struct folder f;
	struct db *pile;
	int err = make_pile(p, out);

	if (err != 0 || (err = folder_open(p->at.folder, -1, &f)) != 0)
		return err;
	if ((err = db_open(f.dbs, pile_name(p), &folder_owner, &pile)) != 0) {
		cli_say("%s: %s", p->at.db, err_reason(err));
	} else {
		err = make_copy(p, &f, pile, out);
		db_close(pile);
	}
	folder_close(&f);
	return err;
}

/* keep_old: A second name for the damaged file: .damaged, or with the first number that is free. */
static int
keep_old(struct place *p)
{
	int n = snprintf(p->old, sizeof(p->old), "%s.damaged", p->at.path);

	for (unsigned i = 2; n > 0 && n < (int)sizeof(p->old); i++) {
		if (link(p->at.path, p->old) == 0)
			return 0;
		if (errno != EEXIST && (errno == EPERM || errno == EOPNOTSUPP || errno == EMLINK) &&
		    access(p->old, F_OK) != 0)
			/* A file system without links: for a moment there is no database. */
			return rename(p->at.path, p->old) == 0 ? 0 : cli_errno(p->old);
		if (errno != EEXIST)
			break;
		n = snprintf(p->old, sizeof(p->old), "%s.damaged%u", p->at.path, i);
	}
	return cli_errno(p->old);
}

/* give_back: The damaged file has its own name alone.  Of two names of one file a rename leaves both. */
static void
give_back(const struct place *p)
{
	if (rename(p->old, p->at.path) == 0)
		(void)unlink(p->old);
	else
		(void)cli_errno(p->old);
}

static int
publish(struct place *p)
{
	int err = keep_old(p);

	if (err != 0)
		return err;
	if (rename(p->at.made, p->at.path) != 0) {
		err = cli_errno(p->at.path);
		give_back(p);
		return err;
	}
	staging_published(&p->at);
	return 0;
}

static void
summary(const struct place *p, const struct db_salvage *out)
{
	const struct store_pages_report *g = &out->pages;

	if (g->damaged > 0) {
		printf("%s: %llu damaged pages of %llu:", p->at.db, (unsigned long long)g->damaged,
		    (unsigned long long)g->pages);
		for (size_t i = 0; i < g->damaged && i < sizeof(g->first) / sizeof(g->first[0]); i++)
			printf(g->first[i] == UINT64_MAX ? " root" : " %llu", (unsigned long long)g->first[i]);
		printf("%s\n", g->damaged > sizeof(g->first) / sizeof(g->first[0]) ? " ..." : "");
	}
	if (g->no_root)
		printf("%s: its beginning is damaged: what was found was found page by page\n", p->at.db);
	if (g->lost > 0)
		printf("%s: %llu records cannot be read\n", p->at.db, (unsigned long long)g->lost);
	if (out->checkpoints > 0)
		printf("%s: %llu checkpoints of replications are left out, so that these bring again what is lost\n",
		    p->at.db, (unsigned long long)out->checkpoints);
	printf("%s: %llu documents and %llu deleted ones are saved; lost: %llu documents, %llu revisions, %llu "
	       "attachments\n",
	    p->at.db, (unsigned long long)out->docs, (unsigned long long)out->deleted,
	    (unsigned long long)out->lost_docs, (unsigned long long)out->lost_revs, (unsigned long long)out->lost_atts);
	printf("%s: the damaged file is %s\n", p->at.db, p->old);
}

static int
repair(struct place *p)
{
	struct db_salvage out = {.tell = say_loss, .cookie = p};
	int lock_fd, err = folder_lock(p->at.dir, &lock_fd);

	if (err != 0)
		return CLI_NOTHING;
	err = access(p->at.path, R_OK) == 0 ? staging_begin(&p->at) : cli_errno(p->at.path);
	if (err == 0)
		err = make(p, &out);
	if (err == 0 && (err = publish(p)) == 0)
		summary(p, &out);
	staging_clear(&p->at);
	close(lock_fd);
	db_salvage_release(&out);
	return err != 0 ? CLI_NOTHING : out.lost > 0 ? CLI_FAILED : CLI_DONE;
}

int
repair_run(int argc, char **argv)
{
	static const struct option longs[] = {{"data", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	const char *dir = NULL;
	struct place p;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c != 'd')
			return CLI_USAGE;
		dir = optarg;
	}
	if (dir == NULL || argc - optind != 1)
		return CLI_USAGE;
	return staging_init(&p.at, dir, argv[optind], ".repair") != 0 ? CLI_NOTHING : repair(&p);
}
