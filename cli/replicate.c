/*
 * replicate.c: `divan replicate`: a running divand copies one database's changes to another.
 *
 * The server does the work; this asks for it, watches, and tells. First the description is sent with "dry_run", which is
 * answered by its id: what is wrong with it is known before anything is shown, and /_scheduler/jobs/ID can be watched
 * while the request itself waits for the end. A signal cancels by that id; the server notes how far it came, and the same
 * command goes on from there.
 *
 * What one-shot replications answer is believed; what is watched is for people, and for runs that were ended.
 */
#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "replicate.h"
#include "server.h"

#define ANSWER_MAX ((size_t)16 << 20)
#define ID_MAX 128u
#define WATCH_MS 500
#define LAST_ANSWER_MS 30000u /* so long a cancelled run may take to end */

const char replicate_help[] =
    "usage: divan replicate [OPTION...] SOURCE TARGET\n"
    "\n"
    "Has a running divand copy all changes of SOURCE to TARGET, each the name of a database of\n"
    "that server or the URL of one behind HTTP, and tells how far it is. Ended by Ctrl-C or an\n"
    "error, the same command goes on where it was.\n"
    "\n"
    "  --continuous          go on with the changes to come, until Ctrl-C\n"
    "  --detach              with --continuous: leave it running there\n"
    "  --cancel              end what the same command, without this, has started\n"
    "  --create-target       make TARGET if it is not there\n"
    "  --filter DDOC/NAME    only what this filter of SOURCE's passes; its query: --param NAME=VALUE\n"
    "  --doc-ids ID[,ID...]  only these documents; or a JSON array\n"
    "  --selector FILE       only what this selector (JSON) matches; - is standard input\n"
    "  --since SEQ           begin behind this sequence of SOURCE's\n"
    "  --winning-revs-only   leave conflicts behind\n"
    "  --no-checkpoints      note at neither end how far it came\n"
    "  --json                at the end, print one JSON object\n"
    "  --quiet               show no progress\n"
    "  --url URL             the divand to ask (" SERVER_DEFAULT_URL ")\n"
    "  --user NAME           who asks; --ca-file FILE: whom to trust; as `divan copy --help` says\n"
    "\n"
    "The names and passwords of URLs come from the environment, DIVAN_SOURCE=name:password and\n"
    "DIVAN_TARGET=name:password, or stand in the URLs, where others may read them.\n"
    "\n"
    "Exit status: 0 all is at TARGET; 1 it failed; 2 wrong usage; 3 done, but TARGET refused\n"
    "documents; 130 ended by Ctrl-C.\n";

enum { WITH_URL = 256, WITH_USER, WITH_CA, WITH_FILTER, WITH_PARAM, WITH_IDS, WITH_SELECTOR, WITH_SINCE };

/* ---- What happens meanwhile ---- */

static int wake[2] = {-1, -1}; /* a byte: something happened */
static volatile sig_atomic_t caught;

static void
wake_up(void)
{
	int saved = errno;

	/* A full pipe wakes just as well. */
	while (write(wake[1], "", 1) < 0 && errno == EINTR)
		;
	errno = saved;
}

static void
on_signal(int signo)
{
	/* The second one ends this process; the server goes on to its end. */
	if (caught)
		_exit(128 + signo);
	caught = signo;
	wake_up();
}

static int
wake_begin(void)
{
	if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
		return ERR_IO;
	cli_signals(on_signal, 0);
	return 0;
}

static void
wait_for(int ms)
{
	struct pollfd p = {.fd = wake[0], .events = POLLIN};
	char bytes[64];

	if (poll(&p, 1, ms) > 0)
		while (read(wake[0], bytes, sizeof(bytes)) > 0)
			;
}

/* ---- One run ---- */

struct run {
	struct replicate_options *o;
	struct server server;
	struct buf body;            /* the description, with braces */
	char id[ID_MAX];            /* of the replication */
	char path[ID_MAX * 3 + 32]; /* where it is watched */
	struct server_answer seen;  /* of what is watched */
	int watched;                /* it could be so far */
	struct copied copied;
	struct progress progress;
	uint64_t start_ms;

	/* The request that waits for a one-shot run's end; done is set last. */
	struct httpc_request req;
	struct buf url;
	struct server_answer answer;
	int err;
	struct errtext why;
	int done;
};

static int
on_answer(void *cookie, const void *data, size_t len)
{
	struct run *r = cookie;

	return buf_put(&r->answer.body, data, len);
}

static void
on_done(void *cookie, int err, int status, const struct errtext *why)
{
	struct run *r = cookie;

	r->err = err;
	r->answer.status = status;
	r->why = *why;
	__atomic_store_n(&r->done, 1, __ATOMIC_RELEASE);
	wake_up();
}

static int
is_done(const struct run *r)
{
	return __atomic_load_n(&r->done, __ATOMIC_ACQUIRE);
}

static int
refuse(const struct run *r, const struct server_answer *a)
{
	struct errtext reason;

	server_reason(&a->body, &reason);
	if (a->status == 401 && r->server.who.name[0] == '\0')
		cli_say("%s wants to know who asks: give --user, or DIVAN_ADMIN in the environment", r->server.url);
	else if (reason.text[0] == '\0')
		cli_say("%s answers %d: is it a divand?", r->server.url, a->status);
	else
		cli_say("%s refuses (%d): %s", r->server.url, a->status, reason.text);
	return ERR_IO;
}

/* The id is made of hexadecimal digits and "+". */
static int
take_id(struct run *r, const struct server_answer *a)
{
	struct jstr text;
	struct buf path;
	size_t i;

	if (!server_member((struct jstr){a->body.data, a->body.len}, "_local_id", &text) || text.len < 3 ||
	    text.len - 2 >= sizeof(r->id))
		return refuse(r, a);
	memcpy(r->id, text.s + 1, text.len - 2);
	r->id[text.len - 2] = '\0';
	buf_init(&path, sizeof(r->path));
	buf_puts(&path, "/_scheduler/jobs/");
	for (i = 0; r->id[i] != '\0'; i++)
		buf_printf(&path, r->id[i] == '+' ? "%%2B" : "%c", r->id[i]);
	buf_putc(&path, '\0');
	if (buf_failed(&path) == 0)
		memcpy(r->path, path.data, path.len);
	buf_release(&path);
	return 0;
}

/* POST to _replicate: the description, and ${more} members. */
static int
post(struct run *r, const char *more, struct server_answer *a)
{
	struct buf body;
	int err;

	buf_init(&body, REPLICATE_BODY_MAX);
	buf_put(&body, r->body.data, r->body.len - 1);
	buf_puts(&body, more);
	buf_putc(&body, '}');
	if ((err = buf_failed(&body)) != 0)
		cli_say("%s", err_reason(err));
	else
		err = server_ask(&r->server, "POST", "/_replicate", &body, 0, a);
	buf_release(&body);
	return err;
}

/* Ends it, by its id; with or without create_target it is the same to who ends it. */
static int
cancel(struct run *r, struct server_answer *a)
{
	static const char create[] = "+create_target";
	char *end = strstr(r->id, create);
	struct buf body;
	int i, err = 0;

	if (end != NULL)
		*end = '\0';
	buf_init(&body, ID_MAX * 2);
	for (i = 0, a->status = 404; i < 2 && err == 0 && a->status == 404; i++) {
		buf_clear(&body);
		buf_printf(&body, "{\"cancel\":true,\"replication_id\":\"%s%s\"}", r->id, i == 0 ? "" : create);
		err = server_ask(&r->server, "POST", "/_replicate", &body, 0, a);
	}
	buf_release(&body);
	return err;
}

/* The reason of a crash, where the last thing that happened is one. */
static void
note_of(struct jstr job, char *out, size_t room)
{
	struct jstr info, error;

	out[0] = '\0';
	if (server_member(job, "info", &info) && server_member(info, "error", &error))
		(void)snprintf(out, room, "waits behind an error: %.*s", (int)error.len, error.s);
}

/* Who may not watch, or is told nothing, does without. */
static void
watch(struct run *r)
{
	struct jstr job;
	char note[256];

	if (server_ask(&r->server, "GET", r->path, NULL, 1, &r->seen) != 0 || r->seen.status != 200)
		return;
	job = (struct jstr){r->seen.body.data, r->seen.body.len};
	r->watched |= replicate_from_job(job, &r->copied);
	note_of(job, note, sizeof(note));
	replicate_progress_show(&r->progress, &r->copied, note);
}

static int
begin(struct run *r)
{
	int err;

	server_request(&r->server, "POST", NULL, &r->body, &r->req);
	if ((err = server_put_url(r->server.url, "/_replicate", &r->url)) != 0)
		return err;
	r->req.url = r->url.data;
	r->req.feed = 1;
	r->req.times.stall_ms = HTTPC_FOREVER;
	r->req.on_body = on_answer;
	r->req.on_done = on_done;
	r->req.cookie = r;
	return httpc_start(r->server.client, &r->req);
}

static double
seconds_of(const struct run *r)
{
	return (double)(replicate_now_ms() - r->start_ms) / 1000;
}

static int
tell(struct run *r, const char *state, const char *reason)
{
	const struct replicate_options *o = r->o;

	replicate_progress_clear(&r->progress);
	if (o->json)
		replicate_print_json(&r->copied, state, r->id, seconds_of(r), reason);
	else if (r->copied.checked > 0 || strcmp(state, "failed") != 0)
		replicate_print(&r->copied, o->ends[0], o->ends[1], seconds_of(r));
	return CLI_DONE;
}

static int
interrupted(struct run *r)
{
	uint64_t until = replicate_now_ms() + LAST_ANSWER_MS;
	struct server_answer a = {0};
	int err;

	watch(r);
	buf_init(&a.body, ANSWER_MAX);
	replicate_progress_clear(&r->progress);
	err = cancel(r, &a);
	buf_release(&a.body);
	while (err == 0 && !r->o->continuous && !is_done(r) && replicate_now_ms() < until)
		wait_for(WATCH_MS);
	(void)tell(r, "cancelled", "");
	cli_say("ended by a signal; the same command goes on from here");
	return 128 + caught;
}

static int
failed(struct run *r)
{
	struct errtext reason = {""};

	if (r->err != 0)
		(void)err_why(
		    &reason, 0, "%s: %s", r->server.url, r->why.text[0] != '\0' ? r->why.text : err_reason(r->err));
	else
		server_reason(&r->answer.body, &reason);
	if (reason.text[0] == '\0')
		(void)err_why(&reason, 0, "%s answers %d", r->server.url, r->answer.status);
	(void)tell(r, "failed", reason.text);
	cli_say("%s", reason.text);
	return CLI_FAILED;
}

static int
one_shot(struct run *r)
{
	int err = begin(r);

	if (err != 0) {
		cli_say("%s: %s", r->server.url, err_reason(err));
		return CLI_FAILED;
	}
	while (!is_done(r) && !caught) {
		wait_for(WATCH_MS);
		if (!is_done(r) && !caught)
			watch(r);
	}
	if (!is_done(r))
		return interrupted(r);
	replicate_progress_clear(&r->progress);
	if (r->err != 0 || r->answer.status != 200)
		return failed(r);
	replicate_from_answer((struct jstr){r->answer.body.data, r->answer.body.len}, &r->copied);
	(void)tell(r, "completed", "");
	if (r->copied.refused > 0)
		cli_say("%llu documents were refused by %s", (unsigned long long)r->copied.refused, r->o->ends[1]);
	return r->copied.refused > 0 ? CLI_PARTLY : CLI_DONE;
}

/* It runs there, and is watched here. */
static int
continuous(struct run *r)
{
	struct server_answer a = {0};
	int err;

	buf_init(&a.body, ANSWER_MAX);
	err = post(r, "", &a);
	if (err == 0 && a.status >= 300)
		err = refuse(r, &a);
	buf_release(&a.body);
	if (err != 0)
		return CLI_FAILED;
	if (r->o->detach)
		return r->o->json ? tell(r, "running", "") : (printf("%s\n", r->id), CLI_DONE);
	while (!caught) {
		watch(r);
		if (r->seen.status == 404) {
			replicate_progress_clear(&r->progress);
			(void)tell(r, "failed", "it was ended");
			cli_say("it was ended by somebody else");
			return CLI_FAILED;
		}
		wait_for(r->progress.active ? WATCH_MS : 10 * WATCH_MS);
	}
	return interrupted(r);
}

static int
cancelled(struct run *r)
{
	struct server_answer a = {0};
	int err;

	buf_init(&a.body, ANSWER_MAX);
	err = cancel(r, &a);
	if (err == 0 && a.status == 404)
		cli_say("no such replication runs there");
	else if (err == 0 && a.status >= 300)
		(void)refuse(r, &a);
	if (err == 0 && a.status >= 300)
		err = ERR_MISSING;
	buf_release(&a.body);
	if (err == 0 && r->o->json)
		(void)tell(r, "cancelled", "");
	return err == 0 ? CLI_DONE : CLI_FAILED;
}

static int
run(struct run *r)
{
	struct server_answer a = {0};
	int err;

	buf_init(&a.body, ANSWER_MAX);
	buf_putc(&r->body, '{');
	err = replicate_describe(r->o, &r->body);
	buf_putc(&r->body, '}');
	if (err == 0 && (err = buf_failed(&r->body)) != 0)
		cli_say("%s", err_reason(err));
	if (err == 0)
		err = server_open(&r->server, r->o->url, r->o->user, r->o->ca_file);
	if (err == 0)
		err = post(r, ",\"dry_run\":true", &a);
	if (err == 0)
		err = a.status == 200 ? take_id(r, &a) : refuse(r, &a);
	buf_release(&a.body);
	if (err == 0 && wake_begin() != 0) {
		cli_say("%s", strerror(errno));
		err = ERR_IO;
	}
	if (err != 0)
		return CLI_FAILED;
	r->start_ms = replicate_now_ms();
	replicate_progress_init(&r->progress, r->o->quiet);
	return r->o->cancel ? cancelled(r) : r->o->continuous ? continuous(r) : one_shot(r);
}

/* ---- The command ---- */

/* NAME=VALUE */
static int
add_param(struct buf *b, const char *param)
{
	const char *equals = strchr(param, '=');

	if (equals == NULL)
		return CLI_USAGE;
	if (b->len > 0)
		buf_putc(b, ',');
	buf_put_json(b, param, (size_t)(equals - param));
	buf_putc(b, ':');
	buf_put_json(b, equals + 1, strlen(equals + 1));
	return CLI_DONE;
}

/* Of the options with a value. */
static int
take(struct replicate_options *o, int c, const char *value)
{
	const char **const places[] = {
	    &o->url, &o->user, &o->ca_file, &o->filter, NULL, &o->doc_ids, &o->selector, &o->since};

	if (c < WITH_URL || c > WITH_SINCE)
		return c == 0 ? CLI_DONE : CLI_USAGE;
	if (c == WITH_PARAM)
		return add_param(&o->params, value);
	*places[c - WITH_URL] = value;
	return CLI_DONE;
}

static int
parse(int argc, char **argv, struct replicate_options *o)
{
	const struct option longs[] = {{"url", required_argument, NULL, WITH_URL},
	    {"user", required_argument, NULL, WITH_USER}, {"ca-file", required_argument, NULL, WITH_CA},
	    {"filter", required_argument, NULL, WITH_FILTER}, {"param", required_argument, NULL, WITH_PARAM},
	    {"doc-ids", required_argument, NULL, WITH_IDS}, {"selector", required_argument, NULL, WITH_SELECTOR},
	    {"since", required_argument, NULL, WITH_SINCE}, {"continuous", no_argument, &o->continuous, 1},
	    {"detach", no_argument, &o->detach, 1}, {"cancel", no_argument, &o->cancel, 1},
	    {"create-target", no_argument, &o->create_target, 1}, {"winning-revs-only", no_argument, &o->winners, 1},
	    {"no-checkpoints", no_argument, &o->no_checkpoints, 1}, {"json", no_argument, &o->json, 1},
	    {"quiet", no_argument, &o->quiet, 1}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
		if (take(o, c, optarg) != CLI_DONE)
			return CLI_USAGE;
	if (argc - optind != 2 || (o->detach && !o->continuous))
		return CLI_USAGE;
	o->ends[0] = argv[optind];
	o->ends[1] = argv[optind + 1];
	return CLI_DONE;
}

int
replicate_run(int argc, char **argv)
{
	struct replicate_options o = {0};
	struct run r = {.o = &o};
	int status;

	buf_init(&o.params, REPLICATE_BODY_MAX);
	buf_init(&r.body, REPLICATE_BODY_MAX);
	buf_init(&r.url, SERVER_URL_MAX);
	buf_init(&r.seen.body, ANSWER_MAX);
	buf_init(&r.answer.body, ANSWER_MAX);
	status = parse(argc, argv, &o);
	if (status == CLI_DONE)
		status = run(&r);
	server_close(&r.server);
	buf_release(&r.answer.body);
	buf_release(&r.seen.body);
	buf_release(&r.url);
	buf_release(&r.body);
	buf_release(&o.params);
	return status;
}
