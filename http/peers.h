/*
 * peers.h: the addresses that clients come from, and how much each of them takes.  Plain bytes; any thread.
 */
#ifndef HTTP_PEERS_H_
#define HTTP_PEERS_H_

#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

struct sockaddr;

/* An address: IPv6, or IPv4 as ::ffff:a.b.c.d. */
struct server_addr {
	unsigned char b[16];
};
#define SERVER_ADDR_TEXT 46u /* bytes of one as text, with its NUL */

/** server_addr_of(sa, a): Of a socket's address; all zeros for what is neither IPv4 nor IPv6. */
void server_addr_of(const struct sockaddr *sa, struct server_addr *a);
/**
 * server_addr_parse(s, len, a): Of text, also as [IPv6] and with a port behind it.  Errors: ERR_BAD_REQUEST.
 * server_addr_text(a, text): The reverse.
 */
int server_addr_parse(const char *s, size_t len, struct server_addr *a) MUST_CHECK;
void server_addr_text(const struct server_addr *a, char text[SERVER_ADDR_TEXT]);
/** server_addr_group(a): What limits count as one: an IPv6 address loses its lower half, which one client may choose. */
void server_addr_group(struct server_addr *a);

/* A list of addresses and nets. */
struct server_nets;
/**
 * server_nets_new(list, netsp): From "10.0.0.0/8, ::1"; "none" and "" are empty.  Errors: ERR_BAD_REQUEST, ERR_NOMEM.
 * server_nets_have(nets, a): 1 if one of them holds ${a}; 0 where ${nets} is NULL.
 */
int server_nets_new(const char *list, struct server_nets **netsp) MUST_CHECK;
int server_nets_have(const struct server_nets *nets, const struct server_addr *a);
void server_nets_free(struct server_nets *nets);

/**
 * server_forwarded(value, len, proxies, a): The client that X-Forwarded-For tells of, into ${a}, which holds who
 * connected, a proxy: from the right, the first that is no proxy.  What cannot be read ends the search.
 */
void server_forwarded(const char *value, size_t len, const struct server_nets *proxies, struct server_addr *a);

/* All addresses that have something; each of them. */
struct server_peers;
struct server_peer;

int server_peers_new(struct server_peers **pp) MUST_CHECK;
void server_peers_free(struct server_peers *p);
/**
 * server_peers_connect(p, a, max, peerp): One more connection from ${a}'s group, with a reference.  Errors: ERR_BUSY (it has ${max}
 * already; 0: no bound), ERR_NOMEM.  server_peers_disconnect(peer): One less; the reference stays.
 * server_peers_get(p, a, peerp): A reference alone.  server_peers_hold(peer): One more; returns ${peer}.  server_peers_put(peer):
 * Drops one.  NULL is allowed in both.
 */
int server_peers_connect(
    struct server_peers *p, const struct server_addr *a, unsigned max, struct server_peer **peerp) MUST_CHECK;
void server_peers_disconnect(struct server_peer *peer);
int server_peers_get(struct server_peers *p, const struct server_addr *a, struct server_peer **peerp) MUST_CHECK;
struct server_peer *server_peers_hold(struct server_peer *peer);
void server_peers_put(struct server_peer *peer);
/**
 * server_peers_begin(peer, max, rate): One more request is being worked on.  Errors: ERR_BUSY: ${max} are, or more than
 * ${rate} a second came lately (0: no bound).  server_peers_end(peer): It has ended, with all work for it.
 */
int server_peers_begin(struct server_peer *peer, unsigned max, unsigned rate) MUST_CHECK;
void server_peers_end(struct server_peer *peer);
/**
 * server_peers_owe(peer, n): ${n} bytes of answers wait for it, with a reference.  server_peers_paid(peer, n): No longer.
 * server_peers_owed(peer): How many do.  NULL is allowed, and owed nothing.
 */
void server_peers_owe(struct server_peer *peer, uint64_t n);
void server_peers_paid(struct server_peer *peer, uint64_t n);
uint64_t server_peers_owed(const struct server_peer *peer);

#endif
