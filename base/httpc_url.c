/* httpc_url.c: URLs, with libcurl's parser, so that what is looked at is what is asked. */
#include "httpc_transfer.h"

#include <stdlib.h>
#include <string.h>

void
httpc_forget(char *s)
{
	if (s != NULL)
		explicit_bzero(s, strlen(s));
	free(s);
}

static int
code_of(CURLUcode rc)
{
	return rc == CURLUE_OUT_OF_MEMORY ? ERR_NOMEM : ERR_BAD_REQUEST;
}

int
httpc_parse(const struct httpc_curl *curl, const char *text, unsigned flags, CURLU **up, struct errtext *why)
{
	CURLU *u = curl->url();
	CURLUcode rc;

	if (u == NULL)
		return ERR_NOMEM;
	rc = curl->url_set(u, CURLUPART_URL, text, flags);
	if (rc == CURLUE_OK) {
		*up = u;
		return 0;
	}
	curl->url_cleanup(u);
	if (rc == CURLUE_USER_NOT_ALLOWED)
		return err_why(why, ERR_BAD_REQUEST, "the URL has credentials");
	return err_why(why, code_of(rc), "%s", curl->url_strerror(rc));
}

int
httpc_part(const struct httpc_curl *curl, CURLU *u, CURLUPart part, unsigned flags, char **outp)
{
	char *text = NULL;
	CURLUcode rc = curl->url_get(u, part, &text, flags);

	switch (rc) {
	case CURLUE_OK:
	case CURLUE_NO_USER:
	case CURLUE_NO_PASSWORD:
	case CURLUE_NO_PORT:
	case CURLUE_NO_QUERY:
		*outp = strdup(text != NULL ? text : "");
		break;
	default:
		return code_of(rc);
	}
	if (text != NULL)
		explicit_bzero(text, strlen(text));
	curl->free(text);
	return *outp != NULL ? 0 : ERR_NOMEM;
}

int
httpc_take_credentials(const struct httpc_curl *curl, CURLU *u, char **userp, char **passwordp)
{
	char *text = NULL;
	int err;

	if (curl->url_get(u, CURLUPART_USER, &text, 0) == CURLUE_NO_USER &&
	    curl->url_get(u, CURLUPART_PASSWORD, &text, 0) == CURLUE_NO_PASSWORD)
		return 0;
	curl->free(text);
	if ((err = httpc_part(curl, u, CURLUPART_USER, CURLU_URLDECODE, userp)) != 0 ||
	    (err = httpc_part(curl, u, CURLUPART_PASSWORD, CURLU_URLDECODE, passwordp)) != 0)
		return err;
	(void)curl->url_set(u, CURLUPART_USER, NULL, 0);
	(void)curl->url_set(u, CURLUPART_PASSWORD, NULL, 0);
	(void)curl->url_set(u, CURLUPART_OPTIONS, NULL, 0);
	return 0;
}

static void
lower(char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			*s = (char)(*s - 'A' + 'a');
}

static int
split(const struct httpc_curl *curl, CURLU *u, struct httpc_url *out)
{
	char *port = NULL;
	int err;

	(void)curl->url_set(u, CURLUPART_FRAGMENT, NULL, 0);
	if ((err = httpc_take_credentials(curl, u, &out->user, &out->password)) != 0 ||
	    (err = httpc_part(curl, u, CURLUPART_SCHEME, 0, &out->scheme)) != 0 ||
	    (err = httpc_part(curl, u, CURLUPART_HOST, 0, &out->host)) != 0 ||
	    (err = httpc_part(curl, u, CURLUPART_PORT, CURLU_DEFAULT_PORT, &port)) != 0)
		return err;
	lower(out->scheme);
	lower(out->host);
	out->port = (unsigned)strtoul(port, NULL, 10);
	free(port);
	(void)curl->url_set(u, CURLUPART_HOST, out->host, 0);
	if ((err = httpc_part(curl, u, CURLUPART_PATH, 0, &out->path)) != 0 ||
	    (err = httpc_part(curl, u, CURLUPART_QUERY, 0, &out->query)) != 0)
		return err;
	return httpc_part(curl, u, CURLUPART_URL, CURLU_NO_DEFAULT_PORT, &out->url);
}

int
httpc_url_split(const char *text, struct httpc_url *out, struct errtext *why)
{
	const struct httpc_curl *curl;
	CURLU *u = NULL;
	int err;

	*out = (struct httpc_url){.url = NULL};
	if ((err = httpc_curl(&curl)) != 0)
		return err_why(
		    why, err, "%s", err == ERR_NOT_IMPLEMENTED ? "libcurl is not installed" : err_reason(err));
	if ((err = httpc_parse(curl, text, 0, &u, why)) != 0)
		return err;
	err = split(curl, u, out);
	curl->url_cleanup(u);
	if (err == 0 && strcmp(out->scheme, "http") != 0 && strcmp(out->scheme, "https") != 0)
		err = ERR_BAD_REQUEST;
	if (err) {
		httpc_url_release(out);
		return err == ERR_BAD_REQUEST ? err_why(why, err, "no http or https URL") : err;
	}
	return 0;
}

void
httpc_url_release(struct httpc_url *u)
{
	free(u->url);
	free(u->scheme);
	httpc_forget(u->user);
	httpc_forget(u->password);
	free(u->host);
	free(u->path);
	free(u->query);
	*u = (struct httpc_url){.url = NULL};
}
