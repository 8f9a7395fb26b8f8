# CMake toolchain file: the distribution's ARM cross compiler, code for the RV1103/RV1106.
#
# The SoC has one Cortex-A7 with NEON and VFPv4. -mcpu also sets the scheduling model; the FPU
# must be named because -mcpu=cortex-a7 alone means vfpv4-d16, that is no NEON, which makes
# MobileNetV2 execute 4 times as many instructions in float32 and 24 times as many in int8.
#
# Static programs need nothing on the board but the kernel, so the same file runs on a
# glibc, a uClibc and a musl root file system.
#
#   cmake -S app -B build -DCMAKE_TOOLCHAIN_FILE=app/cmake/armv7-neon-gnueabihf.cmake \
#         -DTFLITE_PREFIX=... -DIMAGE_LIBS_PREFIX=...
#
# Another compiler of the same kind: -DPICO_CROSS=arm-linux-gnueabihf- (a prefix of its tools).

set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7)

set(PICO_CROSS "arm-linux-gnueabihf-" CACHE STRING "Prefix of the cross compiler's programs")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES PICO_CROSS)
set(CMAKE_C_COMPILER "${PICO_CROSS}gcc")
set(CMAKE_CXX_COMPILER "${PICO_CROSS}g++")
set(CMAKE_ASM_COMPILER "${PICO_CROSS}gcc")

set(_pico_cpu "-mcpu=cortex-a7 -mfpu=neon-vfpv4 -mfloat-abi=hard")
set(_pico_sections "-ffunction-sections -fdata-sections")
set(CMAKE_C_FLAGS_INIT "${_pico_cpu} ${_pico_sections}")
set(CMAKE_CXX_FLAGS_INIT "${_pico_cpu} ${_pico_sections}")
set(CMAKE_ASM_FLAGS_INIT "${_pico_cpu}")
set(CMAKE_C_FLAGS_RELEASE_INIT "-O3 -DNDEBUG")
set(CMAKE_CXX_FLAGS_RELEASE_INIT "-O3 -DNDEBUG")
set(CMAKE_EXE_LINKER_FLAGS_INIT "-static -Wl,--gc-sections")

set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
