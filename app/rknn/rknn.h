/* The RKNN interface: the vendor's header where there is one, else ours of the same binary
 * interface. */
#ifndef PICO_RKNN_H
#define PICO_RKNN_H

/* The environment variable that names a recorded board (see board_files.h) to the simulator, whose
 * memory and driver it then has. */
#define RKNN_SIM_ROOT "RKNN_SIM_ROOT"

#ifdef PICO_RKNN_VENDOR
#include <rknn_api.h>
#else
#include "rknn_abi.h"
#endif

#endif
