/* The RKNN interface: the vendor's header where there is one, else ours of the same binary
 * interface. */
#ifndef PICO_RKNN_H
#define PICO_RKNN_H

#ifdef PICO_RKNN_VENDOR
#include <rknn_api.h>
#else
#include "rknn_abi.h"
#endif

#endif
