/* xframe.c: what the settings say of frames. */
#include "xframe.h"

#include "api.h"

#define VALUE_MAX 1024u /* bytes of "ALLOW-FROM http://host:port" */

static void
load(struct api *api)
{
	const struct config *c = api->config;
	int old = config_bool(c, "httpd", "enable_xframe_options", 0);

	__atomic_store_n(&api->xframe, config_bool(c, "chttpd", "enable_xframe_options", old), __ATOMIC_RELAXED);
}

static void
changed(const char *section, const char *key, void *cookie)
{
	(void)section;
	if (strcmp(key, "enable_xframe_options") == 0)
		load(cookie);
}

int
xframe_new(struct api *api)
{
	load(api);
	return config_on_change(api->config, changed, api);
}

/* Is ${url} in the list "URL, URL", or that all of them, "*"? */
static int
is_listed(const char *list, struct jstr url)
{
	const char *end = list + strlen(list);
	struct jstr item;

	if (strcmp(list, "*") == 0)
		return 1;
	while (api_item(&list, end, &item))
		if (jstr_equal(item, url))
			return 1;
	return 0;
}

void
xframe_set(struct apireq *r)
{
	static const char from[] = "ALLOW-FROM ";
	const size_t skip = sizeof(from) - 1;
	const struct config *c = r->api->config;
	struct buf b;

	if (!__atomic_load_n(&r->api->xframe, __ATOMIC_RELAXED))
		return;
	if (config_bool(c, "x_frame_options", "same_origin", 0)) {
		http_set_static(r->http, "x-frame-options", "SAMEORIGIN");
		return;
	}
	buf_init(&b, VALUE_MAX);
	buf_puts(&b, from);
	if (api_base_url(r, &b) == 0 &&
	    is_listed(config_get(c, "x_frame_options", "hosts", ""), (struct jstr){b.data + skip, b.len - skip}))
		http_set_header(r->http, "x-frame-options", b.data, b.len);
	else
		http_set_static(r->http, "x-frame-options", "DENY");
	buf_release(&b);
}
