/*
 * banned.h: functions that do not compile here.  Included by the compiler for every file of ours (see
 * Makefile), after the system headers.
 */
#ifndef BASE_BANNED_H_
#define BASE_BANNED_H_

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/*
 * With fortification these two are macros of the C library's headers in clang, which poisons only plain names.
 */
#undef sprintf
#undef vsprintf

#pragma GCC poison strcpy strcat strncpy strncat stpcpy sprintf vsprintf gets atoi atol atoll strtok gmtime localtime \
    ctime asctime

#endif
