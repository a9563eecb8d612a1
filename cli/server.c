/* server.c: requests to a divand, and what its answers say. */
#include "server.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"

#define STRING_MAX 65536u

/* ---- Requests ---- */

int
server_has_credentials(const char *url)
{
	const char *host = strstr(url, "://");

	host = host != NULL ? host + 3 : url;
	return memchr(host, '@', strcspn(host, "/?#")) != NULL;
}

int
server_credentials(const char *url, const char *user, struct credentials *who)
{
	int err = credentials_find(who, user);

	if (err)
		cli_say(
		    "a name has %zu bytes at most, a password %zu", sizeof(who->name) - 1, sizeof(who->password) - 1);
	else if (who->name[0] != '\0' && !who->has_password && (err = credentials_ask(who, url)) != 0)
		cli_say("there is no password for %s: neither in the environment nor at a terminal", who->name);
	return err;
}

int
server_open(struct server *s, const char *url, const char *user, const char *ca_file)
{
	struct httpc_config config = {.ca_file = ca_file};
	int err;

	*s = (struct server){.url = url != NULL ? url : SERVER_DEFAULT_URL};
	if (server_has_credentials(s->url)) {
		cli_say("a password has no place in the server's URL: `--help` says where it comes from");
		return ERR_BAD_REQUEST;
	}
	if ((err = server_credentials(s->url, user, &s->who)) != 0)
		return err;
	if ((err = httpc_loop_new(&config, &s->client)) != 0)
		cli_say("%s: %s", s->url, err_reason(err));
	return err;
}

void
server_close(struct server *s)
{
	httpc_loop_free(s->client);
	s->client = NULL;
}

int
server_put_url(const char *url, const char *path, struct buf *b)
{
	size_t len = strlen(url);

	while (len > 0 && url[len - 1] == '/')
		len--;
	buf_put(b, url, len);
	buf_puts(b, path);
	buf_putc(b, '\0');
	return buf_failed(b);
}

void
server_request(
    const struct server *s, const char *method, const char *url, const struct buf *body, struct httpc_request *req)
{
	static const char *const headers[] = {"Accept: application/json", "Content-Type: application/json"};

	*req = (struct httpc_request){.method = method,
	    .url = url,
	    .user = s->who.name[0] != '\0' ? s->who.name : NULL,
	    .password = s->who.name[0] != '\0' ? s->who.password : NULL,
	    .netrc = s->who.name[0] == '\0',
	    .headers = headers,
	    .nheaders = body != NULL ? 2 : 1,
	    .body = body != NULL ? body->data : NULL,
	    .body_len = body != NULL ? body->len : 0};
}

static int
on_body(void *cookie, const void *data, size_t len)
{
	struct server_answer *a = cookie;

	return buf_put(&a->body, data, len);
}

static int
ask_once(struct server *s, const char *method, const char *url, const struct buf *body, struct server_answer *out,
    struct errtext *why)
{
	struct httpc_request req;

	server_request(s, method, url, body, &req);
	req.on_body = on_body;
	req.cookie = out;
	out->status = 0;
	buf_clear(&out->body);
	return httpc_get(s->client, &req, &out->status, why);
}

int
server_ask(struct server *s, const char *method, const char *path, const struct buf *body, int quiet,
    struct server_answer *out)
{
	struct errtext why = {""};
	struct buf url;
	int err;

	buf_init(&url, SERVER_URL_MAX);
	err = server_put_url(s->url, path, &url);
	if (err == 0)
		err = ask_once(s, method, url.data, body, out, &why);
	if (err == 0 && out->status == 401 && !s->who.has_password && !quiet && credentials_ask(&s->who, s->url) == 0)
		err = ask_once(s, method, url.data, body, out, &why);
	if (err && !quiet)
		cli_say("%s: %s", s->url, why.text[0] != '\0' ? why.text : err_reason(err));
	buf_release(&url);
	return err;
}

/* ---- Answers ---- */

int
server_member(struct jstr object, const char *name, struct jstr *out)
{
	struct buf scratch;
	struct jstr key;
	struct jread j;
	int found = 0;

	buf_init(&scratch, STRING_MAX);
	jread_init(&j, object.s, object.len);
	if (object.len > 0 && jread_object_begin(&j) == 0)
		while (!found && jread_object_next(&j, &scratch, &key) == 0) {
			int is_it = jstr_is(&key, name);

			if (jread_skip(&j, out) != 0)
				break;
			found = is_it;
		}
	buf_release(&scratch);
	return found;
}

int
server_number(struct jstr object, const char *key, uint64_t *out)
{
	struct jstr value;
	struct jread j;

	if (!server_member(object, key, &value))
		return 0;
	jread_init(&j, value.s, value.len);
	return jread_u64(&j, out) == 0;
}

void
server_reason(const struct buf *body, struct errtext *out)
{
	struct jstr value;
	struct buf scratch;
	struct jread j;

	out->text[0] = '\0';
	buf_init(&scratch, STRING_MAX);
	if (server_member((struct jstr){body->data, body->len}, "reason", &value)) {
		jread_init(&j, value.s, value.len);
		if (jread_peek(&j) == JREAD_STRING && jread_string(&j, &scratch, &value) == 0)
			(void)err_why(out, 0, "%.*s", (int)(value.len > 400 ? 400 : value.len), value.s);
	}
	buf_release(&scratch);
}
