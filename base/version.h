/* The version of all programs of the project. */
#ifndef BASE_VERSION_H
#define BASE_VERSION_H

#define PAGODA_VERSION "0.1.0"

#endif
