/* sortkey.h: the first bytes of sort keys, by which the planner bounds a type.  Private to query/. */
#ifndef QUERY_SORTKEY_H_
#define QUERY_SORTKEY_H_

enum {
	SORTKEY_END = 0x00,
	SORTKEY_NULL = 0x10,
	SORTKEY_FALSE,
	SORTKEY_TRUE,
	SORTKEY_NUMBER = 0x20,
	SORTKEY_STRING = 0x30,
	SORTKEY_ARRAY = 0x40,
	SORTKEY_OBJECT = 0x50
};

#endif
