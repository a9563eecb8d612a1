/* The peer behind HTTP against divand itself, as source and as target: calls one by one, and whole runs between two databases. */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "base/hash.h"
#include "replicator/session.h"
#include "tests/unit/peertest.h"

#define DOCS 300
#define BIG (3u << 20)

static pid_t server;
static char base_url[128]; /* http://127.0.0.1:PORT/ */
static char data_dir[64];
static struct arena *a;

static void
start_server(const char *argv0)
{
	char path[512], line[256], *at;
	const char *slash = strrchr(argv0, '/');
	char *args[] = {path, (char[]){"--data"}, data_dir, (char[]){"--port"}, (char[]){"0"}, NULL};
	char *env[] = {(char[]){"DIVAN_ADMIN=admin:adm"}, NULL};
	posix_spawn_file_actions_t actions;
	size_t len = 0;
	int fds[2];

	(void)snprintf(path, sizeof(path), "%.*s../divand", slash != NULL ? (int)(slash - argv0 + 1) : 0, argv0);
	(void)snprintf(data_dir, sizeof(data_dir), "/tmp/test-peer-XXXXXX");
	if (mkdtemp(data_dir) == NULL || pipe(fds) != 0)
		abort();
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_addclose(&actions, fds[0]);
	if (posix_spawn(&server, path, &actions, NULL, args, env) != 0) {
		fprintf(stderr, "%s cannot be started\n", path);
		exit(1);
	}
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	while (len + 1 < sizeof(line) && read(fds[0], line + len, 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	at = strstr(line, "http://");
	if (at == NULL) {
		fprintf(stderr, "divand says: %s\n", line);
		exit(1);
	}
	(void)snprintf(base_url, sizeof(base_url), "%.*s/", (int)strcspn(at, " \n"), at);
	len = strlen(base_url);
	if (base_url[len - 2] == '/')
		base_url[len - 1] = '\0';
}

static void
stop_server(void)
{
	char command[128];
	int status;

	kill(server, SIGTERM);
	(void)waitpid(server, &status, 0);
	(void)snprintf(command, sizeof(command), "rm -rf %s", data_dir);
	(void)!system(command);
}

/* ---- Peers ---- */

static struct rep_spec spec;

static struct rep_end *
new_end(const char *db, const char *user, const char *password)
{
	struct rep_end *end = arena_calloc(a, 1, sizeof(*end));
	char url[256];
	int n = snprintf(url, sizeof(url), "%s%s/", base_url, db);

	end->url = arena_dup(a, url, (size_t)n);
	end->user = user;
	end->password = password;
	return end;
}

static struct peer *
new_peer(const struct rep_end *end, const struct rep_spec *s)
{
	struct peer_http_config config = {
	    .loop = peertest_loop, .ex = peertest_ex, .end = end, .spec = s, .filter = &s->filter, .backoff_ms = 5};
	struct peer *p;

	if (peer_http_new(&config, &p) != 0)
		abort();
	return p;
}

static struct jstr
format(const char *fmt, unsigned n)
{
	char text[1024];
	struct jstr s;

	s.len = (size_t)snprintf(text, sizeof(text), fmt, n, n);
	s.s = arena_dup(a, text, s.len);
	CHECK(s.s != NULL);
	return s;
}

static struct rev
rev(const char *text)
{
	struct revbuf b;
	struct rev r;

	if (rev_parse(text, strlen(text), &b) != 0)
		abort();
	r = rev_of(&b);
	r.id = (unsigned char *)arena_dup(a, b.id, b.len);
	return r;
}

#define H1 "11111111111111111111111111111111"
#define H2 "22222222222222222222222222222222"
#define H3 "33333333333333333333333333333333"

static void
make_db(const char *name)
{
	struct peer *p = new_peer(new_end(name, "admin", "adm"), &spec);
	struct peer_create c = {.query = {NULL, 0}};
	struct peer_info i = {.update_seq = {NULL, 0}};

	CHECK_INT(peertest_do(p, info, &i, a), ERR_NO_DB);
	CHECK_INT(peertest_do(p, create, &c, a), 0);
	CHECK_INT(peertest_do(p, create, &c, a), 0);
	CHECK_INT(peertest_do(p, info, &i, a), 0);
	CHECK(i.update_seq.len > 2);
	p->ops->close(p);
}

/* ---- What there is ---- */

/* Of each document a revision, of some a conflict; some are deleted. */
static void
fill(struct peer *p)
{
	struct peer_doc docs[2 * DOCS];
	struct peer_write w = {.docs = docs};
	unsigned i;

	memset(docs, 0, sizeof(docs));
	for (i = 0; i < DOCS; i++) {
		docs[w.n].id = format("doc/%04u\xc3\xa9", i);
		docs[w.n].rev = rev("2-" H2);
		docs[w.n++].text = format(
		    i % 7 == 0 ? "{\"_id\":\"doc/%04u\xc3\xa9\",\"_rev\":\"2-" H2
				 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" H2 "\",\"" H1 "\"]},\"_deleted\":true}"
			       : "{\"_id\":\"doc/%04u\xc3\xa9\",\"_rev\":\"2-" H2
				 "\",\"_revisions\":{\"start\":2,\"ids\":[\"" H2 "\",\"" H1 "\"]},\"n\":%u}",
		    i);
		if (i % 5 != 0)
			continue;
		docs[w.n].id = docs[w.n - 1].id;
		docs[w.n].rev = rev("3-" H3);
		docs[w.n++].text =
		    format("{\"_id\":\"doc/%04u\xc3\xa9\",\"_rev\":\"3-" H3
			   "\",\"_revisions\":{\"start\":3,\"ids\":[\"" H3 "\",\"" H3 "\",\"" H1 "\"]},\"x\":1}",
			i);
	}
	CHECK_INT(peertest_do(p, write, &w, a), 0);
	for (i = 0; i < w.n; i++)
		CHECK_INT(docs[i].err, 0);
}

struct feeding {
	struct pipe *pipe;
	const char *data;
	size_t len;
};

static void
nothing(void *cookie)
{
	(void)cookie;
}

static void *
feed_pipe(void *arg)
{
	struct feeding *f = arg;
	int err;

	while (f->len > 0) {
		size_t n = f->len < 60000 ? f->len : 60000;

		err = pipe_put(f->pipe, f->data, n, nothing, NULL);
		if (err == ERR_AGAIN) {
			usleep(200);
			continue;
		}
		if (err != 0)
			return NULL;
		f->data += n;
		f->len -= n;
	}
	pipe_end(f->pipe, 0);
	return NULL;
}

static char *big;

static void
put_atts(
    struct peer *p, const char *id, const char *text, struct peer_att *atts, size_t natts, const char *data, size_t len)
{
	struct peer_doc doc = {.id = {id, strlen(id)}, .rev = rev("1-" H1), .text = {text, strlen(text)}};
	struct peer_put c = {.doc = &doc, .atts = atts, .natts = natts};
	struct feeding f = {.data = data, .len = len};
	pthread_t thread;

	if (pipe_new(&f.pipe) != 0 || pthread_create(&thread, NULL, feed_pipe, &f) != 0)
		abort();
	c.pipe = f.pipe;
	if (!CHECK_INT(peertest_do(p, put_doc, &c, a), 0))
		fprintf(stderr, "%s\n", c.call.why.text);
	pthread_join(thread, NULL);
	pipe_free(f.pipe);
}

static void
fill_atts(struct peer *p)
{
	struct peer_att atts[2] = {
	    {.name = {"big \"1\"", 7}, .type = {"image/x", 7}, .length = BIG}, {.name = {"e", 1}, .type = {"a/b", 3}}};
	char text[512];
	uint32_t x = 7;
	size_t i;

	big = arena_alloc(a, BIG);
	for (i = 0; i < BIG; i++) {
		x = x * 1664525 + 1013904223;
		big[i] = (char)(x >> 24);
	}
	(void)snprintf(text, sizeof(text),
	    "{\"_id\":\"photo\",\"_rev\":\"1-" H1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1
	    "\"]},\"_attachments\":{"
	    "\"big \\\"1\\\"\":{\"follows\":true,\"length\":%u,\"content_type\":\"image/x\",\"revpos\":1},"
	    "\"e\":{\"follows\":true,\"length\":0,\"content_type\":\"a/b\",\"revpos\":1}}}",
	    BIG);
	put_atts(p, "photo", text, atts, 2, big, BIG);
	/* Text, which is stored as gzip. */
	memset(big, 'x', 100000);
	atts[0] = (struct peer_att){.name = {"t", 1}, .type = {"text/plain", 10}, .length = 100000};
	(void)snprintf(text, sizeof(text),
	    "{\"_id\":\"_design/d\",\"_rev\":\"1-" H1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1
	    "\"]},\"_attachments\":{"
	    "\"t\":{\"follows\":true,\"length\":100000,\"content_type\":\"text/plain\",\"revpos\":1}}}");
	put_atts(p, "_design/d", text, atts, 1, big, 100000);
}

/* ---- Runs ---- */

static int ended_err;
static struct errtext ended_why;

static void
on_ended(void *cookie, struct session *s, int err, const struct errtext *why)
{
	(void)s;
	pthread_mutex_lock(&peertest_lock);
	ended_err = err;
	if (why != NULL)
		ended_why = *why;
	*(int *)cookie = 1;
	pthread_cond_broadcast(&peertest_cond);
	pthread_mutex_unlock(&peertest_lock);
}

static int
run(const struct rep_spec *s, struct session_stats *stats)
{
	struct session_config config = {.spec = s, .ex = peertest_ex, .ended = on_ended};
	struct session *session;
	int flag = 0;

	config.source = new_peer(&s->source, s);
	config.target = new_peer(&s->target, s);
	config.cookie = &flag;
	if (session_new(&config, &session) != 0)
		abort();
	session_start(session);
	pthread_mutex_lock(&peertest_lock);
	while (!flag)
		pthread_cond_wait(&peertest_cond, &peertest_lock);
	pthread_mutex_unlock(&peertest_lock);
	session_stats(session, stats);
	session_free(session);
	if (ended_err != 0)
		fprintf(stderr, "%s\n", ended_why.text);
	return ended_err;
}

/* All changes of a database; the target must have each revision. */
static size_t
compare(struct peer *from, struct peer *to)
{
	struct peer_changes c = {.limit = 10000};
	struct peer_diff d;
	size_t i, leaves = 0;

	CHECK_INT(peertest_do(from, changes, &c, a), 0);
	CHECK_INT(c.more, 0);
	memset(&d, 0, sizeof(d));
	d.n = c.n;
	d.wants = arena_calloc(a, c.n + 1, sizeof(*d.wants));
	for (i = 0; i < c.n; i++) {
		d.wants[i] = (struct peer_want){.id = c.rows[i].id, .revs = c.rows[i].revs, .nrevs = c.rows[i].nrevs};
		leaves += c.rows[i].nrevs;
	}
	CHECK_INT(peertest_do(to, diff, &d, a), 0);
	for (i = 0; i < c.n; i++)
		CHECK_INT(d.wants[i].nrevs, 0);
	return leaves;
}

/* Digests and lengths are checked by the peer. */
static size_t
read_doc(struct peer *p, const char *id)
{
	struct peer_open c = {.id = {id, strlen(id)}, .rev = rev("1-" H1)};
	static char piece[50000];
	size_t n, got = 0;
	int flag, err;

	if (pipe_new(&c.pipe) != 0)
		abort();
	c.ready = (void (*)(struct peer_open *))nothing;
	peertest_prepare(&c.call, a, &flag);
	p->ops->open_doc(p, &c);
	while ((err = pipe_take(c.pipe, piece, sizeof(piece), &n, nothing, NULL)) == 0 || err == ERR_AGAIN) {
		got += n;
		usleep(err == ERR_AGAIN ? 200 : 0);
	}
	CHECK_INT(err, ERR_END);
	CHECK_INT(peertest_wait(&c.call, &flag), 0);
	pipe_free(c.pipe);
	return got;
}

static void
test_runs(int bulk_get)
{
	const char *names[2] = {bulk_get ? "source" : "source1", bulk_get ? "target" : "target1"};
	struct rep_spec s = {.connections = 6,
	    .retries = 2,
	    .timeout_ms = 20000,
	    .workers = 2,
	    .batch = 100,
	    .checkpoints = 1,
	    .checkpoint_ms = 5000};
	struct peer *source, *target;
	struct session_stats stats;

	s.bulk_get = bulk_get;
	s.id = bulk_get ? "0123456789abcdef0123456789abcdef" : "1123456789abcdef0123456789abcdef";
	s.source = *new_end(names[0], "admin", "adm");
	s.target = *new_end(names[1], "admin", "adm");
	make_db(names[0]);
	make_db(names[1]);
	source = new_peer(&s.source, &s);
	target = new_peer(&s.target, &s);
	fill(source);
	fill_atts(source);
	CHECK_INT(run(&s, &stats), 0);
	CHECK_INT(stats.written, DOCS + DOCS / 5 + 2);
	CHECK_INT(stats.failures, 0);
	CHECK(bulk_get ? stats.bulk_docs > 0 : stats.bulk_attempts == 0);
	CHECK_INT(compare(source, target), DOCS + DOCS / 5 + 2);
	CHECK_INT(compare(target, source), DOCS + DOCS / 5 + 2);
	CHECK_INT(read_doc(target, "photo"), BIG);
	CHECK_INT(read_doc(target, "_design/d"), read_doc(source, "_design/d"));
	/* What is done is not done again. */
	CHECK_INT(run(&s, &stats), 0);
	CHECK_INT(stats.checked, 0);
	CHECK_INT(stats.written, 0);
	source->ops->close(source);
	target->ops->close(target);
}

static void
test_wait(void)
{
	struct peer *p = new_peer(new_end("source", "admin", "adm"), &spec);
	struct peer_info i = {.update_seq = {NULL, 0}};
	struct peer_doc doc = {.id = {"late", 4}, .rev = rev("1-" H1)};
	struct peer_write w = {.docs = &doc, .n = 1};
	struct peer_changes c = {.limit = 100, .wait = 1};
	int flag;

	CHECK_INT(peertest_do(p, info, &i, a), 0);
	c.since = i.update_seq;
	peertest_prepare(&c.call, a, &flag);
	p->ops->changes(p, &c);
	doc.text =
	    format("{\"_id\":\"late\",\"_rev\":\"1-" H1 "\",\"_revisions\":{\"start\":1,\"ids\":[\"" H1 "\"]}}", 0);
	CHECK_INT(peertest_do(p, write, &w, a), 0);
	CHECK_INT(peertest_wait(&c.call, &flag), 0);
	CHECK_INT(c.n, 1);
	CHECK_MEM(c.rows[0].id.s, c.rows[0].id.len, "late", 4);
	c.since = c.last_seq;
	peertest_prepare(&c.call, a, &flag);
	p->ops->changes(p, &c);
	p->ops->cancel(p, &c.call);
	CHECK_INT(peertest_wait(&c.call, &flag), ERR_CANCELLED);
	p->ops->close(p);
}

static void
test_refused(void)
{
	struct peer_info i = {.update_seq = {NULL, 0}};
	struct peer *p = new_peer(new_end("source", "admin", "wrong"), &spec);

	CHECK_INT(peertest_do(p, info, &i, a), ERR_UNAUTHORIZED);
	CHECK(strstr(i.call.why.text, "wrong") == NULL);
	p->ops->close(p);
	p = new_peer(new_end("source", NULL, NULL), &spec);
	CHECK_INT(peertest_do(p, info, &i, a), ERR_UNAUTHORIZED);
	p->ops->close(p);
}

int
main(int argc, char **argv)
{
	(void)argc;
	peertest_begin();
	a = peertest_arena();
	start_server(argv[0]);
	spec = (struct rep_spec){.connections = 6, .retries = 2, .timeout_ms = 20000, .bulk_get = 1};
	test_runs(1);
	test_runs(0);
	test_wait();
	test_refused();
	stop_server();
	peertest_end();
	arena_free(a);
	return check_done();
}
