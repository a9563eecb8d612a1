/* csp.c: which policy the settings give. */
#include "csp.h"

#include <stdio.h>
#include <string.h>

#include "api.h"

#define KEY_MAX 64

void
csp_set(struct apireq *r, const char *part, const char *dflt)
{
	char key[KEY_MAX];
	const char *value;

	(void)snprintf(key, sizeof(key), "%s_enable", part);
	if (!config_bool(r->api->config, "csp", key, 1))
		return;
	(void)snprintf(key, sizeof(key), "%s_header_value", part);
	value = config_get(r->api->config, "csp", key, dflt);
	/* A mistake in the policy must not be none. */
	if (*value == '\0' || strpbrk(value, "\r\n") != NULL)
		value = dflt;
	http_set_header(r->http, "content-security-policy", value, strlen(value));
}
