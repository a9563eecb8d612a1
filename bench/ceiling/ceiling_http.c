/*
 * ceiling_http.c: the least that an HTTP server on libh2o can do: 500 constant bytes of application/json to every GET;
 * to one of /idle... a head and a newline, and then nothing more for ever.
 *
 * usage: ceiling_http PORT [CERT KEY]
 *
 * With a certificate it speaks TLS (HTTP/2 by ALPN), else plain HTTP.  Prints "listening PORT".  One event loop per
 * core, as divand has.
 */
#include <h2o.h>
#include <h2o/http1.h>
#include <h2o/http2.h>

#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_LEN 500
#define THREADS_MAX 64

struct loop {
	h2o_context_t ctx;
	h2o_accept_ctx_t accept;
	int fd;
};

static char body[BODY_LEN];
static h2o_globalconf_t global;
static SSL_CTX *tls;
static struct loop loops[THREADS_MAX];

static void
on_proceed(h2o_generator_t *gen, h2o_req_t *req)
{
	(void)gen;
	(void)req;
}

static void
be_idle(h2o_req_t *req)
{
	static h2o_generator_t endless = {on_proceed, NULL};
	h2o_iovec_t iov = {body + sizeof(body) - 1, 1};

	req->res.status = 200;
	req->res.reason = "OK";
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
	h2o_start_response(req, &endless);
	h2o_send(req, &iov, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static int
on_req(h2o_handler_t *self, h2o_req_t *req)
{
	static h2o_generator_t whole = {NULL, NULL};
	h2o_iovec_t iov = {body, sizeof(body)};

	(void)self;
	if (req->path.len >= 5 && memcmp(req->path.base, "/idle", 5) == 0) {
		be_idle(req);
		return 0;
	}
	req->res.status = 200;
	req->res.reason = "OK";
	req->res.content_length = sizeof(body);
	h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_TYPE, NULL, H2O_STRLIT("application/json"));
	h2o_start_response(req, &whole);
	h2o_send(req, &iov, 1, H2O_SEND_STATE_FINAL);
	return 0;
}

static void
on_accept(h2o_socket_t *listener, const char *err)
{
	struct loop *loop = listener->data;
	h2o_socket_t *sock;

	while (err == NULL && (sock = h2o_evloop_socket_accept(listener)) != NULL)
		h2o_accept(&loop->accept, sock);
}

static void *
run(void *arg)
{
	struct loop *loop = arg;
	h2o_socket_t *listener;

	h2o_context_init(&loop->ctx, h2o_evloop_create(), &global);
	loop->accept.ctx = &loop->ctx;
	loop->accept.hosts = global.hosts;
	loop->accept.ssl_ctx = tls;
	listener = h2o_evloop_socket_create(loop->ctx.loop, loop->fd, H2O_SOCKET_FLAG_DONT_READ);
	listener->data = loop;
	h2o_socket_read_start(listener, on_accept);
	for (;;)
		h2o_evloop_run(loop->ctx.loop, INT32_MAX);
	return NULL;
}

static int
listen_on(unsigned *portp)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)*portp)};
	socklen_t len = sizeof(sa);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) != 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) != 0 || listen(fd, 4096) != 0 ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) != 0) {
		perror("ceiling_http");
		exit(1);
	}
	*portp = ntohs(sa.sin_port);
	return fd;
}

static void
load_tls(const char *cert, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_use_certificate_chain_file(tls, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "ceiling_http: cannot use %s and %s\n", cert, key);
		exit(1);
	}
	SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS);
	h2o_ssl_register_alpn_protocols(tls, h2o_alpn_protocols);
}

int
main(int argc, char **argv)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
	unsigned port, i;
	h2o_hostconf_t *host;
	h2o_handler_t *handler;
	pthread_t id;

	if (argc != 2 && argc != 4) {
		fprintf(stderr, "usage: ceiling_http PORT [CERT KEY]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	port = (unsigned)strtoul(argv[1], NULL, 10);
	if (argc == 4)
		load_tls(argv[2], argv[3]);
	memset(body, 'x', sizeof(body));
	memcpy(body, "{\"_id\":\"a\",\"text\":\"", 19);
	memcpy(body + sizeof(body) - 3, "\"}\n", 3);
	h2o_config_init(&global);
	host = h2o_config_register_host(&global, h2o_iovec_init(H2O_STRLIT("default")), 65535);
	handler = h2o_create_handler(h2o_config_register_path(host, "/", 0), sizeof(*handler));
	handler->on_req = on_req;
	for (i = 0; i < n; i++)
		loops[i].fd = listen_on(&port);
	printf("listening %u\n", port);
	fflush(stdout);
	for (i = 1; i < n; i++)
		if (pthread_create(&id, NULL, run, &loops[i]) != 0)
			return 1;
	run(&loops[0]);
	return 0;
}
