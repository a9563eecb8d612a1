/*
 * replicate_describe.c: the options of `divan replicate` as what /_replicate takes.
 *
 * Names and passwords of URLs stand in the request alone: they are taken out of the command line as soon as they are read.
 */
#include "replicate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/httpc.h"
#include "cli.h"

static void
put_auth(struct buf *b, const char *user, size_t user_len, const char *password)
{
	buf_puts(b, ",\"auth\":{\"basic\":{\"username\":");
	buf_put_json(b, user, user_len);
	buf_puts(b, ",\"password\":");
	buf_put_json(b, password, strlen(password));
	buf_puts(b, "}}");
}

/* What ps(1) shows of an argument has no credentials from now on. */
static void
hide_credentials(char *url)
{
	char *from = strstr(url, "://"), *to;

	if (from == NULL)
		return;
	from += 3;
	to = memchr(from, '@', strcspn(from, "/?#"));
	if (to != NULL)
		memmove(from, to + 1, strlen(to + 1) + 1);
}

/* The last '@' before the path ends credentials; a URL that httpc_url_split() takes has one at most that is not encoded. */
static int
put_end(struct buf *b, const char *member, char *end, const char *env)
{
	const char *both = getenv(env), *colon = both != NULL ? strchr(both, ':') : NULL;
	struct httpc_url url;
	struct errtext why = {""};
	int err;

	buf_printf(b, "\"%s\":", member);
	if (strncmp(end, "http://", 7) != 0 && strncmp(end, "https://", 8) != 0) {
		buf_put_json(b, end, strlen(end));
		return buf_failed(b);
	}
	if ((err = httpc_url_split(end, &url, &why)) != 0) {
		cli_say("the %s is no URL: %s", member, why.text);
		return err;
	}
	hide_credentials(end);
	buf_puts(b, "{\"url\":");
	buf_put_json(b, url.url, strlen(url.url));
	if (url.user != NULL)
		put_auth(b, url.user, strlen(url.user), url.password != NULL ? url.password : "");
	else if (colon != NULL)
		put_auth(b, both, (size_t)(colon - both), colon + 1);
	buf_putc(b, '}');
	httpc_url_release(&url);
	return buf_failed(b);
}

/* ID,ID or a JSON array. */
static void
put_ids(struct buf *b, const char *ids)
{
	if (*ids == '[') {
		buf_puts(b, ids);
		return;
	}
	buf_putc(b, '[');
	for (const char *p = ids;; p++) {
		size_t len = strcspn(p, ",");

		if (p != ids)
			buf_putc(b, ',');
		buf_put_json(b, p, len);
		if (*(p += len) == '\0')
			break;
	}
	buf_putc(b, ']');
}

static int
put_file(struct buf *b, const char *path)
{
	FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char piece[8192];
	size_t n;
	int err = 0;

	if (f == NULL) {
		cli_say("%s: %s", path, strerror(errno));
		return ERR_IO;
	}
	while (err == 0 && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		err = buf_put(b, piece, n);
	if (err == 0 && ferror(f))
		err = ERR_IO;
	if (err != 0)
		cli_say("%s: %s", path, err_reason(err));
	if (f != stdin)
		fclose(f);
	return err;
}

/* Sequences are strings, or numbers as elder servers have them. */
static void
put_since(struct buf *b, const char *since)
{
	if (since[0] != '\0' && strspn(since, "0123456789") == strlen(since))
		buf_puts(b, since);
	else
		buf_put_json(b, since, strlen(since));
}

int
replicate_describe(struct replicate_options *o, struct buf *b)
{
	int err;

	if ((err = put_end(b, "source", o->ends[0], "DIVAN_SOURCE")) != 0)
		return err;
	buf_putc(b, ',');
	if ((err = put_end(b, "target", o->ends[1], "DIVAN_TARGET")) != 0)
		return err;
	if (o->continuous)
		buf_puts(b, ",\"continuous\":true");
	if (o->create_target)
		buf_puts(b, ",\"create_target\":true");
	if (o->winners)
		buf_puts(b, ",\"winning_revs_only\":true");
	if (o->no_checkpoints)
		buf_puts(b, ",\"use_checkpoints\":false");
	if (o->filter != NULL) {
		buf_puts(b, ",\"filter\":");
		buf_put_json(b, o->filter, strlen(o->filter));
	}
	if (o->params.len > 0) {
		buf_puts(b, ",\"query_params\":{");
		buf_put(b, o->params.data, o->params.len);
		buf_putc(b, '}');
	}
	if (o->doc_ids != NULL) {
		buf_puts(b, ",\"doc_ids\":");
		put_ids(b, o->doc_ids);
	}
	if (o->since != NULL) {
		buf_puts(b, ",\"since_seq\":");
		put_since(b, o->since);
	}
	if (o->selector != NULL) {
		buf_puts(b, ",\"selector\":");
		if ((err = put_file(b, o->selector)) != 0)
			return err;
	}
	return buf_failed(b);
}
