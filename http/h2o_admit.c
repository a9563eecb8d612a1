/*
 * h2o_admit.c: who may connect, and what may be worked on: limits in all and by address.
 *
 * Addresses on this machine and the configured proxies have no bounds of their own (config gate.exempt, gate.proxies); of a
 * client behind a proxy the requests count by the address that the proxy tells, its connections are the proxy's.
 *
 * 1. A connection counts from accept to close; conn->peer stays as long as conn, which requests outlive the socket by.
 * 2. A request counts, with its connection and its address, until nobody refers to it: also where its client has reset the
 *    stream or hung up, and a worker goes on.
 * 3. Where connections are at their bound, nothing is accepted until one closes: those who wait do so in the kernel.  Where
 *    they are near it, idle ones end early (server_on_pace()).
 * 4. Bodies that h2o takes in whole, before it says that there is a request, count together as long as nobody has authenticated on
 *    their connections: a stranger cannot fill the disk.
 */
#include <h2o.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "h2o_impl.h"
#include "base/log.h"

#define KEPT_BACK 1400u /* descriptors of open databases and the like */
#define CONN_JOBS 200u  /* of one connection: HTTP/2 has at most 100 streams open */
#define LOG_MS 10000u   /* between two lines about connections that were ended */
#define LOOPBACK "127.0.0.0/8, ::1"

static unsigned
max_connections(unsigned wanted)
{
	unsigned all = server_descriptors(), free = all > 2 * KEPT_BACK ? all - KEPT_BACK : all / 2;

	return wanted > 0 && wanted < free ? wanted : free;
}

static int
read_nets(const char *what, const char *list, struct server_nets **netsp)
{
	int err = server_nets_new(list, netsp);

	if (err == ERR_BAD_REQUEST)
		log_line(LOG_ERROR, "gate/%s is no list of addresses: %s", what, list);
	return err;
}

int
server_admit_open(struct http_server *s)
{
	const struct http_gate *g = &s->config.gate;
	int err = server_peers_new(&s->peers);

	s->max_conns = max_connections(g->max_connections);
	if (err == 0)
		err = read_nets("exempt", g->exempt != NULL ? g->exempt : LOOPBACK, &s->exempt);
	if (err == 0 && g->proxies != NULL)
		err = read_nets("proxies", g->proxies, &s->proxies);
	return err;
}

void
server_admit_close(struct http_server *s)
{
	server_peers_free(s->peers);
	server_nets_free(s->exempt);
	server_nets_free(s->proxies);
}

int
server_admit_full(const struct http_server *s)
{
	return atomic_load_explicit(&s->nconns, memory_order_relaxed) >= s->max_conns;
}

int
server_admit_crowded(const struct http_server *s)
{
	return atomic_load_explicit(&s->nconns, memory_order_relaxed) >= s->max_conns - s->max_conns / 4;
}

/* ---- Connections ---- */

int
server_admit(struct http_conn *conn)
{
	struct http_server *s = conn->thread->server;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int err = 0;

	if (getpeername(h2o_socket_get_fd(conn->sock), (struct sockaddr *)&sa, &len) != 0)
		return ERR_IO;
	server_addr_of((struct sockaddr *)&sa, &conn->addr);
	conn->proxy = (unsigned char)server_nets_have(s->proxies, &conn->addr);
	if (!conn->proxy && !server_nets_have(s->exempt, &conn->addr))
		err = server_peers_connect(s->peers, &conn->addr, s->config.gate.connections_per_address, &conn->peer);
	if (err == ERR_BUSY)
		server_admit_log(conn, "too many connections from its address");
	if (err != 0)
		return err;
	atomic_fetch_add_explicit(&s->nconns, 1, memory_order_relaxed);
	server_room_busy(conn->thread);
	return 0;
}

static void
set_spooled(struct http_conn *conn, uint64_t bytes)
{
	/* Differences may be negative: they wrap, and so does the sum. */
	if (bytes != conn->spooled)
		atomic_fetch_add_explicit(&conn->thread->server->spooled, bytes - conn->spooled, memory_order_relaxed);
	conn->spooled = bytes;
}

int
server_admit_spooled(struct http_conn *conn, uint64_t bytes)
{
	const struct http_server *s = conn->thread->server;
	uint64_t max = s->config.gate.unauthenticated_bytes;

	set_spooled(conn, max == 0 || conn->trusted || conn->peer == NULL ? 0 : bytes);
	return conn->spooled == 0 || atomic_load_explicit(&s->spooled, memory_order_relaxed) <= max;
}

void
server_admit_left(struct http_conn *conn)
{
	atomic_fetch_sub_explicit(&conn->thread->server->nconns, 1, memory_order_relaxed);
	set_spooled(conn, 0);
	server_room_quiet(conn->thread);
	if (conn->peer != NULL)
		server_peers_disconnect(conn->peer);
}

void
server_conn_put(struct http_conn *conn)
{
	if (--conn->refs > 0)
		return;
	server_peers_put(conn->peer);
	server_peers_put(conn->debtor);
	free(conn);
}

void
server_admit_refused(struct http_conn *conn)
{
	static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
				   "Connection: close\r\nRetry-After: 10\r\nContent-Length: 82\r\n\r\n"
				   "{\"error\":\"service_unavailable\",\"reason\":\"too many "
				   "connections from this address\"}\n";

	(void)!send(h2o_socket_get_fd(conn->sock), text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void
server_admit_log(struct http_conn *conn, const char *why)
{
	struct http_thread *t = conn->thread;
	uint64_t now = timers_now();
	char text[SERVER_ADDR_TEXT];

	t->ended++;
	if (t->ended_ms != 0 && now - t->ended_ms < LOG_MS)
		return;
	server_addr_text(&conn->addr, text);
	log_line(LOG_WARNING, "connection from %s ended: %s (%u ended since the last such line)", text, why, t->ended);
	t->ended_ms = now;
	t->ended = 0;
}

/* ---- Requests ---- */

void
server_req_addr(const struct http_req *req, struct server_addr *a)
{
	ssize_t at;

	/* Of several lines the last was written last. */
	for (at = -1; (at = h2o_find_header(&req->h2o->headers, H2O_TOKEN_X_FORWARDED_FOR, at)) != -1;) {
		const h2o_iovec_t *value = &req->h2o->headers.entries[at].value;

		*a = req->conn->addr;
		server_forwarded(value->base, value->len, req->conn->thread->server->proxies, a);
	}
}

/* The peer that a request counts for; NULL: it has no bounds. */
static struct server_peer *
peer_of(struct http_req *req)
{
	struct http_server *s = req->thread->server;
	struct server_peer *peer = NULL;

	if (!req->conn->proxy)
		return req->conn->peer;
	if (server_nets_have(s->proxies, &req->addr) || server_nets_have(s->exempt, &req->addr) ||
	    server_peers_get(s->peers, &req->addr, &peer) != 0)
		return NULL;
	return peer;
}

int
server_admit_job(struct http_req *req)
{
	const struct http_gate *g = &req->thread->server->config.gate;
	struct server_peer *peer = peer_of(req);

	if (req->conn->jobs > CONN_JOBS) {
		if (req->conn->proxy)
			server_peers_put(peer);
		return ERR_BUSY;
	}
	if (peer == NULL)
		return 0;
	if (server_peers_begin(peer, g->requests_per_address, g->requests_per_second) != 0) {
		if (req->conn->proxy)
			server_peers_put(peer);
		return ERR_TOO_MANY_REQUESTS;
	}
	req->peer = peer;
	return 0;
}

void
server_admit_done(struct http_req *req)
{
	struct http_conn *conn = req->conn;

	if (req->peer != NULL) {
		server_peers_end(req->peer);
		if (conn->proxy)
			server_peers_put(req->peer);
	}
	conn->jobs--;
	server_conn_put(conn);
}

void
http_trust(struct http_req *req)
{
	req->conn->trusted = 1;
}
