/*
 * config_known.c: the settings that divand reads, in one table: the start and changes over HTTP are checked against it,
 * docs/divan.yaml is printed from it, and a test finds readers of settings that do not stand here.
 */
#include "config_known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"

#define SECRET CONFIG_SECRET
#define START CONFIG_AT_START
#define ANY UINT64_MAX
#define ANY32 UINT64_C(0xffffffff)
#define TEXT CONFIG_TEXT, 0, 0, 0, NULL
#define TEXT_AT_START CONFIG_TEXT, START, 0, 0, NULL
#define NAME CONFIG_NAME, 0, 0, 0, NULL
#define NAME_AT_START CONFIG_NAME, START, 0, 0, NULL
#define HIDDEN CONFIG_TEXT, SECRET, 0, 0, NULL
#define TRUTH CONFIG_TRUTH, 0, 0, 0, NULL
#define TRUTH_AT_START CONFIG_TRUTH, START, 0, 0, NULL
#define NUMBER(min, max) CONFIG_NUMBER, 0, min, max, NULL
#define NUMBER_AT_START(min, max) CONFIG_NUMBER, START, min, max, NULL
#define WORD(words) CONFIG_WORD, 0, 0, 0, words

static const struct config_known known[] = {
    {"couchdb", "database_dir", TEXT_AT_START, "data", "", "The data folder; --data."},
    {"couchdb", "max_document_size", NUMBER(1, LIMIT_BODY_LEN), "8000000", "bytes",
	"The longest JSON text of a document; 8000000 is the most."},
    {"couchdb", "max_attachment_size", CONFIG_NUMBER, 0, 0, ANY, "infinity", "infinity", "bytes",
	"The longest attachment, decoded; 0: none has a byte."},
    {"couchdb", "os_process_timeout", NUMBER_AT_START(100, 3600000), "5000", "ms",
	"How long users' JavaScript may take for one answer."},
    {"query_server_config", "os_process_limit", NUMBER_AT_START(0, 1000), "0", "processes",
	"How many run users' JavaScript at a time; 0: two per core, and four at least. A database gets half of them."},
    {"query_server_config", "os_process_idle_limit", NUMBER_AT_START(1, 86400), "300", "s",
	"One that nobody used for so long is ended."},
    {"query_server_config", "memory_limit", NUMBER_AT_START(33554432, ANY), "268435456", "bytes",
	"What users' JavaScript may take, in each process."},
    {"query_server_config", "reduce_limit", WORD("true|log|false"), "true", "",
	"A reduce function's result of at least 5000 bytes and at least half of its input is an error; log: only a "
	"line in the log; false: nothing."},
    {"query_server_config", "query_limit", NUMBER(1, ANY), "268435456", "rows",
	"The most that a query of a view or of _all_docs may ask for, and gets."},
    {"query_server_config", "partition_query_limit", NUMBER(1, ANY), "268435456", "rows",
	"The same of queries of one partition."},
    {"mango", "default_limit", NUMBER(0, ANY32), "25", "documents", "What _find gives where it is not told."},
    {"mango", "index_scan_warning_threshold", NUMBER(0, ANY32), "10", "times",
	"_find warns where it examined so many times more keys or documents than it gives; 0: never."},
    {"query_server_config", "revs_limit", NUMBER(1, ANY32), "20", "revisions", "That filters see in _revisions."},
    {"couchdb", "default_security", WORD("admin_only|everyone|admin_local"), "admin_only", "",
	"Who may use a new database until its _security is set: server administrators alone, or everyone (admin_local, "
	"too)."},
    {"couchdb", "users_db_security_editable", TRUTH, "false", "",
	"The security object of the database of accounts can be changed."},
    {"couchdb", "maintenance_mode", WORD("false|true|nolb"), "false", "",
	"With true or nolb /_up answers 404, so that a load balancer sends nobody here; whoever comes is served."},
    {"couchdb", "users_db_suffix", TEXT_AT_START, "_users", "",
	"Databases of this name, in any folder, hold accounts' documents, too."},

    {"chttpd", "bind_address", NAME_AT_START, "127.0.0.1", "", "The address to listen on; --bind."},
    {"chttpd", "port", NUMBER_AT_START(0, 65535), "5984", "", "Its port; --port. 0 takes a free one."},
    {"chttpd", "threads", NUMBER_AT_START(0, 64), "0", "threads", "For HTTP; 0: one per core."},
    {"chttpd", "max_http_request_size", NUMBER(1, ANY), "4294967296", "bytes", "The largest body of a request."},
    {"chttpd", "max_connections", NUMBER_AT_START(0, 1000000), "0", "connections",
	"At one time; 0: as many as there are file descriptors, less those that databases need."},
    {"chttpd", "max_db_number_for_dbs_info_req", NUMBER(1, ANY), "100", "databases",
	"That one POST of _dbs_info may name; larger values count as 100."},
    {"chttpd", "changes_timeout", NUMBER(1, ANY), "60000", "ms", "The longest interval of a feed that waits."},
    {"chttpd", "feed_stuck_timeout", NUMBER_AT_START(0, ANY), "60000", "ms",
	"A feed whose client takes nothing of what was sent for so long is cut off; 0: never."},
    {"chttpd", "compress_responses", WORD("auto|always|never"), "auto", "",
	"JSON as gzip or zstd to clients that ask for it; auto: to those on other machines."},
    {"chttpd", "plain_http", WORD("allow|redirect|refuse|local"), "allow", "",
	"What becomes of requests without TLS; redirect: GET and HEAD are sent to TLS, others refused; local: only "
	"clients on this machine."},
    {"chttpd", "enable_cors", TRUTH, "false", "",
	"Pages of other origins may use this server as the section cors says."},
    {"chttpd", "enable_xframe_options", TRUTH, "false", "",
	"Answers say with X-Frame-Options who may show them in a frame: nobody, or whom the section x_frame_options "
	"names."},
    {"chttpd", "require_valid_user", TRUTH, "false", "", "Nobody is anonymous."},
    {"chttpd", "authentication_handlers", TEXT, "cookie, default", "",
	"Who is asked in turn, as in CouchDB: cookie, default (Basic), jwt, proxy."},
    {"chttpd", "require_valid_user_except_for_up", TRUTH, "false", "", "The same, but for /_up."},
    {"chttpd", "admin_only_all_dbs", TRUTH, "true", "", "Server administrators alone list databases."},
    {"chttpd", "WWW-Authenticate", TEXT, "", "", "The header of that name in a 401; nothing here: as CouchDB decides."},
    {"chttpd", "config_whitelist", TEXT, "", "",
	"Settings that may be changed over HTTP, such as [{chttpd,config_whitelist}, {log,level}]; nothing here: all."},
    {"chttpd", "decode_plus_to_space", TRUTH, "true", "", "A plus in a path is a space."},
    {"chttpd", "x_forwarded_host", TEXT, "X-Forwarded-Host", "", "The header of a reverse proxy that names the host."},
    {"chttpd", "x_forwarded_proto", TEXT, "X-Forwarded-Proto", "", "The one that names the scheme: http or https."},
    {"chttpd", "x_forwarded_ssl", TEXT, "X-Forwarded-Ssl", "", "The one that says \"on\" for https."},

    {"gate", "connections_per_address", NUMBER_AT_START(0, ANY32), "1000", "connections",
	"Of one address (IPv6: of a /64) at one time; 0: no bound."},
    {"gate", "requests_per_address", NUMBER_AT_START(0, ANY32), "1000", "requests",
	"Of one address that are being worked on, feeds among them; 0: no bound."},
    {"gate", "requests_per_second", NUMBER_AT_START(0, ANY32), "0", "requests/s",
	"Of one address, with a burst of 5 s; 0: no bound."},
    {"gate", "slow_timeout", NUMBER_AT_START(100, ANY32), "30000", "ms",
	"A request's head takes no longer; its body keeps up min_rate over windows of so long."},
    {"gate", "min_rate", NUMBER_AT_START(1, ANY32), "1024", "bytes/s",
	"The least at which requests are sent and answers are taken."},
    {"gate", "stuck_timeout", NUMBER_AT_START(0, ANY32), "60000", "ms",
	"Who takes an answer at less than min_rate over such a window is cut off; 0: never."},
    {"gate", "request_memory", NUMBER_AT_START(16777216, ANY), "134217728", "bytes",
	"What requests in flight hold together, bodies and what is made of them; one that finds none left waits."},
    {"gate", "request_wait", NUMBER_AT_START(0, 60000), "5000", "ms", "It waits so long, then gets 503."},
    {"gate", "unauthenticated_bytes", NUMBER_AT_START(0, ANY), "1073741824", "bytes",
	"Of bodies that are taken in whole, as over HTTP/2, from clients that have not authenticated, in all; 0: no "
	"bound."},
    {"gate", "exempt", TEXT_AT_START, "127.0.0.0/8, ::1", "",
	"Addresses and nets that have no bounds of their own; none: nobody."},
    {"gate", "proxies", TEXT_AT_START, "none", "",
	"Addresses and nets of reverse proxies: exempt, and their X-Forwarded-For is believed."},

    {"chttpd_auth", "secret", HIDDEN, "", "",
	"The key of session cookies; none: one is drawn and kept in the data folder."},
    {"chttpd_auth", "timeout", NUMBER(1, ANY), "600", "s", "A session lasts so long."},
    {"chttpd_auth", "same_site", WORD("strict|lax|none"), "", "",
	"SameSite of session cookies; none is sent otherwise."},
    {"chttpd_auth", "iterations", NUMBER(1, 100000000), "600000", "rounds",
	"Of PBKDF2, for passwords that are hashed from now on; min_iterations at least, max_iterations at most."},
    {"chttpd_auth", "authentication_db", NAME, "_users", "", "The database of accounts."},
    {"chttpd_auth", "password_scheme", WORD("pbkdf2|simple"), "pbkdf2", "",
	"How new passwords are hashed; simple is SHA-1 over password and salt, for old clients alone."},
    {"chttpd_auth", "pbkdf2_prf", WORD("sha|sha224|sha256|sha384|sha512"), "sha256", "", "The hash in PBKDF2."},
    {"chttpd_auth", "min_iterations", NUMBER(1, 100000000), "1", "rounds", "Who has a hash of fewer cannot log in."},
    {"chttpd_auth", "max_iterations", NUMBER(1, 100000000), "10000000", "rounds",
	"Nor who has one of more: that is what a document may make a login cost."},
    {"chttpd_auth", "upgrade_hash_on_auth", TRUTH, "true", "",
	"Who logs in with a hash that was made otherwise gets a new one."},
    {"chttpd_auth", "password_regexp", TEXT, "", "",
	"What new passwords must match: a list such as [{\".{10,}\", \"At least 10 characters.\"}, \"[0-9]\"]."},
    {"chttpd_auth", "public_fields", TEXT, "", "",
	"A list: fields of accounts that every reader of the database sees."},
    {"chttpd_auth", "allow_conflicted_user_docs", TRUTH, "false", "",
	"Who has a document with conflicts can log in, by the winner."},
    {"chttpd_auth", "require_valid_user", TRUTH, "false", "", "chttpd/require_valid_user, where that is not set."},

    {"couch_peruser", "enable", TRUTH, "false", "",
	"Each user gets a database, whose administrator and member the user is."},
    {"couch_peruser", "delete_dbs", TRUTH, "false", "", "It goes when the user does."},
    {"couch_peruser", "database_prefix", NAME, "userdb-", "", "Its name is this and the user's name in hexadecimal."},

    {"chttpd_auth", "cookie_domain", TEXT, "", "", "Domain of session cookies."},
    {"chttpd_auth", "allow_persistent_cookies", TRUTH, "true", "", "Session cookies outlive the browser."},
    {"chttpd_auth", "secure", TRUTH, "false", "", "Session cookies are Secure over plain HTTP too."},
    {"chttpd_auth", "hash_algorithms", TEXT, "sha256, sha", "",
	"Of session cookies: the first is used, all are taken."},
    {"chttpd_auth", "authentication_redirect", TEXT, "/_utils/session.html", "", "Where browsers log in."},
    {"chttpd_auth", "require_valid_user_except_for_up", TRUTH, "false", "",
	"chttpd/require_valid_user_except_for_up, where that is not set."},
    {"chttpd_auth", "authentication_handlers", TEXT, "", "", "chttpd/authentication_handlers, where that is not set."},
    {"chttpd_auth", "x_auth_username", TEXT, "X-Auth-CouchDB-UserName", "",
	"The header of an authenticating proxy that names the account."},
    {"chttpd_auth", "x_auth_roles", TEXT, "X-Auth-CouchDB-Roles", "", "The one with its roles."},
    {"chttpd_auth", "x_auth_token", TEXT, "X-Auth-CouchDB-Token", "", "The one with the proxy's token."},
    {"chttpd_auth", "proxy_use_secret", TRUTH, "false", "",
	"The proxy's token is looked at: HMAC of the name under chttpd_auth/secret."},
    {"chttpd_auth_lockout", "mode", WORD("enforce|warn|off"), "enforce", "", "What becomes of who guesses passwords."},
    {"chttpd_auth_lockout", "threshold", NUMBER(1, ANY), "5", "failures", "So many, and an address has to wait."},
    {"chttpd_auth_lockout", "max_objects", NUMBER(1, ANY), "10000", "", "Accounts and addresses that are remembered."},
    {"chttpd_auth_lockout", "max_lifetime", NUMBER(1, ANY), "300000", "ms", "For so long."},
    {"jwt_auth", "required_claims", TEXT, "exp", "",
	"Claims that a token must have, such as exp, {iss, \"https://login.example\"}."},
    {"jwt_auth", "roles_claim_name", TEXT, "_couchdb.roles", "", "The claim with the roles."},
    {"jwt_auth", "roles_claim_path", TEXT, "", "", "A path to it, such as a.b; it wins."},
    {"jwt_keys", "*", HIDDEN, "", "",
	"hmac:ID, rsa:ID, ec:ID, eddsa:ID: keys of tokens; _default for those without an id."},

    {"admins", "*", HIDDEN, "", "",
	"NAME: a password, or its hash in CouchDB's forms. Plain ones are hashed when they are read."},

    {"cors", "origins", TEXT, "", "", "A list, or \"*\"; http://localhost:* is any port of that host."},
    {"cors", "credentials", TRUTH, "false", "", "Pages of these origins may send cookies and passwords."},
    {"cors", "methods", TEXT, "", "", "What they may do; nothing here: all of CouchDB's methods."},
    {"cors", "headers", TEXT, "", "", "Headers that they may send; nothing here: CouchDB's list."},
    {"cors", "exposed_headers", TEXT, "", "", "Headers of answers that they may read; nothing here: CouchDB's list."},
    {"cors", "max_age", NUMBER(0, ANY), "600", "s", "Browsers remember for so long what they may."},

    {"ssl", "enable", TRUTH_AT_START, "true", "", "Listen for TLS, where there is a certificate."},
    {"ssl", "cert_file", TEXT, "", "",
	"The certificate with its chain, as PEM. It is read again when the file changes."},
    {"ssl", "key_file", TEXT, "", "", "Its key, as PEM."},
    {"ssl", "password", HIDDEN, "", "", "Of the key."},
    {"ssl", "bind_address", TEXT_AT_START, "", "", "The address to listen on; nothing here: as in chttpd."},
    {"ssl", "port", NUMBER_AT_START(0, 65535), "6984", "", "Its port."},
    {"ssl", "tls_versions", TEXT, "tlsv1.2,tlsv1.3", "", "A list of these two."},
    {"ssl", "ciphers", TEXT, "", "", "A list in OpenSSL's names; nothing here: AEAD with ECDHE."},
    {"ssl", "ecc_curves", TEXT, "", "", "A list in OpenSSL's names; nothing here: OpenSSL's."},
    {"ssl", "secure_renegotiate", TRUTH, "true", "", "Taken for CouchDB's sake: nobody renegotiates."},
    {"ssl", "verify", WORD("verify_none|verify_peer"), "verify_none", "",
	"verify_peer: clients are asked for a certificate."},
    {"ssl", "fail_if_no_peer_cert", TRUTH, "false", "", "They must have one."},
    {"ssl", "cacert_file", TEXT, "", "", "Who signs clients' certificates, as PEM."},
    {"ssl", "crl_file", TEXT, "", "",
	"What these have revoked, as PEM, of each that stands in a chain. It is read again when it changes."},
    {"ssl", "depth", NUMBER(0, 100), "1", "", "Certificates between a client's and one in cacert_file."},
    {"ssl", "client_cert_user", WORD("off|cn|san_email|san_uri|san_dns"), "off", "",
	"Where a client's certificate says whose it is."},
    {"ssl", "client_cert_admins", TRUTH, "false", "", "Administrators too may log in by certificate."},
    {"ssl", "hsts_max_age", NUMBER(0, UINT32_MAX), "0", "s",
	"Browsers are told to use TLS alone for so long: Strict-Transport-Security."},

    {"log", "level", WORD("debug|info|notice|warning|warn|error|err|critical|crit|alert|emergency|emerg|none"), "info",
	"", "What is less important is left out. One line per request comes as notice."},
    {"log", "writer", CONFIG_WORD, START, 0, 0, "stderr|file", "", "",
	"stderr or file; nothing here: file where log/file is set."},
    {"log", "file", TEXT_AT_START, "", "", "The log's file. It is opened again at SIGHUP."},

    {"csp", "attachments_enable", TRUTH, "true", "", "Attachments are sent with a Content-Security-Policy:"},
    {"csp", "attachments_header_value", TEXT, "sandbox", "", "this one."},
    {"csp", "showlist_enable", TRUTH, "true", "", "What users' functions show is sent with a Content-Security-Policy:"},
    {"csp", "showlist_header_value", TEXT, "sandbox", "", "this one."},
    {"csp", "utils_enable", TRUTH, "true", "", "The page at /_utils/ is sent with a Content-Security-Policy:"},
    {"csp", "utils_header_value", TEXT, "", "", "this one; nothing here: one that lets the page alone run."},

    {"x_frame_options", "same_origin", TRUTH, "false", "", "Pages of this server may; hosts is not looked at."},
    {"x_frame_options", "hosts", TEXT, "", "",
	"A list of URLs of this server, or *: what is asked for by one of them may be shown there."},

    {"uuids", "algorithm", WORD("sequential|random|utc_random|utc_id"), "sequential", "",
	"Of ids that the server makes up. utc_random begins with the time, utc_id ends with utc_id_suffix."},
    {"uuids", "utc_id_suffix", TEXT, "", "", "What ids of utc_id end in."},
    {"uuids", "max_count", NUMBER(1, 1000), "1000", "ids", "The most that one request to _uuids gets."},

    {"purge", "max_document_id_number", NUMBER(1, ANY), "100", "documents",
	"Of one _purge; larger values count as 100."},
    {"purge", "max_revisions_number", NUMBER(1, ANY), "1000", "revisions",
	"Of one _purge; larger values count as 1000."},

    {"smoosh", "db_channels", TEXT_AT_START, "ratio_dbs,slack_dbs", "",
	"When databases are compacted by themselves: a channel that is not named is off."},
    {"smoosh.ratio_dbs", "min_priority", CONFIG_RATIO, START, 1, 1000, NULL, "2.0", "",
	"A database is compacted when its file is so many times what is needed of it,"},
    {"smoosh.ratio_dbs", "min_size", NUMBER_AT_START(0, ANY), "1048576", "bytes", "and has at least so many."},
    {"smoosh.ratio_dbs", "concurrency", NUMBER_AT_START(1, 64), "1", "databases", "So many at a time."},
    {"smoosh.ratio_dbs", "quiet_ms", NUMBER_AT_START(0, 3600000), "2000", "ms",
	"Nothing was written to it for so long."},
    {"smoosh.slack_dbs", "min_priority", NUMBER_AT_START(0, ANY), "536870912", "bytes",
	"Or so many of its file are not needed."},
    {"ken", "batch_channels", NUMBER_AT_START(0, 64), "0", "databases",
	"So many have their views indexed by themselves at a time, once they have changed; 0: when somebody asks."},

    {"smoosh", "view_channels", TEXT_AT_START, "ratio_views,slack_views", "",
	"When index files of views are: a channel that is not named is off."},
    {"smoosh.ratio_views", "min_priority", CONFIG_RATIO, START, 1, 1000, NULL, "2.0", "",
	"An index file is compacted when it is so many times as large as what is used of it,"},
    {"smoosh.ratio_views", "min_size", NUMBER_AT_START(0, ANY), "1048576", "bytes", "and has at least so many."},
    {"smoosh.ratio_views", "concurrency", NUMBER_AT_START(1, 64), "1", "indexes", "So many at a time."},
    {"smoosh.slack_views", "min_priority", NUMBER_AT_START(0, ANY), "536870912", "bytes",
	"Or so many of its file are not used."},

    {"replicator", "worker_processes", NUMBER_AT_START(1, 64), "4", "batches",
	"Of changes that a replication has under way at a time, where it does not say."},
    {"replicator", "worker_batch_size", NUMBER_AT_START(1, 10000), "500", "changes", "The same: in each of them."},
    {"replicator", "http_connections", NUMBER_AT_START(1, 100), "20", "connections",
	"The same: requests that it may have under way at each end behind HTTP."},
    {"replicator", "http_connections_per_host", NUMBER_AT_START(1, 10000), "20", "connections",
	"Requests of all replications together that are under way to one host; feeds that wait do not count."},
    {"replicator", "connection_timeout", NUMBER_AT_START(100, 3600000), "30000", "ms",
	"The same as above: how long it waits for an answer."},
    {"replicator", "retries_per_request", NUMBER_AT_START(0, 50), "5", "times",
	"The same: a request that failed is made again so often."},
    {"replicator", "use_checkpoints", TRUTH_AT_START, "true", "", "The same: it notes at both ends how far it came."},
    {"replicator", "checkpoint_interval", NUMBER_AT_START(1, 3600000), "30000", "ms", "The same: so often."},
    {"replicator", "use_bulk_get", TRUTH_AT_START, "true", "",
	"The same: it asks sources for many documents at once where they can."},
    {"replicator", "max_jobs", NUMBER_AT_START(1, 1000000), "500", "replications", "That run at a time."},
    {"replicator", "max_churn", NUMBER_AT_START(1, 1000000), "20", "replications",
	"Where more want to, so many make room for others at a time,"},
    {"replicator", "interval", NUMBER_AT_START(100, 86400000), "60000", "ms", "and so often."},
    {"replicator", "max_history", NUMBER_AT_START(1, 20), "20", "events", "That are remembered of a replication."},
    {"replicator", "startup_jitter", NUMBER_AT_START(0, 3600000), "5000", "ms",
	"When divand starts, replications begin spread over so long."},
    {"replicator", "backoff", NUMBER_AT_START(1, 28800000), "30000", "ms",
	"A replication that has failed rests so long, and twice as long after each failure more, up to 8 hours."},
    {"replicator", "blocked_networks", TEXT_AT_START, "", "",
	"Addresses and networks, such as 10.0.0.0/8, ::1, that no replication reaches, whatever name leads to them; of "
	"a proxy its own address counts."},
    {"replicator", "allowed_networks", TEXT_AT_START, "", "",
	"The only ones that replications reach, less those that are blocked; nothing here: all."},
    {"replicator", "valid_endpoint_protocols", TEXT, "http,https", "",
	"Schemes of the URLs that replications may have."},
    {"replicator", "valid_proxy_protocols", TEXT, "http,https,socks5", "",
	"Those of their proxies. A proxy looks up names itself: none, where networks are blocked to those who write "
	"replications."},
    {"replicator", "verify_ssl_certificates", TRUTH_AT_START, "true", "",
	"Who is replicated with over TLS has a certificate that is trusted; false: any will do, as is CouchDB's "
	"default."},
    {"replicator", "ssl_trusted_certificates_file", TEXT_AT_START, "", "",
	"Certificates to trust, as PEM; nothing here: the system's."},
    {"replicator", "ssl_certificate_max_depth", NUMBER_AT_START(0, 100), "3", "",
	"Certificates between a server's and one that is trusted; 0: no bound."},
    {"replicator", "cert_file", TEXT_AT_START, "", "", "This server's own certificate as a client, as PEM."},
    {"replicator", "key_file", TEXT_AT_START, "", "", "Its key, as PEM."},
    {"replicator", "password", CONFIG_TEXT, SECRET | START, 0, 0, NULL, "", "", "Of the key."},

    {"cluster", "q", TEXT, "1", "", "Clients ask for it; there is one shard."},
    {"divan", "web_dir", TEXT_AT_START, "", "",
	"The built page; nothing here: web beside the program, or where it was installed."},
    {"divan", "user", TEXT_AT_START, "", "",
	"Who divand becomes where root starts it: a name or a number, --user; nothing here: the data folder's owner."},
    {"divan", "confine", CONFIG_WORD, START, 0, 0, "auto|require|off", "auto", "",
	"divand gives up to write outside of its folders, and system calls that it does not need; auto: as far as the "
	"kernel can do that, require: or does not start."},
    {"divan", "write_also", TEXT_AT_START, "", "",
	"Folders, separated by commas, in which it writes besides: those that links in the data folder lead to."},
    {"divan", "core_dumps", TRUTH_AT_START, "false", "",
	"If it crashes, its memory may be saved, with all secrets in it; and debuggers of the same user may look at "
	"it."},
};

#define N (sizeof(known) / sizeof(known[0]))

const struct config_known *
config_known_at(unsigned i)
{
	return i < N ? &known[i] : NULL;
}

static int
is_among(const char *const *keys, const char *key)
{
	for (; *keys != NULL; keys++)
		if (strcmp(*keys, key) == 0)
			return 1;
	return 0;
}

/* Where a setting has moved to that CouchDB has had in another section, and that is read there still. */
static const char *
alias_of(const char *section, const char *key)
{
	static const char *const httpd[] = {"enable_cors", "enable_xframe_options", "WWW-Authenticate",
	    "config_whitelist", "x_forwarded_host", "x_forwarded_proto", "x_forwarded_ssl", NULL};
	static const char *const newer[] = {"min_iterations", "max_iterations", "allow_conflicted_user_docs", NULL};

	if (strcmp(section, "httpd") == 0 && is_among(httpd, key))
		return "chttpd";
	if (strcmp(section, "couch_httpd_auth") == 0 && !is_among(newer, key))
		return "chttpd_auth";
	return section;
}

const struct config_known *
config_known_find(const char *section, const char *key)
{
	size_t i;

	section = alias_of(section, key);
	for (i = 0; i < N; i++)
		if (strcmp(known[i].section, section) == 0 &&
		    (strcmp(known[i].key, "*") == 0 || strcmp(known[i].key, key) == 0))
			return &known[i];
	return NULL;
}

int
config_known_is_secret(const char *section, const char *key)
{
	static const char *const sections[] = {"admins", "jwt_keys"};
	static const char *const words[] = {"secret", "password", "passwd", "private_key"};
	const struct config_known *k = config_known_find(section, key);
	size_t i;

	if (k != NULL && (k->flags & SECRET) != 0)
		return 1;
	for (i = 0; i < sizeof(sections) / sizeof(sections[0]); i++)
		if (strcmp(section, sections[i]) == 0)
			return 1;
	/* A truth, such as proxy_use_secret, is none. */
	for (i = 0; i < sizeof(words) / sizeof(words[0]) && (k == NULL || k->type == CONFIG_TEXT); i++)
		if (strcasestr(key, words[i]) != NULL)
			return 1;
	return 0;
}

static int
is_word(const char *words, const char *value)
{
	size_t len = strlen(value), n;

	for (; words != NULL; words = words[n] == '|' ? words + n + 1 : NULL) {
		n = strcspn(words, "|");
		if (n == len && strncasecmp(words, value, n) == 0)
			return 1;
	}
	return 0;
}

static int
check_number(const struct config_known *k, const char *value, struct errtext *why)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (*value >= '0' && *value <= '9' && errno == 0 && *end == '\0' && n >= k->min && n <= k->max)
		return 0;
	if (k->max == ANY && k->min > 1)
		return err_why(why, ERR_BAD_REQUEST, "must be a number, %llu at least", (unsigned long long)k->min);
	if (k->max == ANY)
		return err_why(why, ERR_BAD_REQUEST, "must be a number%s%s%s", k->min > 0 ? " above 0" : "",
		    k->words != NULL ? ", or " : "", k->words != NULL ? k->words : "");
	return err_why(why, ERR_BAD_REQUEST, "must be a number from %llu to %llu", (unsigned long long)k->min,
	    (unsigned long long)k->max);
}

static int
check_ratio(const struct config_known *k, const char *value, struct errtext *why)
{
	char *end;
	double d = strtod(value, &end);

	if (end != value && *end == '\0' && d >= (double)k->min && d <= (double)k->max)
		return 0;
	return err_why(why, ERR_BAD_REQUEST, "must be a number from %llu to %llu", (unsigned long long)k->min,
	    (unsigned long long)k->max);
}

int
config_known_check(const char *section, const char *key, const char *value, struct errtext *why)
{
	const struct config_known *k = config_known_find(section, key);

	if (k == NULL || *value == '\0' || is_word(k->words, value))
		return 0;
	switch (k->type) {
	case CONFIG_TEXT:
	case CONFIG_NAME:
		return 0;
	case CONFIG_NUMBER:
		return check_number(k, value, why);
	case CONFIG_RATIO:
		return check_ratio(k, value, why);
	case CONFIG_TRUTH:
		return is_word("true|false|yes|no|on|off|1|0", value)
			   ? 0
			   : err_why(why, ERR_BAD_REQUEST, "must be true or false");
	case CONFIG_WORD:
		return err_why(why, ERR_BAD_REQUEST, "must be one of %s", k->words);
	}
	return 0;
}

static void
print_one(const struct config_known *k, FILE *out)
{
	fprintf(out, "\n  # %s", k->about);
	if (k->type == CONFIG_WORD)
		fprintf(out, " One of %s.", k->words);
	if (*k->unit != '\0')
		fprintf(out, " Unit: %s.", k->unit);
	if (k->flags & START)
		fputs(" Read at the start.", out);
	/* Quoted where YAML would take it for something else. */
	if (strcmp(k->key, "*") == 0)
		fprintf(out, "\n  # %s: secret\n", strcmp(k->section, "jwt_keys") == 0 ? "\"hmac:_default\"" : "admin");
	else if (*k->dflt == '\0')
		fprintf(out, "\n  # %s: \"\"\n", k->key);
	else
		fprintf(out, "\n  # %s: %s\n", k->key, k->dflt);
}

static int
is_first(size_t i)
{
	size_t k;

	for (k = 0; k < i; k++)
		if (strcmp(known[k].section, known[i].section) == 0)
			return 0;
	return 1;
}

void
config_known_print(FILE *out)
{
	size_t i, k;

	fputs("# The settings of divand, in CouchDB's sections and names.  Each stands here with its default: take "
	      "away the\n"
	      "# \"# \" before a key to set it.  A text may also be a list.  The environment goes before this file\n"
	      "# (DIVAN_CHTTPD__PORT=5985 sets chttpd/port), the command line before that (--set chttpd/port=5985).\n"
	      "# CouchDB's older section couch_httpd_auth holds where chttpd_auth says nothing; of httpd these do: "
	      "enable_cors,\n"
	      "# WWW-Authenticate, config_whitelist, x_forwarded_host, x_forwarded_proto, x_forwarded_ssl.\n"
	      "# Made by `divand --settings`.\n",
	    out);
	for (i = 0; i < N; i++) {
		if (!is_first(i))
			continue;
		fprintf(out, "\n%s:", known[i].section);
		for (k = i; k < N; k++)
			if (strcmp(known[k].section, known[i].section) == 0)
				print_one(&known[k], out);
	}
}
