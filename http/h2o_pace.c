/*
 * h2o_pace.c: how fast a request comes in and its answer is taken, and how long a connection may idle: what h2o 2.2 has one
 * limit for.
 *
 * A head takes no longer than one window; then a body, or all of an HTTP/2 connection with a
 * request in it, keeps up a minimum rate from window to window.  So h2o's own time limit for head
 * and body together can be a day.
 */
#include <h2o.h>

#include <sys/socket.h>

#include "h2o_impl.h"

#define WINDOW_MS 30000u
#define RATE 1024u             /* bytes per second */
#define IDLE_MS (300u * 1000u) /* a connection between requests */
#define CROWDED_MS 5000u /* the same where few more may come; where too many answers wait, for one that nobody takes */
#define CROWDED_RATE 64u /* times the minimum at which such an answer is taken, over twice that time */

static unsigned
window_ms(const struct http_thread *t)
{
	return t->server->config.slow_ms > 0 ? t->server->config.slow_ms : WINDOW_MS;
}

static uint64_t
least_in(const struct http_thread *t, unsigned ms)
{
	unsigned rate = t->server->config.gate.min_rate;
	uint64_t least = (uint64_t)(rate > 0 ? rate : RATE) * ms / 1000;

	return least > 0 ? least : 1;
}

/* The next look comes within ${ms}. */
static void
look_within(struct http_thread *t, unsigned ms)
{
	if (timers_left(&t->pacer) > ms)
		http_timer_set(&t->pacer, ms);
}

void
server_pace_receiving(struct http_conn *conn, int is)
{
	struct http_thread *t = conn->thread;

	if (is && !conn->receiving) {
		conn->since_ms = h2o_now(t->ctx.loop);
		conn->since_got = conn->got;
		look_within(t, window_ms(t));
	}
	conn->receiving = (unsigned char)is;
}

static int
mark_coming(h2o_req_t *h2o, void *data)
{
	struct http_thread *t = data;
	struct http_conn *conn = server_conn_of(h2o);
	const struct timeval *began = &h2o->timestamps.request_begin_at;
	struct timeval now = *h2o_get_timestamp(&t->ctx, NULL, NULL);
	int64_t ms;

	if (h2o->processed_at.at.tv_sec != 0 || began->tv_sec == 0)
		return 0;
	ms = (now.tv_sec - began->tv_sec) * 1000 + (now.tv_usec - began->tv_usec) / 1000;
	conn->coming = 1;
	conn->overdue |= ms >= (int64_t)window_ms(t);
	return 0;
}

/* Sets coming and overdue of every connection: a request is coming in, and has for a whole window. */
static void
look_at_requests(struct http_thread *t)
{
	struct http_conn *conn;
	uint64_t now = h2o_now(t->ctx.loop);

	for (conn = t->conns; conn != NULL; conn = conn->next) {
		/* Of HTTP/2 that is asked below; with TLS there is a handshake before it is known what comes. */
		int is_known = conn->read == t->read1 || conn->handshaking;

		conn->coming = is_known && conn->receiving;
		conn->overdue = conn->coming && now - conn->since_ms >= window_ms(t);
	}
	t->global.http2.callbacks.foreach_request(&t->ctx, mark_coming, t);
}

static int
too_slow(struct http_conn *conn, uint64_t now)
{
	unsigned window = window_ms(conn->thread);
	uint64_t got = conn->got - conn->since_got;

	if (now - conn->since_ms < window)
		return 0;
	conn->since_ms = now;
	conn->since_got = conn->got;
	if (conn->overdue && conn->lingers)
		return 1;
	if (conn->overdue && conn->body == NULL && conn->read == conn->thread->read1 && !server_gate_has_head(conn))
		return 1;
	return conn->overdue && got < least_in(conn->thread, window);
}

static int
is_h2(const struct http_conn *conn)
{
	return conn->frames != NULL && conn->read != conn->thread->read1;
}

static int
idle_too_long(struct http_conn *conn, uint64_t now)
{
	uint64_t most = server_admit_crowded(conn->thread->server) ? CROWDED_MS : IDLE_MS;

	if (!server_gate_stands(conn))
		return 0;
	if (is_h2(conn) ? !server_h2_idle(conn) : conn->read != conn->thread->read1 || conn->req != NULL)
		return 0;
	if (conn->got != conn->idle_got || conn->idle_ms == 0) {
		conn->idle_got = conn->got;
		conn->idle_ms = now;
	}
	/* Who has never said anything has no cause to stay. */
	if (conn->got == 0 && most / 2 > window_ms(conn->thread))
		most = UINT64_C(2) * window_ms(conn->thread);
	return now - conn->idle_ms >= most;
}

/* 1 if it has lasted for ${ms}; it begins anew where ${least} bytes have been taken in it. */
static int
is_over(struct http_window *w, uint64_t acked, uint64_t now, unsigned ms, uint64_t least)
{
	if (w->since_ms == 0 || acked - w->acked >= least)
		*w = (struct http_window){now, acked};
	return now - w->since_ms >= ms;
}

/*
 * An answer waits for its client, who has taken too little for too long.  That it is in the way of others counts from when
 * it was first seen to be: who takes nothing goes before who is slow, whoever came first.
 */
static int
is_stuck(struct http_conn *conn, uint64_t now)
{
	struct http_thread *t = conn->thread;
	unsigned ms = t->server->config.gate.stuck_ms;
	uint64_t acked;

	if (!h2o_socket_is_writing(conn->sock) && !(is_h2(conn) && server_h2_owes(conn))) {
		conn->stuck.since_ms = conn->crowding.since_ms = 0;
		return 0;
	}
	acked = server_acked(h2o_socket_get_fd(conn->sock));
	if (ms > 0 && is_over(&conn->stuck, acked, now, ms, least_in(t, ms)))
		return 1;
	if (!server_room_strains(conn)) {
		conn->crowding.since_ms = 0;
		return 0;
	}
	ms = 2 * CROWDED_MS;
	return is_over(&conn->crowding, acked, now, ms, CROWDED_RATE * least_in(t, ms)) ||
	       (acked == conn->crowding.acked && now - conn->crowding.since_ms >= CROWDED_MS);
}

/* Until the next look. */
static unsigned
pace_ms(const struct http_thread *t, int any, int owed)
{
	unsigned ms = any ? window_ms(t) / 2 + 1 : window_ms(t), stuck = t->server->config.gate.stuck_ms;

	if (stuck > 0 && ms > stuck / 2)
		ms = stuck / 2 + 1;
	/* However long the windows are, connections idle no longer. */
	if (ms > WINDOW_MS)
		ms = WINDOW_MS;
	if (ms > CROWDED_MS / 2 && (owed || server_admit_crowded(t->server)))
		ms = CROWDED_MS / 2;
	return ms;
}

void
server_on_pace(void *arg)
{
	struct http_thread *t = arg;
	struct http_conn *conn;
	uint64_t now = h2o_now(t->ctx.loop);
	int any = 0, owed = 0;

	look_at_requests(t);
	for (conn = t->conns; conn != NULL; conn = conn->next) {
		int ends = conn->cut;

		conn->receiving &= conn->coming;
		ends |= conn->receiving ? too_slow(conn, now) : idle_too_long(conn, now);
		ends |= is_stuck(conn, now);
		if (conn->spooled > 0 && is_h2(conn) && server_gate_stands(conn))
			(void)server_h2_count_spooled(conn);
		if (ends) {
			shutdown(h2o_socket_get_fd(conn->sock), SHUT_RDWR);
			server_room_shut(conn);
		}
		any |= conn->receiving || conn->stuck.since_ms != 0;
		owed |= conn->owed > 0;
	}
	if (t->conns != NULL)
		http_timer_set(&t->pacer, pace_ms(t, any, owed));
}

void
server_pace_open(struct http_conn *conn)
{
	look_within(conn->thread, pace_ms(conn->thread, 0, 0));
}

void
server_pace_owed(struct http_conn *conn)
{
	look_within(conn->thread, pace_ms(conn->thread, 1, 1));
}
