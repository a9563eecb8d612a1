/* limits.h: every bound on size, depth, count and time that is not a setting. */
#ifndef BASE_LIMITS_H_
#define BASE_LIMITS_H_

#define LIMIT_ID_LEN 8192u                       /* bytes of a document or _local id */
#define LIMIT_DB_NAME_LEN 238u                   /* bytes of a database name, as CouchDB */
#define LIMIT_REV_LEN 128u                       /* bytes of a revision's hash part, verbatim form */
#define LIMIT_REV_GEN UINT64_C(9007199254740991) /* highest generation, 2^53 - 1 */
#define LIMIT_JSON_DEPTH 2000u                   /* nesting of arrays and objects */
#define LIMIT_THREAD_STACK \
	(4u << 20) /* bytes of a thread's stack: a value of LIMIT_JSON_DEPTH levels takes half a MiB, under a sanitizer twice that */
#define LIMIT_NUMBER_LEN 4096u         /* characters of one JSON number */
#define LIMIT_BODY_LEN 8000000u        /* bytes of one document's body, couchdb/max_document_size's default */
#define LIMIT_REQUEST_LEN (4ull << 30) /* bytes of one request body, chttpd/max_http_request_size's default */
#define LIMIT_HEAD_LEN (128u << 10)    /* bytes of an HTTP/1 request's head */
#define LIMIT_URL_LEN 65536u           /* bytes of a request target */
#define LIMIT_QUERY_LEN 8192u          /* and of its query, as in CouchDB, where that is the request line's bound */
#define LIMIT_ATTACHMENTS 4096u        /* attachments of one revision */
#define LIMIT_ATT_NAME_LEN 4096u       /* bytes of an attachment's name or type */
#define LIMIT_REVS_LIMIT 1000u         /* default revs_limit */
#define LIMIT_PURGES 1000u             /* purges that are remembered, by default */
#define LIMIT_LEAVES 10000u            /* leaves of one revision tree */
#define LIMIT_TREE_REVS (1u << 20)     /* its revisions, spilled ones too: 1,000 branches of the default revs_limit */
#define LIMIT_TREE_BYTES (16u << 20)   /* bytes of it that stand in the document's record */
#define LIMIT_DOC_MEM \
	(256u << 20) /* memory for one document while it is written: four times LIMIT_TREE_REVS revisions */
#define LIMIT_TXN_BYTES (16u << 20)        /* bytes of one storage transaction */
#define LIMIT_REWRITE_LOG (16u << 20)      /* bytes of keys committed between two steps of a compaction or copy */
#define LIMIT_QUEUE_BYTES (64u << 20)      /* bytes waiting in one database's commit queue */
#define LIMIT_HEARING 512u                 /* writes that validators are asked about at a time */
#define LIMIT_HEARINGS 16u                 /* how often they are asked about one write before it ends in ERR_BUSY */
#define LIMIT_OPEN_DBS 400u                /* databases kept open */
#define LIMIT_COMPACTIONS 100u             /* compactions that wait to begin by themselves */
#define LIMIT_BLOB_CHUNK 65472u            /* bytes of one attachment chunk: with key and headers it fills 16 pages */
#define LIMIT_COPIES 4u                    /* databases being copied or sent as a file at one time */
#define LIMIT_ROWS_PER_TURN 256u           /* rows that a feed reads upward to write them downward, in one turn */
#define LIMIT_UPDATES_GONE 4096u           /* databases that are gone and still stand in _db_updates */
#define LIMIT_SCRIPT_ANSWER (64u << 20)    /* bytes of one answer of users' JavaScript */
#define LIMIT_SPOOL_BYTES (256ull << 20)   /* bytes of an answer that wait on disk until they are taken, */
#define LIMIT_SPOOLS_BYTES (1ull << 30)    /* and of all of them, */
#define LIMIT_SPOOLS 128u                  /* which may be so many at a time */
#define LIMIT_SELECTOR_LEN (2u << 20)      /* bytes of a selector's text */
#define LIMIT_SELECTOR_DEPTH 50u           /* nesting of a selector's operators and fields */
#define LIMIT_SELECTOR_NODES 8192u         /* operators and fields of a selector */
#define LIMIT_SELECTOR_VALUES 100000u      /* values that a selector compares with */
#define LIMIT_SELECTOR_MEM (64u << 20)     /* bytes that a compiled selector may take */
#define LIMIT_SELECTOR_REGEXES (4u << 20)  /* bytes of its compiled regular expressions */
#define LIMIT_MATCH_WORK 4000000u          /* steps of a selector in one document, some 10 ns each */
#define LIMIT_MATCH_WORK_BYTE 4u           /* and for each byte of the document */
#define LIMIT_FIND_RANGES 1024u            /* ranges of keys that a query reads, over all its indexes */
#define LIMIT_FIND_PARTS 64u               /* branches of an $or that are read one by one; less than 256 */
#define LIMIT_FIND_LEN (16u << 20)         /* bytes of the body of a Mango request */
#define LIMIT_INDEX_COLUMNS 64u            /* fields of a declared index that is created by _index */
#define LIMIT_INDEX_PATHS (64u << 10)      /* bytes of the names of its fields */
#define LIMIT_INDEX_KEY 16384u             /* bytes of a row's key, and of its sort key, in one; longer ones are cut */
#define LIMIT_ROW_KEY LIMIT_BODY_LEN       /* bytes of a row's key in a view, as JSON, */
#define LIMIT_ROWS_KEYS (32u << 20)        /* and of the sort keys of all rows of one document */
#define LIMIT_VIEW_KEYS (64u << 20)        /* bytes that one request's keys of a view sort by, and 32 for each */
#define LIMIT_VIEWS 4096u                  /* views of a design document */
#define LIMIT_INDEX_MAPS 1024u             /* indexes of a design document that differ in their rows */
#define LIMIT_INDEX_DELETES 10000u         /* design documents of one _bulk_delete */
#define LIMIT_INDEX_TRIES 64u              /* at a design document that others write as well */
#define LIMIT_FIND_SORT 1000u              /* fields of a sort, or of an index */
#define LIMIT_BOOKMARK_LEN (12u << 20)     /* bytes of a bookmark of _find: a document's, and base64 */
#define LIMIT_LIVE_LEN (1u << 20)          /* bytes of a live query's body */
#define LIMIT_LIVE_MEMBERS 10000u          /* documents that a live query keeps */
#define LIMIT_LIVE_BYTES (4u << 20)        /* and bytes of their ids and sort keys */
#define LIMIT_LOG_BUFFER ((size_t)1 << 20) /* bytes of log lines that wait to be written */
#define LIMIT_REGEX_LEN 8192u              /* bytes of a regular expression */
#define LIMIT_REGEX_WORK 1000000u          /* steps of all regular expressions in one document: 10 to 20 ms */
#define LIMIT_REGEX_HEAP_KIB 4096u         /* memory of one match */
#define LIMIT_H2_RESETS \
	200u /* streams of an HTTP/2 connection that may be reset, and half of those answered, and one a second */
#define LIMIT_H2_CONTROLS \
	500u /* frames that ask for nothing (pings, settings, priorities, empty ones), and one a stream */
#define LIMIT_H2_CONTROLS_PER_S 20u /* and so many a second */
#define LIMIT_H2_WINDOWS 2000u      /* window updates, and one for 128 bytes that were sent */
#define LIMIT_H2_CONTINUATIONS 32u  /* further frames of one head */
#define LIMIT_H2_FIELDS \
	1000u              /* header fields of one head: the connection is ended; beyond LIMIT_HEADERS it is answered */
#define LIMIT_HEADERS 100u /* header fields of a request */
#define LIMIT_ANSWER_HEAD_LEN (256u << 10) /* bytes of the heads of another server's answer */

#endif
