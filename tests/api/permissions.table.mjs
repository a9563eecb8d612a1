// Who may do what: each endpoint and method, and what becomes of the request of each kind of client.
//
//   nobody   sends no credentials                      plain    has an account, and no part in the database
//   wrong    an account's name and another password    member   is a member of the database by name
//   admin    administers the server                    dbadmin  administers the database, by a role
//
// A number is the status of what is allowed to; a|b is either. A star: or 501, until the endpoint is there; who brings it takes the star off.
// What is refused has a word, which permissions.test.mjs spells out as status, error and reason:
//
//   pw  the password is wrong              in  log in: the database is not open to nobody     no  it is not open to this account
//   sa  not a server administrator         ma  not an administrator of the database           da  the same, of what is written
//   me  neither that nor a metrics user    au  log in                                        --  not yours: as if there were none
//   ro  only administrators set roles      dd  not for you to see, in _users
//
// Expected is what CouchDB 3.5 does: recorded answers (tests/contract) and its sources, not what divand happens to do.
//
// Paths: {db} is the database, {newdb} a name of none, {olddb} another database. Made for the one request are {doc} and {ddoc}, a
// document and a design document (with an index i) with an attachment a.txt, of revision {rev}, {local}, and the setting {set}; {new} is a name of nothing.
// COPY goes to what follows the >, or to {new}. What follows < is the body: JSON, or `text`, `form` (an upload) or `security` (the object that
// is there already). Every row is tried by everybody; a refused write must leave the database as it was.
//
// tests/check wants a row here for each path and method of httpapi/router.c.

/** The server's own endpoints. */
export const server = `
method path                                              nobody  wrong   plain   member  dbadmin admin
GET    /                                                 200     pw      200     200     200     200
HEAD   /                                                 200     pw      200     200     200     200
GET    /favicon.ico                                      200|404 pw      200|404 200|404 200|404 200|404
HEAD   /favicon.ico                                      200|404 pw      200|404 200|404 200|404 200|404
GET    /_utils/                                          200|404 pw      200|404 200|404 200|404 200|404
HEAD   /_utils/                                          200|404 pw      200|404 200|404 200|404 200|404
GET    /_up                                              200     pw      200     200     200     200
HEAD   /_up                                              200     pw      200     200     200     200
GET    /_session                                         200     pw      200     200     200     200
HEAD   /_session                                         200     pw      200     200     200     200
DELETE /_session                                         200     pw      200     200     200     200
POST   /_session                                         200     pw      200     200     200     200     < {"name":"plain","password":"pw-plain"}
GET    /_uuids                                           200     pw      200     200     200     200
GET    /_all_dbs                                         sa      pw      sa      sa      sa      200
HEAD   /_all_dbs                                         sa      pw      sa      sa      sa      200
GET    /_dbs_info                                        sa      pw      sa      sa      sa      200
HEAD   /_dbs_info                                        sa      pw      sa      sa      sa      200
POST   /_dbs_info                                        sa      pw      sa      sa      sa      200     < {"keys":["{db}"]}
GET    /_active_tasks                                    sa      pw      sa      sa      sa      200
HEAD   /_active_tasks                                    sa      pw      sa      sa      sa      200
GET    /_membership                                      sa      pw      sa      sa      sa      200
GET    /_node/_local                                     sa      pw      sa      sa      sa      200
GET    /_node/_local/_versions                           sa      pw      sa      sa      sa      200
GET    /_node/_local/_config                             sa      pw      sa      sa      sa      200
GET    /_node/_local/_config/chttpd                      sa      pw      sa      sa      sa      200
GET    /_node/_local/_config/admins                      sa      pw      sa      sa      sa      200
GET    /_node/_local/_config/cluster/q                  sa      pw      sa      sa      sa      200
PUT    /_node/_local/_config/permissions/{new}           sa      pw      sa      sa      sa      200     < "x"
PUT    /_node/_local/_config/admins/{new}                sa      pw      sa      sa      sa      200     < "x"
DELETE /_node/_local/_config/permissions/{set}           sa      pw      sa      sa      sa      200
GET    /_node/_local/_stats                              me      pw      me      me      me      200
GET    /_node/_local/_stats/couchdb/request_time         me      pw      me      me      me      200
GET    /_node/_local/_system                             me      pw      me      me      me      200
GET    /_node/_local/_prometheus                         me      pw      me      me      me      200
GET    /_node/_local/_smoosh/status                      sa      pw      sa      sa      sa      200
POST   /_node/_local/_config/_reload                     sa      pw      sa      sa      sa      200
GET    /_replicate                                       au      pw      400     400     400     400
POST   /_replicate                                       au      pw      no      no      no      200     < {"source":"{db}","target":"{newdb}","create_target":true}
GET    /_scheduler/jobs                                  sa      pw      sa      sa      sa      200
HEAD   /_scheduler/jobs                                  sa      pw      sa      sa      sa      200
GET    /_scheduler/docs                                  sa      pw      sa      sa      sa      200
HEAD   /_scheduler/docs                                  sa      pw      sa      sa      sa      200
POST   /_reload_query_servers                            sa      pw      sa      sa      sa      200     < {}
GET    /_db_updates                                      sa      pw      sa      sa      sa      200
HEAD   /_db_updates                                      sa      pw      sa      sa      sa      200
GET    /_db_updates?feed=longpoll                        sa      pw      sa      sa      sa      200
GET    /_db_updates?feed=continuous                      sa      pw      sa      sa      sa      200
GET    /_db_updates?feed=eventsource                     sa      pw      sa      sa      sa      200
GET    /_node/_local/_config/cluster/q/more              sa      pw      sa      sa      sa      404
PUT    /_node/_local/_config/cluster/q/more              sa      pw      sa      sa      sa      404     < "x"
DELETE /_node/_local/_config/cluster/q/more              sa      pw      sa      sa      sa      404
GET    /_search_analyze                                  sa      pw      sa      sa      sa      503
POST   /_search_analyze                                  sa      pw      sa      sa      sa      503     < {}
POST   /_nouveau_analyze                                 sa      pw      sa      sa      sa      404     < {}
GET    /_cluster_setup                                   sa      pw      sa      sa      sa      200
POST   /_cluster_setup                                   sa      pw      sa      sa      sa      201     < {"action":"finish_cluster"}
GET    /_reshard                                         sa      pw      sa      sa      sa      200
HEAD   /_reshard                                         sa      pw      sa      sa      sa      200
GET    /_reshard/state                                   sa      pw      sa      sa      sa      200
HEAD   /_reshard/state                                   sa      pw      sa      sa      sa      200
PUT    /_reshard/state                                   sa      pw      sa      sa      sa      501     < {"state":"stopped"}
GET    /_reshard/jobs                                    sa      pw      sa      sa      sa      200
HEAD   /_reshard/jobs                                    sa      pw      sa      sa      sa      200
POST   /_reshard/jobs                                    sa      pw      sa      sa      sa      501     < {"type":"split","db":"{db}"}
GET    /_reshard/jobs/j                                  sa      pw      sa      sa      sa      404
HEAD   /_reshard/jobs/j                                  sa      pw      sa      sa      sa      404
DELETE /_reshard/jobs/j                                  sa      pw      sa      sa      sa      404
GET    /_reshard/jobs/j/state                            sa      pw      sa      sa      sa      404
HEAD   /_reshard/jobs/j/state                            sa      pw      sa      sa      sa      404
PUT    /_reshard/jobs/j/state                            sa      pw      sa      sa      sa      404     < {"state":"stopped"}
GET    /_reshard/nothing                                 sa      pw      sa      sa      sa      404
HEAD   /_reshard/nothing                                 sa      pw      sa      sa      sa      404
PUT    /{newdb}                                          sa      pw      sa      sa      sa      201
DELETE /{olddb}                                          sa      pw      sa      sa      sa      200
GET    /_nonexistent                                     sa      pw      sa      sa      sa      404
GET    /_global_changes                                  sa      pw      sa      sa      sa      404
`;

/** Databases: closed to all but members, the default; behind the bar, what differs where everybody is a member. */
export const database = `
method path                                        nobody  wrong   plain   member  dbadmin admin   | nobody  plain   member
GET    /{db}                                       in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}                                       in      pw      no      200     200     200     | 200     200     200
POST   /{db}                                       in      pw      no      201     201     201     | 201     201     201     < {"_id":"{new}"}
PUT    /{db}                                       sa      pw      sa      sa      sa      412     | sa      sa      sa
DELETE /{db}?rev=1-x                               sa      pw      sa      sa      sa      400     | sa      sa      sa
GET    /{db}/{doc}                                 in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/{doc}                                 in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/{new}                                 in      pw      no      201     201     201     | 201     201     201     < {}
PUT    /{db}/{doc}?rev={rev}                       in      pw      no      201     201     201     | 201     201     201     < {}
PUT    /{db}/{doc}?new_edits=false                 in      pw      no      201     201     201     | 201     201     201     < {"_rev":"7-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
POST   /{db}/{doc}                                 in      pw      no      201     201     201     | 201     201     201     < form
DELETE /{db}/{doc}?rev={rev}                       in      pw      no      200     200     200     | 200     200     200
COPY   /{db}/{doc}                                 in      pw      no      201     201     201     | 201     201     201
GET    /{db}/{doc}/a.txt                           in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/{doc}/a.txt                           in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/{doc}/b.txt?rev={rev}                 in      pw      no      201     201     201     | 201     201     201     < text
PUT    /{db}/{new}/b.txt                           in      pw      no      201     201     201     | 201     201     201     < text
DELETE /{db}/{doc}/a.txt?rev={rev}                 in      pw      no      200     200     200     | 200     200     200
GET    /{db}/_local/{local}                        in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_local/{local}                        in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/_local/{new}                          in      pw      no      201     201     201     | 201     201     201     < {}
DELETE /{db}/_local/{local}                        in      pw      no      200     200     200     | 200     200     200
COPY   /{db}/_local/{local}                        in      pw      no      201     201     201     | 201     201     201
GET    /{db}/_design/{ddoc}                        in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_design/{ddoc}                        in      pw      no      200     200     200     | 200     200     200
GET    /{db}/_design%2F{ddoc}                      in      pw      no      301     301     301     | 301     301     301
PUT    /{db}/_design/{new}                         in      pw      no      da      201     201     | da      da      da      < {}
PUT    /{db}/_design/{ddoc}?rev={rev}              in      pw      no      da      201     201     | da      da      da      < {}
PUT    /{db}/_design%2F{new}                       in      pw      no      da      201     201     | da      da      da      < {}
PUT    /{db}/_design/{ddoc}?new_edits=false        in      pw      no      da      201     201     | da      da      da      < {"_rev":"7-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}
DELETE /{db}/_design/{ddoc}?rev={rev}              in      pw      no      da      200     200     | da      da      da
COPY   /{db}/_design/{ddoc}                        in      pw      no      201     201     201     | 201     201     201
COPY   /{db}/{doc}>_design/{new}                   in      pw      no      da      201     201     | da      da      da
POST   /{db}                                       in      pw      no      da      201     201     | da      da      da      < {"_id":"_design/{new}"}
GET    /{db}/_design/{ddoc}/a.txt                  in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_design/{ddoc}/a.txt                  in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/_design/{ddoc}/b.txt?rev={rev}        in      pw      no      da      201     201     | da      da      da      < text
DELETE /{db}/_design/{ddoc}/a.txt?rev={rev}        in      pw      no      da      200     200     | da      da      da
GET    /{db}/_design/{ddoc}/_view/v                in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404
HEAD   /{db}/_design/{ddoc}/_view/v                in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404
GET    /{db}/_design/{ddoc}/_info                  in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404
GET    /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
HEAD   /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
GET    /{db}/_design/{ddoc}/_list/l/v              in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
HEAD   /{db}/_design/{ddoc}/_list/l/v              in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
OPTIONS /{db}/_design/{ddoc}/_list/l/v             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
GET    /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
HEAD   /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
GET    /{db}/_design/{ddoc}/_search/i              in      pw      no      503     503     503     | 503     503     503
GET    /{db}/_design/{ddoc}/_search_info/i         in      pw      no      503     503     503     | 503     503     503
GET    /{db}/_design/{ddoc}/_search_disk_size/i    in      pw      no      503     503     503     | 503     503     503
GET    /{db}/_design/{ddoc}/_nouveau/i             in      pw      no      404     404     404     | 404     404     404
GET    /{db}/_design/{ddoc}/_nouveau_info/i        in      pw      no      404     404     404     | 404     404     404
POST   /{db}/_design/{ddoc}/_view/v                in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404  < {}
POST   /{db}/_design/{ddoc}/_view/v/queries        in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404  < {"queries":[]}
GET    /{db}/_design/{ddoc}/_view                  in      pw      no      405     405     405     | 405     405     405
HEAD   /{db}/_design/{ddoc}/_view                  in      pw      no      405     405     405     | 405     405     405
POST   /{db}/_design/{ddoc}/_view                  in      pw      no      405     405     405     | 405     405     405     < {}
POST   /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404 < {}
PUT    /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404 < {}
DELETE /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
COPY   /{db}/_design/{ddoc}/_show/s                in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
OPTIONS /{db}/_design/{ddoc}/_show/s               in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
POST   /{db}/_design/{ddoc}/_list/l/v              in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404  < {}
GET    /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
HEAD   /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
DELETE /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
COPY   /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404
POST   /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404 < {}
PUT    /{db}/_design/{ddoc}/_update/u              in      pw      no      200|404 200|404 200|404 | 200|404 200|404 200|404 < {}
POST   /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404  < {}
PUT    /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404  < {}
DELETE /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
COPY   /{db}/_design/{ddoc}/_rewrite/x             in      pw      no      200|404  200|404  200|404  | 200|404  200|404  200|404 
POST   /{db}/_design/{ddoc}/_search/i              in      pw      no      503     503     503     | 503     503     503 < {}
POST   /{db}/_design/{ddoc}/_nouveau/i             in      pw      no      404     404     404     | 404     404     404 < {}
GET    /{db}/_all_docs                             in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_all_docs                             in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_all_docs                             in      pw      no      200     200     200     | 200     200     200     < {"keys":["x"]}
POST   /{db}/_all_docs/queries                     in      pw      no      200     200     200     | 200     200     200     < {"queries":[{}]}
GET    /{db}/_design_docs                          in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_design_docs                          in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_design_docs                          in      pw      no      200     200     200     | 200     200     200     < {"keys":["x"]}
POST   /{db}/_design_docs/queries                  in      pw      no      200     200     200     | 200     200     200     < {"queries":[{}]}
GET    /{db}/_local_docs                           in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_local_docs                           in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_local_docs                           in      pw      no      200     200     200     | 200     200     200     < {"keys":["x"]}
POST   /{db}/_local_docs/queries                   in      pw      no      200     200     200     | 200     200     200     < {"queries":[{}]}
GET    /{db}/_changes                              in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_changes                              in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_changes?filter=_doc_ids              in      pw      no      200     200     200     | 200     200     200     < {"doc_ids":["x"]}
GET    /{db}/_changes?feed=longpoll                in      pw      no      200     200     200     | 200     200     200
GET    /{db}/_changes?feed=continuous              in      pw      no      200     200     200     | 200     200     200
GET    /{db}/_changes?feed=eventsource             in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_bulk_docs                            in      pw      no      201     201     201     | 201     201     201     < {"docs":[{"_id":"{new}"}]}
POST   /{db}/_bulk_docs?new_edits                  in      pw      no      201     201     201     | 201     201     201     < {"new_edits":false,"docs":[{"_id":"{new}","_rev":"1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"}]}
POST   /{db}/_bulk_get                             in      pw      no      200     200     200     | 200     200     200     < {"docs":[{"id":"{doc}"}]}
POST   /{db}/_revs_diff                            in      pw      no      200     200     200     | 200     200     200     < {}
POST   /{db}/_missing_revs                         in      pw      no      200     200     200     | 200     200     200     < {}
POST   /{db}/_ensure_full_commit                   in      pw      no      201     201     201     | 201     201     201     < {}
GET    /{db}/_security                             in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/_security                             in      pw      no      da      200     200     | da      da      da      < security
GET    /{db}/_revs_limit                           in      pw      no      200     200     200     | 200     200     200
PUT    /{db}/_revs_limit                           in      pw      no      da      200     200     | da      da      da      < 1000
GET    /{db}/_history_kept                         in      pw      no      ma      200     200     | ma      ma      ma
PUT    /{db}/_history_kept                         in      pw      no      ma      200     200     | ma      ma      ma      < {}
POST   /{db}/_compact                              in      pw      no      ma      202     202     | ma      ma      ma      < {}
POST   /{db}/_compact/{ddoc}                       in      pw      no      ma      202     202     | ma      ma      ma      < {}
POST   /{db}/_view_cleanup                         in      pw      no      ma      202     202     | ma      ma      ma      < {}
POST   /{db}/_find                                 in      pw      no      200     200     200     | 200     200     200     < {"selector":{}}
POST   /{db}/_explain                              in      pw      no      200     200     200     | 200     200     200     < {"selector":{}}
GET    /{db}/_index                                in      pw      no      200     200     200     | 200     200     200
HEAD   /{db}/_index                                in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_index                                in      pw      no      da      200     200     | da      da      da      < {"index":{"fields":["n"]}}
POST   /{db}/_index/_bulk_delete                   in      pw      no      da      200     200     | da      da      da      < {"docids":["{new}"]}
DELETE /{db}/_index/{ddoc}/json/i                  in      pw      no      da      200     200     | da      da      da
DELETE /{db}/_index/_design/{ddoc}/json/i          in      pw      no      da      200     200     | da      da      da
DELETE /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404
GET    /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404
HEAD   /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404
POST   /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404     < {}
PUT    /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404     < {}
COPY   /{db}/_index/{new}                          in      pw      no      404     404     404     | 404     404     404
GET    /{db}/_copy                                 sa      pw      sa      sa      sa      200     | sa      sa      sa
POST   /{db}/_purge                                sa      pw      sa      sa      sa      201     | sa      sa      sa      < {}
GET    /{db}/_purged_infos                         sa      pw      sa      sa      sa      200     | sa      sa      sa
GET    /{db}/_purged_infos_limit                   sa      pw      sa      sa      sa      200     | sa      sa      sa
PUT    /{db}/_purged_infos_limit                   sa      pw      sa      sa      sa      200     | sa      sa      sa      < 1000
GET    /{db}/_partition                            in      pw      no      400     400     400     | 400     400     400
GET    /{db}/_partition/p                          in      pw      no      400     400     400     | 400     400     400
POST   /{db}/_partition/p                          in      pw      no      405     405     405     | 405     405     405     < {}
GET    /{db}/_partition/p/_all_docs                in      pw      no      400     400     400     | 400     400     400
HEAD   /{db}/_partition/p/_all_docs                in      pw      no      400     400     400     | 400     400     400
POST   /{db}/_partition/p/_all_docs                in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_partition/p/_all_docs/queries        in      pw      no      400     400     400     | 400     400     400     < {"queries":[]}
GET    /{db}/_partition/p/_design/d/_view/v        in      pw      no      400     400     400     | 400     400     400
HEAD   /{db}/_partition/p/_design/d/_view/v        in      pw      no      400     400     400     | 400     400     400
POST   /{db}/_partition/p/_design/d/_view/v        in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_partition/p/_design/d/_view/v/queries in     pw      no      400     400     400     | 400     400     400     < {"queries":[]}
GET    /{db}/_partition/p/_index                   in      pw      no      400     400     400     | 400     400     400
POST   /{db}/_partition/p/_index                   in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_partition/p/_index/_bulk_delete      in      pw      no      400     400     400     | 400     400     400     < {}
DELETE /{db}/_partition/p/_index/d/json/i          in      pw      no      400     400     400     | 400     400     400
DELETE /{db}/_partition/p/_index/_design/d/json/i  in      pw      no      400     400     400     | 400     400     400
DELETE /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404
GET    /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404
HEAD   /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404
POST   /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404     < {}
PUT    /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404     < {}
COPY   /{db}/_partition/p/_index/nothing           in      pw      no      404     404     404     | 404     404     404
GET    /{db}/_partition/p/_nothing                 in      pw      no      400     400     400     | 400     400     400
HEAD   /{db}/_partition/p/_nothing                 in      pw      no      400     400     400     | 400     400     400
POST   /{db}/_partition/p/_nothing                 in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_partition/p/_find                    in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_partition/p/_explain                 in      pw      no      400     400     400     | 400     400     400     < {}
POST   /{db}/_search_cleanup                       in      pw      no      202     202     202     | 202     202     202     < {}
POST   /{db}/_nouveau_cleanup                      in      pw      no      202     202     202     | 202     202     202     < {}
GET    /{db}/_temp_view                            in      pw      no      410     410     410     | 410     410     410
POST   /{db}/_temp_view                            in      pw      no      410     410     410     | 410     410     410     < {}
GET    /{db}/_shards                               in      pw      no      200     200     200     | 200     200     200
GET    /{db}/_shards/{doc}                         in      pw      no      200     200     200     | 200     200     200
POST   /{db}/_sync_shards                          sa      pw      sa      sa      sa      202     | sa      sa      sa      < {}
`;

/** _users and _replicator as they are made: open to administrators alone. */
export const system = `
method path                                       nobody  plain   admin
PUT    /{db}                                      sa      sa      412
DELETE /{db}?rev=1-x                              sa      sa      400
GET    /{db}                                      in      no      200
HEAD   /{db}                                      in      no      200
POST   /{db}                                      in      no      201|403 < {"_id":"{new}"}
GET    /{db}/_all_docs                            sa      sa      200
HEAD   /{db}/_all_docs                            sa      sa      200
POST   /{db}/_all_docs                            sa      sa      200     < {"keys":[]}
POST   /{db}/_all_docs/queries                    sa      sa      200     < {"queries":[{}]}
GET    /{db}/_changes                             sa      sa      200
GET    /{db}/_changes?feed=continuous             sa      sa      200
POST   /{db}/_changes?filter=_doc_ids             sa      sa      200     < {"doc_ids":["x"]}
GET    /{db}/_design_docs                         in      no      200
GET    /{db}/_local_docs                          in      no      200
GET    /{db}/_security                            in      no      200
PUT    /{db}/_local/{new}                         in      no      201     < {}
PUT    /{db}/_design/{new}                        in      no      201     < {}
GET    /{db}/{new}                                in      no      404
PUT    /{db}/{new}                                in      no      201|403 < {}
POST   /{db}/_bulk_docs                           in      no      201     < {"docs":[{"_id":"{new}"}]}
POST   /{db}/_bulk_get                            in      no      200     < {"docs":[{"id":"x"}]}
POST   /{db}/_revs_diff                           in      no      200     < {}
POST   /{db}/_compact                             in      no      202     < {}
POST   /{db}/_view_cleanup                        in      no      202     < {}
POST   /{db}/_purge                               sa      sa      201     < {}
GET    /{db}/_purged_infos                        sa      sa      200
GET    /{db}/_copy                                sa      sa      200
PUT    /{db}/_revs_limit                          in      no      200     < 1000
`;

/** _users opened to everybody: documents are their own account's, here that of plain. */
export const users = `
method path                                       nobody  wrong   plain   member  admin
GET    /{db}                                      200     pw      200     200     200
PUT    /{db}                                      sa      pw      sa      sa      412
DELETE /{db}?rev=1-x                              sa      pw      sa      sa      400
GET    /{db}/org.couchdb.user:plain               --      pw      200     --      200
HEAD   /{db}/org.couchdb.user:plain               --      pw      200     --      200
GET    /{db}/org.couchdb.user:plain?open_revs=all --|200  pw      200     --|200  200
GET    /{db}/org.couchdb.user:{new}               --      pw      --      --      --
PUT    /{db}/org.couchdb.user:{new}               201     pw      --      --      201     < {"name":"{new}","type":"user","roles":[],"password":"x"}
PUT    /{db}/org.couchdb.user:{new}               ro      pw      --      --      201     < {"name":"{new}","type":"user","roles":["r"],"password":"x"}
POST   /{db}                                      201     pw      --      --      201     < {"_id":"org.couchdb.user:{new}","name":"{new}","type":"user","roles":[],"password":"x"}
DELETE /{db}/org.couchdb.user:plain?rev=1-x       --|409  pw      409     --      409
GET    /{db}/_all_docs                            sa      pw      sa      sa      200
POST   /{db}/_all_docs                            sa      pw      sa      sa      200     < {"keys":[]}
GET    /{db}/_changes                             sa      pw      sa      sa      200
GET    /{db}/_changes?feed=continuous             sa      pw      sa      sa      200
GET    /{db}/_design/{ddoc}                       dd      pw      dd      dd      200
PUT    /{db}/_design/{new}                        da      pw      da|--   da|--   201     < {}
DELETE /{db}/_design/{ddoc}?rev={rev}             dd      pw      dd      dd      200
POST   /{db}/_bulk_get                            200     pw      200     200     200     < {"docs":[{"id":"org.couchdb.user:plain"}]}
GET    /{db}/_security                            200     pw      200     200     200
PUT    /{db}/_security                            da      pw      da      da      200     < security
PUT    /{db}/_revs_limit                          da      pw      da      da      200     < 1000
POST   /{db}/_compact                             ma      pw      ma      ma      202     < {}
POST   /{db}/_purge                               sa      pw      sa      sa      201     < {}
GET    /{db}/_copy                                sa      pw      sa      sa      200
`;
