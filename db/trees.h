/* trees.h: the trees of a database's file. */
#ifndef DB_TREES_H_
#define DB_TREES_H_

/* The trees of a database, in the order in which they are given to the store. */
enum db_tree {
	TREE_META,
	TREE_DOCS,
	TREE_DOCS_DEEP,
	TREE_REVS,
	TREE_CHANGES,
	TREE_BODIES,
	TREE_BLOBS,
	TREE_DIGESTS,
	TREE_PURGES,
	TREE_LOCAL,
	TREE_LOCAL_DEEP,
	TREE_COUNTS,
	TREE_COUNT
};

#endif
