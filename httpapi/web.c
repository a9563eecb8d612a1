/*
 * web.c: the built page: files below one folder, served below /_utils/.
 *
 * A name is made of the path's decoded parts, none of which may begin with a
 * dot or hold a slash, so no request leaves the folder.  Files are small and
 * few; each is read whole on an executor thread, and its ETag is its digest.
 * A folder's page is its index.html, below the folder's name with a slash,
 * for relative links need that.
 *
 * Text goes out compressed to who takes it.  What was compressed is kept, for
 * as long as the file has the same inode, size and time: at most CACHE_FILES
 * of them and CACHE_BYTES in all; beyond that each request compresses anew.
 */
#include "web.h"
#include "base/hash.h"
#include "base/limits.h"
#include "csp.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define WEB_FILE_MAX ((size_t)64 << 20) /* bytes of one file */
#define WEB_CSP                                                                                                   \
	"default-src 'self'; img-src 'self' data: blob:; worker-src 'self'; object-src 'none'; base-uri 'none'; " \
	"form-action 'self'; frame-ancestors 'none'"
#define TAG_LEN (2 * MD5_LEN + 5)      /* "DIGEST-gz" in quotes */
#define CACHE_FILES 64u                /* compressed files that are kept */
#define CACHE_BYTES ((size_t)16 << 20) /* bytes of all of them */

/* One file, compressed.  Never changed once it is in the cache, but replaced. */
struct packed {
	char *name;
	struct stat st; /* of the file that it was made of */
	char tag[TAG_LEN + 1];
	char *data;
	size_t len;
};

struct web {
	int root; /* the folder; -1: there is none */
	pthread_mutex_t lock;
	struct packed cache[CACHE_FILES]; /* guarded by lock, as what follows */
	size_t ncache;
	size_t bytes;
};

/* One file on its way; lives in the request's arena. */
struct file {
	struct jstr name; /* relative to the root */
	int slash;        /* the request ends in one */
	int gzip;         /* the client takes it */
	int err;
	int redirect; /* it is a folder, and was asked for without the slash */
	struct stat st;
	char *data; /* malloc()ed */
	size_t len;
	int packed; /* data is compressed */
	char tag[TAG_LEN + 1];
};

#define INSTALLED "/../share/divan/web" /* from where the program is */

/* Beside the program, or where `make install` puts it. */
static int
open_root(const struct config *c)
{
	char path[4096];
	const char *dir = config_get(c, "divan", "web_dir", "");
	ssize_t n;
	char *slash;
	int fd;

	if (*dir)
		return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	n = readlink("/proc/self/exe", path, sizeof(path) - 5);
	if (n <= 0)
		return -1;
	path[n] = '\0';
	slash = strrchr(path, '/');
	if (!slash)
		return -1;
	memcpy(slash, "/web", 5);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 || (size_t)(slash - path) + sizeof(INSTALLED) > sizeof(path))
		return fd;
	memcpy(slash, INSTALLED, sizeof(INSTALLED));
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int
web_new(struct api *api)
{
	struct web *w = calloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	if (pthread_mutex_init(&w->lock, NULL) != 0) {
		free(w);
		return ERR_NOMEM;
	}
	w->root = open_root(api->config);
	api->web = w;
	return 0;
}

static void
packed_release(struct packed *p)
{
	free(p->name);
	free(p->data);
}

void
web_free(struct api *api)
{
	struct web *w = api->web;

	if (!w)
		return;
	for (size_t i = 0; i < w->ncache; i++)
		packed_release(&w->cache[i]);
	if (w->root >= 0)
		close(w->root);
	pthread_mutex_destroy(&w->lock);
	free(w);
	api->web = NULL;
}

static const char *
content_type(const struct jstr *name)
{
	static const struct {
		const char *end;
		const char *type;
	} types[] = {
	    {".html", "text/html; charset=utf-8"},
	    {".js", "text/javascript; charset=utf-8"},
	    {".mjs", "text/javascript; charset=utf-8"},
	    {".css", "text/css; charset=utf-8"},
	    {".json", "application/json"},
	    {".map", "application/json"},
	    {".webmanifest", "application/manifest+json"},
	    {".svg", "image/svg+xml"},
	    {".png", "image/png"},
	    {".jpg", "image/jpeg"},
	    {".webp", "image/webp"},
	    {".ico", "image/x-icon"},
	    {".woff2", "font/woff2"},
	    {".woff", "font/woff"},
	    {".wasm", "application/wasm"},
	    {".txt", "text/plain; charset=utf-8"},
	};
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		size_t n = strlen(types[i].end);

		if (name->len > n && memcmp(name->s + name->len - n, types[i].end, n) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

static int
is_text(const struct jstr *name)
{
	const char *type = content_type(name);

	return strncmp(type, "text/", 5) == 0 || strstr(type, "json") || strstr(type, "svg") || strstr(type, "wasm");
}

/* ---- Compressed files ---- */

static int
same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static struct packed *
find_packed(struct web *w, const char *name)
{
	for (size_t i = 0; i < w->ncache; i++) {
		if (strcmp(w->cache[i].name, name) == 0)
			return &w->cache[i];
	}
	return NULL;
}

/* 1 if the file is set from the cache. */
static int
recall(struct web *w, struct file *f)
{
	int hit = 0;
	const struct packed *p;

	pthread_mutex_lock(&w->lock);
	p = find_packed(w, f->name.s);
	if (p && same_file(&p->st, &f->st) && (f->data = malloc(p->len)) != NULL) {
		memcpy(f->data, p->data, p->len);
		f->len = p->len;
		memcpy(f->tag, p->tag, sizeof(f->tag));
		f->packed = hit = 1;
	}
	pthread_mutex_unlock(&w->lock);
	return hit;
}

/* Whatever stands in the way of keeping it does not matter: it is made again. */
static void
keep(struct web *w, const struct file *f)
{
	struct packed new = {.name = strdup(f->name.s), .st = f->st, .data = malloc(f->len), .len = f->len};
	struct packed *p;
	size_t before;

	pthread_mutex_lock(&w->lock);
	p = find_packed(w, f->name.s);
	before = p ? p->len : 0;
	if (new.name &&new.data && w->bytes - before + f->len <= CACHE_BYTES && (p || w->ncache < CACHE_FILES)) {
		struct packed old = {0};

		memcpy(new.data, f->data, f->len);
		memcpy(new.tag, f->tag, sizeof(new.tag));
		w->bytes = w->bytes - before + f->len;
		if (p)
			old = *p;
		else
			p = &w->cache[w->ncache++];
		*p = new;
		new = old;
	}
	pthread_mutex_unlock(&w->lock);
	packed_release(&new);
}

/* Replaces the bytes by the compressed ones where these are fewer. */
static void
pack(struct file *f)
{
	z_stream z = {0};
	size_t room;
	char *out;

	if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return;
	room = f->len; /* at most WEB_FILE_MAX */
	out = malloc(room ? room : 1);
	z.next_in = (Bytef *)f->data;
	z.avail_in = (uInt)f->len;
	z.next_out = (Bytef *)out;
	z.avail_out = (uInt)room;
	if (out && deflate(&z, Z_FINISH) == Z_STREAM_END) {
		char *fewer = realloc(out, z.total_out);

		free(f->data);
		f->data = fewer ? fewer : out;
		f->len = z.total_out;
		f->packed = 1;
		out = NULL;
	}
	free(out);
	deflateEnd(&z);
}

/* ---- Reading ---- */

static int
read_all(int fd, struct buf *b)
{
	for (;;) {
		char *room;
		int err = buf_reserve(b, 65536, &room);
		ssize_t n;

		if (err)
			return err;
		n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		if (n == 0)
			return 0;
		buf_commit(b, (size_t)n);
	}
}

/*
 * Opens the file, or a folder's index.html.  Errors: ERR_MISSING for what is no plain file, however
 * it is not.
 */
static int
open_file(const struct web *w, struct apireq *r, struct file *f, int *fdp)
{
	/* O_NONBLOCK: a pipe in the folder must not hold the thread. */
	int fd = openat(w->root, f->name.s, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return ERR_MISSING;
	if (fstat(fd, &f->st) == 0 && S_ISDIR(f->st.st_mode)) {
		int sub = openat(fd, "index.html", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		char *name;

		close(fd);
		if (sub < 0)
			return ERR_MISSING;
		name = arena_alloc(r->arena, f->name.len + sizeof("/index.html"));
		if (!name) {
			close(sub);
			return ERR_NOMEM;
		}
		memcpy(name, f->name.s, f->name.len);
		memcpy(name + f->name.len, "/index.html", sizeof("/index.html"));
		f->name = (struct jstr){name, f->name.len + sizeof("/index.html") - 1};
		f->redirect = !f->slash;
		fd = sub;
	} else if (f->slash) {
		close(fd);
		return ERR_MISSING;
	}
	if (fstat(fd, &f->st) != 0 || !S_ISREG(f->st.st_mode)) {
		close(fd);
		return ERR_MISSING;
	}
	*fdp = fd;
	return 0;
}

static int
load(struct file *f, int fd)
{
	unsigned char md5[MD5_LEN];
	char hex[2 * MD5_LEN];
	struct buf b;
	int err;

	buf_init(&b, WEB_FILE_MAX);
	err = read_all(fd, &b);
	if (err) {
		buf_release(&b);
		return err;
	}
	hash_md5(b.data, b.len, md5);
	hex_encode(md5, sizeof(md5), hex);
	f->data = buf_take(&b, &f->len);
	if (f->gzip)
		pack(f);
	snprintf(f->tag, sizeof(f->tag), "\"%.*s%s\"", (int)sizeof(hex), hex, f->packed ? "-gz" : "");
	return 0;
}

static void
file_work(struct apireq *r)
{
	struct file *f = r->cookie;
	struct web *w = r->api->web;
	int fd = -1;

	f->err = open_file(w, r, f, &fd);
	f->gzip = f->gzip && is_text(&f->name);
	if (f->err == 0 && !f->redirect && !(f->gzip && recall(w, f))) {
		f->err = load(f, fd);
		if (f->err == 0 && f->packed)
			keep(w, f);
	}
	if (fd >= 0)
		close(fd);
}

/* ---- Answering ---- */

static void
add_slash(struct apireq *r)
{
	struct buf b;
	int err;

	buf_init(&b, 4 * LIMIT_URL_LEN);
	api_base_url(r, &b);
	for (size_t i = 0; i < r->nparts; i++) {
		buf_putc(&b, '/');
		api_url_encode(&b, r->part[i].s, r->part[i].len);
	}
	buf_putc(&b, '/');
	err = buf_failed(&b);
	if (!err)
		http_set_header(r->http, "location", b.data, b.len);
	buf_release(&b);
	if (err) {
		api_error(r, err, NULL);
		return;
	}
	api_done(r);
	http_reply(r->http, 301, "", 0);
}

static void
file_end(struct apireq *r)
{
	struct file *f = r->cookie;
	const char *type;

	if (f->err) {
		api_error(r, f->err, NULL);
		return;
	}
	if (f->redirect) {
		add_slash(r);
		return;
	}
	http_add_header(r->http, "vary", "Accept-Encoding", 15); /* beside what CORS says */
	if (api_not_modified(r, f->tag, strlen(f->tag))) {
		free(f->data);
		return;
	}
	type = content_type(&f->name);
	http_set_header(r->http, "content-type", type, strlen(type));
	if (f->packed)
		http_set_header(r->http, "content-encoding", "gzip", 4);
	http_set_header(r->http, "cache-control", "must-revalidate", 15);
	csp_set(r, "utils", WEB_CSP);
	http_set_header(r->http, "x-content-type-options", "nosniff", 7);
	api_done(r);
	http_reply_take(r->http, 200, f->data, f->len);
}

/* Accept-Encoding names gzip, and not with the weight 0. */
static int
takes_gzip(struct apireq *r)
{
	struct jstr h = http_header(r->http, "accept-encoding");
	const char *p = h.s, *end = h.s ? h.s + h.len : NULL;

	while (p && p < end) {
		const char *comma = memchr(p, ',', (size_t)(end - p));
		const char *stop = comma ? comma : end;

		while (p < stop && (*p == ' ' || *p == '\t'))
			p++;
		if (stop - p >= 4 && strncasecmp(p, "gzip", 4) == 0) {
			const char *q = memchr(p, '=', (size_t)(stop - p));
			int zero = q && q + 1 < stop;

			for (q = zero ? q + 1 : stop; q < stop && zero; q++)
				zero = *q == '0' || *q == '.' || *q == ' ';
			return !zero && (stop == p + 4 || p[4] == ';' || p[4] == ' ');
		}
		p = stop + 1;
	}
	return 0;
}

static int
is_safe(const struct jstr *part)
{
	return part->len > 0 && part->s[0] != '.' && !memchr(part->s, '/', part->len) &&
	       !memchr(part->s, '\\', part->len) && !memchr(part->s, '\0', part->len);
}

/* ERR_MISSING: no file can have this name. */
static int
name_of(struct apireq *r, size_t from, struct jstr *namep)
{
	for (size_t i = from; i < r->nparts; i++) {
		if (!is_safe(&r->part[i]))
			return ERR_MISSING;
	}
	if (from < r->nparts)
		return api_tail(r, from, namep);
	*namep = (struct jstr){"index.html", 10};
	return 0;
}

void
web_file(struct apireq *r)
{
	int icon = strcmp(r->part[0].s, "favicon.ico") == 0;
	struct jstr raw = http_path(r->http);
	struct file *f;
	int err;

	if (!icon && r->nparts == 1 && raw.s[raw.len - 1] != '/') {
		add_slash(r);
		return;
	}
	f = arena_calloc(r->arena, 1, sizeof(*f));
	err = f ? name_of(r, icon ? 0 : 1, &f->name) : ERR_NOMEM;
	if (!err && r->api->web->root < 0)
		err = ERR_MISSING;
	if (err) {
		api_error(r, err, NULL);
		return;
	}
	f->slash = r->nparts > 1 && raw.s[raw.len - 1] == '/';
	f->gzip = takes_gzip(r);
	r->cookie = f;
	api_work(r, file_work, file_end);
}
