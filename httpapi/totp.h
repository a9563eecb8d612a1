/* totp.h: one-time passwords by time (RFC 6238), as the member totp of a user's document asks for them. */
#ifndef HTTPAPI_TOTP_H_
#define HTTPAPI_TOTP_H_

#include <stdint.h>
#include "base/arena.h"
#include "base/jread.h"

/**
 * totp_verify(settings, token, now_s, a, okp): *${okp}: 1 if ${token} is the one of this half minute, or of the one before or behind it.  ${settings}
 * is {"key": base32, "algorithm": "sha" (or sha256, sha512), "length": 6}; settings that make no sense verify nothing.  Errors: ERR_NOMEM.
 */
int totp_verify(struct jstr settings, struct jstr token, uint64_t now_s, struct arena *a, int *okp) MUST_CHECK;

#endif
