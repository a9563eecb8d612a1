/*
 * copy.c: `divan copy`: one database as one file.
 *
 * A divand that runs is asked for it over HTTP; with --data and nobody holding the folder's lock, the file is copied
 * here. Either way it has the name FILE.part until it is whole and on the disk.
 */
#include "cli.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "folder.h"
#include "outfile.h"
#include "server.h"

#define ANSWER_MAX 65536u /* bytes kept of an answer that is not a copy */

const char copy_help[] = "usage: divan copy [--url URL] [--user NAME] [--ca-file FILE] DB FILE\n"
			 "       divan copy --data DIR DB FILE\n"
			 "\n"
			 "Writes database DB to FILE, which may not exist: a consistent, compact copy, made while\n"
			 "the database is read and written. `divan restore` takes it. Until it is complete and on\n"
			 "the disk its name is FILE.part.\n"
			 "\n"
			 "  --url URL       the divand to ask (" SERVER_DEFAULT_URL ")\n"
			 "  --user NAME     a server administrator, whose password comes from the environment\n"
			 "                  (DIVAN_ADMIN=name:password, or COUCHDB_USER and COUCHDB_PASSWORD) or is\n"
			 "                  asked for; without --user, both come from the environment or ~/.netrc,\n"
			 "                  or the password of admin is asked for\n"
			 "  --ca-file FILE  certificates to trust for https, in PEM (the system's)\n"
			 "  --data DIR      copy from this data folder, which no divand may serve meanwhile\n";

struct options {
	const char *url, *user, *ca_file, *data;
	const char *db, *file;
};

/* ---- From a server ---- */

/* One request. */
struct download {
	struct outfile *out;
	int status;
	int is_copy;
	uint64_t length;
	struct buf answer; /* the body, where it is not a copy */
	char location[512];
};

static int
on_head(void *cookie, const struct httpc_head *head)
{
	struct download *d = cookie;

	d->status = head->status;
	d->length = head->length;
	d->is_copy = head->status == 200 && strcmp(head->type, "application/octet-stream") == 0;
	(void)snprintf(d->location, sizeof(d->location), "%s", head->location);
	return 0;
}

static int
on_body(void *cookie, const void *data, size_t len)
{
	struct download *d = cookie;

	if (d->is_copy)
		return outfile_write(d->out, data, len);
	(void)buf_put(&d->answer, data, len); /* what does not fit is not shown */
	return 0;
}

static void
say_refusal(const struct download *d, const struct options *o, const struct credentials *who)
{
	struct errtext reason;

	server_reason(&d->answer, &reason);
	if (d->status >= 300 && d->status < 400)
		cli_say("%s sends elsewhere: %s", o->url, d->location);
	else if (d->status == 200)
		cli_say("%s does not answer with a copy: is it a divand?", o->url);
	else if (d->status == 401 && who->name[0] == '\0')
		cli_say("%s wants an administrator: give --user, or DIVAN_ADMIN in the environment", o->url);
	else
		cli_say("%s refuses (%d): %s", o->url, d->status, reason.text);
}

static int
ask(struct httpc_loop *client, const char *url, const struct credentials *who, struct download *d, struct errtext *why)
{
	static const char *const headers[] = {"Accept: application/octet-stream, application/json"};
	struct httpc_request req = {.url = url,
	    .user = who->name[0] != '\0' ? who->name : NULL,
	    .password = who->password,
	    .netrc = who->name[0] == '\0',
	    .headers = headers,
	    .nheaders = 1,
	    .on_head = on_head,
	    .on_body = on_body,
	    .cookie = d};

	buf_clear(&d->answer);
	return httpc_get(client, &req, &d->status, why);
}

/* URL/DB/_copy, with everything in DB escaped that may be. */
static int
build_url(const struct options *o, struct buf *b)
{
	struct buf path;
	int err;

	buf_init(&path, SERVER_URL_MAX);
	buf_putc(&path, '/');
	for (const char *p = o->db; *p != '\0'; p++) {
		if (isalnum((unsigned char)*p) || *p == '_' || *p == '-')
			buf_putc(&path, *p);
		else
			buf_printf(&path, "%%%02X", (unsigned char)*p);
	}
	buf_puts(&path, "/_copy");
	buf_putc(&path, '\0');
	if ((err = buf_failed(&path)) == 0)
		err = server_put_url(o->url, path.data, b);
	buf_release(&path);
	return err;
}

/* Returns 0 when all of the copy is in the file. */
static int
download(struct httpc_loop *client, const char *url, const struct options *o, struct outfile *out)
{
	struct download d = {.out = out};
	struct credentials who;
	struct errtext why = {""};
	int err;

	if ((err = server_credentials(o->url, o->user, &who)) != 0)
		return err;
	buf_init(&d.answer, ANSWER_MAX);
	err = ask(client, url, &who, &d, &why);
	if (err == 0 && d.status == 401 && !who.has_password && credentials_ask(&who, o->url) == 0)
		err = ask(client, url, &who, &d, &why);
	if (err && why.text[0] != '\0')
		cli_say("%s: %s", o->url, why.text);
	if (err == 0 && !d.is_copy) {
		say_refusal(&d, o, &who);
		err = ERR_IO;
	} else if (err == 0 && d.length != out->bytes) {
		cli_say("%s: the copy came without its end", o->url);
		err = ERR_IO;
	}
	buf_release(&d.answer);
	return err;
}

static int
copy_served(const struct options *o, struct outfile *out)
{
	struct httpc_config config = {.ca_file = o->ca_file};
	struct httpc_loop *client = NULL;
	struct buf url;
	int err;

	if (server_has_credentials(o->url)) {
		cli_say("a password has no place in the URL: `divan copy --help` says where it comes from");
		return ERR_BAD_REQUEST;
	}
	buf_init(&url, SERVER_URL_MAX);
	err = build_url(o, &url);
	if (err == 0)
		err = httpc_loop_new(&config, &client);
	if (err)
		cli_say("%s: %s", o->url, err_reason(err));
	else if ((err = outfile_begin(out, o->file, 1)) == 0 && (err = download(client, url.data, o, out)) != 0)
		outfile_abort(out);
	httpc_loop_free(client);
	buf_release(&url);
	return err;
}

/* ---- From a folder ---- */

static int
copy_open(struct dbs *dbs, const struct options *o, struct outfile *out)
{
	struct db *db;
	int err = db_open(dbs, o->db, &folder_owner, &db);

	if (err) {
		cli_say("%s: %s", o->db, err_reason(err));
		return err;
	}
	if ((err = outfile_begin(out, o->file, 0)) == 0 && (err = db_copy(db, out->part)) != 0) {
		cli_say("%s: %s", o->db, err_reason(err));
		outfile_abort(out);
	}
	db_close(db);
	return err;
}

static int
copy_folder(const struct options *o, struct outfile *out)
{
	struct folder f;
	int lock_fd, err = folder_lock(o->data, &lock_fd);

	if (err == ERR_LOCKED)
		cli_say("without --data it is asked for the copy");
	if (err == 0)
		err = folder_open(o->data, lock_fd, &f);
	if (err == 0) {
		err = copy_open(f.dbs, o, out);
		folder_close(&f);
	}
	return err;
}

/* ---- The command ---- */

/* Returns CLI_DONE or CLI_USAGE. */
static int
parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {{"url", required_argument, NULL, 'u'},
	    {"user", required_argument, NULL, 'n'}, {"ca-file", required_argument, NULL, 'c'},
	    {"data", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'u')
			o->url = optarg;
		else if (c == 'n')
			o->user = optarg;
		else if (c == 'c')
			o->ca_file = optarg;
		else if (c == 'd')
			o->data = optarg;
		else
			return CLI_USAGE;
	}
	if (argc - optind != 2 || (o->data != NULL && (o->url != NULL || o->user != NULL || o->ca_file != NULL)))
		return CLI_USAGE;
	o->db = argv[optind];
	o->file = argv[optind + 1];
	if (o->url == NULL)
		o->url = SERVER_DEFAULT_URL;
	return CLI_DONE;
}

int
copy_run(int argc, char **argv)
{
	struct options o = {0};
	struct outfile out;
	struct errtext why = {""};
	int err;

	if (parse(argc, argv, &o) != CLI_DONE)
		return CLI_USAGE;
	/* Without a name the URL would be another one. */
	if (dbs_name_check(o.db, strlen(o.db), &why) != 0) {
		cli_say("%s", why.text);
		return CLI_FAILED;
	}
	err = o.data != NULL ? copy_folder(&o, &out) : copy_served(&o, &out);
	if (err == 0)
		err = outfile_end(&out);
	if (err)
		return CLI_FAILED;
	printf("%s: %llu bytes in %s\n", o.db, (unsigned long long)out.bytes, o.file);
	return CLI_DONE;
}
