/* err.h: the one table of errors: code, HTTP status, CouchDB's error string and default reason. */
#ifndef BASE_ERR_H_
#define BASE_ERR_H_

#include <stddef.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * X(code, HTTP status, CouchDB "error", default "reason").  A reason with a
 * parameter (an id, a member's name) is written by the caller into a struct
 * errtext and overrides the default.  Grouped by status; the words are those
 * of the recorded answers.
 */
#define ERR_LIST(X)                                                                                                  \
	X(ERR_NOMEM, 500, "internal_server_error", "out of memory")                                                  \
	X(ERR_IO, 500, "internal_server_error", "input/output error")                                                \
	X(ERR_NOT_GZIP, 500, "internal_server_error", "an attachment is no gzip, or not as long as is said of it")   \
	X(ERR_CORRUPT, 500, "internal_server_error", "a record's checksum does not match")                           \
	X(ERR_IN_DOUBT, 500, "internal_server_error", "the outcome of the write is not known")                       \
	X(ERR_INTERNAL, 500, "internal_server_error", "internal error")                                              \
	X(ERR_NOSPACE, 507, "insufficient_storage", "no space left on the device")                                   \
	X(ERR_READONLY, 503, "service_unavailable", "the file system is read-only")                                  \
	X(ERR_BUSY, 503, "service_unavailable", "too much work is waiting")                                          \
	X(ERR_SHUTDOWN, 503, "service_unavailable", "the server is shutting down")                                   \
	X(ERR_INDEX_SERVICE, 503, "required index service unavailable", "text")                                      \
	X(ERR_NOT_IMPLEMENTED, 501, "not_implemented", "not implemented")                                            \
	X(ERR_NEWER_FORMAT, 500, "internal_server_error", "the file was written by a newer Divan")                   \
	X(ERR_LOCKED, 500, "internal_server_error", "another process holds the data folder")                         \
	X(ERR_BAD_REQUEST, 400, "bad_request", "bad request")                                                        \
	X(ERR_BAD_JSON, 400, "bad_request", "invalid UTF-8 JSON")                                                    \
	X(ERR_NOT_OBJECT, 400, "bad_request", "Document must be a JSON object")                                      \
	X(ERR_BAD_REV, 400, "bad_request", "Invalid rev format")                                                     \
	X(ERR_BAD_URL, 400, "bad_request", "invalid_url_encoding")                                                   \
	X(ERR_BAD_LOCAL_ID, 400, "bad_request", "Invalid _local document id.")                                       \
	X(ERR_BAD_BASE64, 400, "bad_request", "Attachment data is not valid base64")                                 \
	X(ERR_RESERVED_ID, 400, "illegal_docid", "Only reserved document ids may start with underscore.")            \
	X(ERR_ID_NOT_STRING, 400, "illegal_docid", "Document id must be a string")                                   \
	X(ERR_ID_NOT_UTF8, 400, "illegal_docid", "Document id must be valid UTF-8")                                  \
	X(ERR_ID_EMPTY, 400, "illegal_docid", "Document id must not be empty")                                       \
	X(ERR_ID_TOO_LONG, 400, "illegal_docid", "Document id is too long")                                          \
	X(ERR_INVALID_DESIGN, 400, "invalid_design_doc", "invalid design document")                                  \
	X(ERR_COMPILATION, 400, "compilation_error", "a function cannot be compiled")                                \
	X(ERR_ILLEGAL_PARTITION, 400, "illegal_partition", "Partition must not be empty")                            \
	X(ERR_DOC_VALIDATION, 400, "doc_validation", "Bad special document member")                                  \
	X(ERR_KEY_RANGE, 400, "query_parse_error", "No rows can match your key range")                               \
	X(ERR_QUERY_PARSE, 400, "query_parse_error", "Invalid value for a query parameter")                          \
	X(ERR_ILLEGAL_DB_NAME, 400, "illegal_database_name", "illegal database name")                                \
	X(ERR_SELECTOR_JSON, 400, "invalid_selector_json", "Selector must be a JSON object")                         \
	X(ERR_SELECTOR, 400, "invalid_selector", "invalid selector")                                                 \
	X(ERR_OPERATOR, 400, "invalid_operator", "Invalid operator")                                                 \
	X(ERR_OPERATOR_ARG, 400, "bad_arg", "Bad argument for operator")                                             \
	X(ERR_UNSUPPORTED, 400, "not_supported", "Unsupported operator")                                             \
	X(ERR_FIELD, 400, "bad_field", "Invalid field normalization on selector")                                    \
	X(ERR_FIELD_NAME, 400, "invalid_field_name", "Invalid field name")                                           \
	X(ERR_FIELDS_JSON, 400, "invalid_fields", "Fields must be an array of strings")                              \
	X(ERR_FIELD_JSON, 400, "invalid_field", "Invalid JSON for field spec")                                       \
	X(ERR_SORT_JSON, 400, "invalid_sort_json", "Sort must be an array of sort specs")                            \
	X(ERR_SORT_FIELD, 400, "invalid_sort_field", "Invalid sort field")                                           \
	X(ERR_MIXED_SORT, 400, "unsupported_mixed_sort",                                                             \
	    "Sorts currently only support a single direction for all fields.")                                       \
	X(ERR_NO_INDEX, 400, "no_usable_index", "No index exists for this sort, try indexing by the sort fields.")   \
	X(ERR_INVALID_INDEX, 400, "invalid_index", "You must specify an index with the `use_index` parameter.")      \
	X(ERR_INDEX_NAME, 400, "invalid_index_name", "Invalid index name")                                           \
	X(ERR_BOOKMARK, 400, "invalid_bookmark", "Invalid bookmark value")                                           \
	X(ERR_MISSING_KEY, 400, "missing_required_key", "Missing required key")                                      \
	X(ERR_INVALID_KEY, 400, "invalid_key", "Invalid key for this request.")                                      \
	X(ERR_NOT_NATURAL, 400, "invalid_non_neg_integer", "not an integer greater than or equal to zero")           \
	X(ERR_NOT_POSITIVE, 400, "invalid_pos_integer", "not an integer greater than zero")                          \
	X(ERR_NOT_BOOLEAN, 400, "invalid_boolean", "Invalid boolean value")                                          \
	X(ERR_NOT_STRING, 400, "invalid_string", "Invalid string")                                                   \
	X(ERR_EMPTY_STRING, 400, "invalid_empty_string", "Index name or ddoc cannot be empty string")                \
	X(ERR_DDOC_LANGUAGE, 400, "invalid_ddoc_lang", "Existing design doc has an invalid language")                \
	X(ERR_PARTITIONED_OPTION, 400, "invalid_partitioned_option", "The partitioned option does not match")        \
	X(ERR_LIST_INDEX, 400, "invalid_list_index_params", "Index parameter ranges: limit > 1, skip > 0")           \
	X(ERR_BULK_DELETE, 400, "invalid_bulk_docs", "Bulk Delete requires an array of non-null docids.")            \
	X(ERR_UNAUTHORIZED, 401, "unauthorized", "You are not authorized to access this db.")                        \
	X(ERR_BAD_LOGIN, 401, "unauthorized", "Name or password is incorrect.")                                      \
	X(ERR_USER_CONFLICTS, 401, "unauthorized",                                                                   \
	    "User document conflicts must be resolved before the document "                                          \
	    "is used for authentication purposes.")                                                                  \
	X(ERR_NOT_ADMIN, 401, "unauthorized", "You are not a server admin.")                                         \
	X(ERR_FORBIDDEN, 403, "forbidden", "You are not allowed to access this db.")                                 \
	X(ERR_LOCKED_OUT, 403, "forbidden", "Account is temporarily locked due to multiple authentication failures") \
	X(ERR_NOT_DB_ADMIN, 401, "unauthorized", "You are not a db or server admin.")                                \
	X(ERR_NOT_DB_ADMIN_NAMED, 403, "forbidden", "You are not a db or server admin.")                             \
	X(ERR_USERS_DESIGN, 403, "forbidden", "Only administrators can view design docs in the users database.")     \
	X(ERR_NO_DB, 404, "not_found", "Database does not exist.")                                                   \
	X(ERR_MISSING, 404, "not_found", "missing")                                                                  \
	X(ERR_DELETED, 404, "not_found", "deleted")                                                                  \
	X(ERR_NO_ATTACHMENT, 404, "not_found", "Document is missing attachment")                                     \
	X(ERR_METHOD, 405, "method_not_allowed", "Only GET,HEAD allowed")                                            \
	X(ERR_NOT_ACCEPTABLE, 406, "not_acceptable", "not acceptable")                                               \
	X(ERR_CONFLICT, 409, "conflict", "Document update conflict.")                                                \
	X(ERR_DB_EXISTS, 412, "file_exists", "The database could not be created, the file already exists.")          \
	X(ERR_MISSING_STUB, 412, "missing_stub", "Attachment stub does not resolve")                                 \
	X(ERR_TOO_LARGE, 413, "too_large", "the request entity is too large")                                        \
	X(ERR_DOC_TOO_LARGE, 413, "document_too_large", "")                                                          \
	X(ERR_ATT_TOO_LARGE, 413, "attachment_too_large", "")                                                        \
	X(ERR_QUERY_LONG, 414, "request_uri_too_long", "the query string is too long")                               \
	X(ERR_CONTENT_TYPE, 415, "bad_content_type", "Content-Type must be application/json")                        \
	X(ERR_RANGE, 416, "requested_range_not_satisfiable", "Requested range not satisfiable")                      \
	X(ERR_TOO_MANY_REQUESTS, 429, "too_many_requests", "too many requests from this address")                    \
	X(ERR_HEAD_TOO_LARGE, 431, "request_header_fields_too_large", "the request head is too large")               \
	X(ERR_CHANGED, 409, "conflict", "The document's leaves have changed.")                                       \
	X(ERR_REDUCE, 500, "invalid_value", "a value that the reduce function does not take")                        \
	X(ERR_SCRIPT, 500, "render_error", "a function failed")                                                      \
	X(ERR_SCRIPT_TIMEOUT, 500, "os_process_error", "OS process timed out.")                                      \
	X(ERR_SCRIPT_DIED, 500, "os_process_error", "a function's process ended")                                    \
	X(ERR_HELD_BACK, 500, "document_held_back", "a document cannot be copied at this time, and others can")      \
	X(ERR_END, 500, "internal_server_error", "end")                                                              \
	X(ERR_CANCELLED, 500, "internal_server_error", "cancelled")                                                  \
	X(ERR_AGAIN, 500, "internal_server_error", "not yet")

enum err {
	ERR_OK = 0,
#define ERR_ENUM_(code, status, error, reason) code,
	ERR_LIST(ERR_ENUM_)
#undef ERR_ENUM_
	    ERR_COUNT
};

#define ERRTEXT_MAX 512

/* A reason that overrides the table's; empty: the table's holds. */
struct errtext {
	char text[ERRTEXT_MAX];
};

/** err_status(code): The HTTP status of ${code}; 200 for ERR_OK. */
int err_status(int code);

/**
 * err_errno(code): What an errno of a call about files, threads or processes is: ERR_NOMEM, ERR_NOSPACE (a quota too), ERR_READONLY, ERR_BUSY (too many
 * files are open, or threads and processes there: that passes, and is no fault of this one), else ERR_IO; never 0.
 */
int err_errno(int code);

/** err_name(code): CouchDB's "error" string of ${code}.  Static. */
const char *err_name(int code);

/** err_reason(code): The default "reason" of ${code}.  Static. */
const char *err_reason(int code);

/**
 * err_why(why, code, fmt, ...):
 * Write a reason into ${why} (which may be NULL; cut at ERRTEXT_MAX - 1 bytes
 * on a UTF-8 boundary) and return ${code}, so that a caller can `return err_why(...)`.
 */
int err_why(struct errtext *why, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
