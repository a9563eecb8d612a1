/*
 * The built page: files below one folder, served below /_utils/.
 *
 * A name is made of the path's decoded parts, none of which may begin with a
 * dot or hold a slash, so no request leaves the folder.  Files are small and
 * few; each is read whole on an executor thread, and its ETag is its digest.
 */
#include "web.h"
#include "base/hash.h"
#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define WEB_FILE_MAX ((size_t)64 << 20)
#define WEB_CSP                                                                             \
	"default-src 'self'; connect-src 'self' http: https:; img-src 'self' data: blob:; " \
	"style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'; "            \
	"frame-ancestors 'none'"

struct web {
	int root; /* the folder; -1: there is none */
};

/* One file on its way; lives in the request's arena. */
struct file {
	struct jstr name; /* relative to the root */
	int err;
	struct buf bytes;
	char tag[2 * MD5_LEN + 2];
};

static int
open_root(const struct config *c)
{
	char path[4096];
	const char *dir = config_get(c, "divan", "web_dir", "");
	if (*dir)
		return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 5);
	if (n <= 0)
		return -1;
	path[n] = '\0';
	char *slash = strrchr(path, '/');
	if (!slash)
		return -1;
	memcpy(slash, "/web", 5);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int
web_new(struct api *api)
{
	struct web *w = malloc(sizeof(*w));
	if (!w)
		return ERR_NOMEM;
	w->root = open_root(api->config);
	api->web = w;
	return 0;
}

void
web_free(struct api *api)
{
	if (!api->web)
		return;
	if (api->web->root >= 0)
		(void)close(api->web->root);
	free(api->web);
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

/* ERR_MISSING for what is no plain file, however it is not. */
static int
read_all(int fd, struct buf *b)
{
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return ERR_MISSING;
	for (;;) {
		char *room;
		int err = buf_reserve(b, 65536, &room);
		if (err)
			return err;
		ssize_t n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		if (n == 0)
			return 0;
		buf_commit(b, (size_t)n);
	}
}

static void
file_work(struct apireq *r)
{
	struct file *f = r->cookie;
	unsigned char md5[MD5_LEN];
	/* O_NONBLOCK: a pipe in the folder must not hold the thread. */
	int fd = openat(r->api->web->root, f->name.s, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		f->err = ERR_MISSING;
		return;
	}
	f->err = read_all(fd, &f->bytes);
	(void)close(fd);
	if (f->err)
		return;
	hash_md5(f->bytes.data, f->bytes.len, md5);
	f->tag[0] = f->tag[sizeof(f->tag) - 1] = '"';
	hex_encode(md5, sizeof(md5), f->tag + 1);
}

static void
file_end(struct apireq *r)
{
	struct file *f = r->cookie;
	if (f->err) {
		buf_release(&f->bytes);
		api_error(r, f->err, NULL);
		return;
	}
	if (api_not_modified(r, f->tag, sizeof(f->tag))) {
		buf_release(&f->bytes);
		return;
	}
	const char *type = content_type(&f->name);
	http_set_header(r->http, "content-type", type, strlen(type));
	http_set_header(r->http, "cache-control", "must-revalidate", 15);
	http_set_header(r->http, "content-security-policy", WEB_CSP, sizeof(WEB_CSP) - 1);
	http_set_header(r->http, "x-content-type-options", "nosniff", 7);
	size_t len;
	char *data = buf_take(&f->bytes, &len);
	api_done(r);
	http_reply_take(r->http, 200, data, len);
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

/* Relative links in the page need the slash. */
static void
add_slash(struct apireq *r)
{
	struct buf b;
	buf_init(&b, 4096);
	(void)api_base_url(r, &b);
	(void)buf_puts(&b, "/_utils/");
	int err = buf_failed(&b);
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

void
web_file(struct apireq *r)
{
	int icon = strcmp(r->part[0].s, "favicon.ico") == 0;
	struct jstr raw = http_path(r->http);
	if (strcmp(r->method, "GET") != 0) {
		api_method_not_allowed(r, "GET,HEAD");
		return;
	}
	if (!icon && r->nparts == 1 && raw.s[raw.len - 1] != '/') {
		add_slash(r);
		return;
	}
	struct file *f = arena_calloc(r->arena, 1, sizeof(*f));
	int err = f ? name_of(r, icon ? 0 : 1, &f->name) : ERR_NOMEM;
	if (!err && r->api->web->root < 0)
		err = ERR_MISSING;
	if (err) {
		api_error(r, err, NULL);
		return;
	}
	buf_init(&f->bytes, WEB_FILE_MAX);
	r->cookie = f;
	api_work(r, file_work, file_end);
}
