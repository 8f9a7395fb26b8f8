#include "stages.h"

const char *const pico_stage_names[PICO_STAGES] = {"decode", "prepare", "inference", "post",
                                                   "total"};
