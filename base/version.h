/* version.h: the version of all programs of this tree. */
#ifndef BASE_VERSION_H_
#define BASE_VERSION_H_

#define DIVAN_VERSION "0.1.0"

#endif
