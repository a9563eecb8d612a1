/* csp.h: Content-Security-Policy of what others made: attachments, what functions show, the page at /_utils/. */
#ifndef HTTPAPI_CSP_H_
#define HTTPAPI_CSP_H_

struct apireq;

/**
 * csp_set(r, part, dflt): Before the answer: the policy that the settings csp/${part}_enable and csp/${part}_header_value
 * give ${part} (attachments, showlist, utils); ${dflt} where they say nothing, or what is no header's value.
 */
void csp_set(struct apireq *r, const char *part, const char *dflt);
#endif
