#!/usr/bin/env bash
# Runs in the build container before a stage: is the SDK one that this project can build with?
#
# Usage: sdk-check.sh [SDK [SOURCE]]
#
# Each thing that is missing is a line "error: this SDK ...", and the status is 7 then; "@note ..."
# is what builds and was not tried. Forks differ: one of 2025-11 has Mini_A and Mini_B instead of
# Mini, and a build.sh prints its usage and ends with 0 for a sub-command that it does not know.
# In the environment: PICO_BOARD_CONFIG.
set -eo pipefail # not -u: the vendor's BoardConfig

sdk=${1:-/build/sdk}
source=${2:-/src}
kernel=sysdrv/source/kernel
status=0

problem() {
    echo "error: this SDK $1"
    status=7
}

need() { # need WHAT FILE
    [ -e "$sdk/$2" ] || problem "has no $1 ($2)"
}

check_board() {
    local config=$source/br2-external/configs/$PICO_BOARD_CONFIG vendor name
    vendor=$(sed -n 's|^source ".*/\(BoardConfig_IPC/.*\)"$|\1|p' "$config")
    if [ ! -f "$sdk/project/cfg/$vendor" ]; then
        problem "has no $vendor; it has $(cd "$sdk/project/cfg" && echo "${vendor%%-RV*}"-*)"
        return 0
    fi
    export SDK_ROOT_DIR=$sdk
    # shellcheck disable=SC1090
    . "$config"
    for name in $RK_UBOOT_DEFCONFIG $RK_UBOOT_DEFCONFIG_FRAGMENT; do
        need "configuration of U-Boot" "sysdrv/source/uboot/u-boot/configs/$name"
    done
    for name in $RK_KERNEL_DEFCONFIG $RK_KERNEL_DEFCONFIG_FRAGMENT; do
        [ "$name" = pico-image.config ] || need "configuration of the kernel" "$kernel/arch/arm/configs/$name"
    done
    [ -e "$source/board/luckfox-pico/dts/$RK_KERNEL_DTS" ] ||
        need "device tree" "$kernel/arch/arm/boot/dts/$RK_KERNEL_DTS"
}

# The compiler proper is another program; a checkout without its large files has the driver alone.
check_compiler() {
    local gcc=tools/linux/toolchain/$1/bin/$1-gcc proper
    if ! proper=$("$sdk/$gcc" -print-prog-name=cc1 2>&1); then
        problem "has no compiler that runs here ($gcc): ${proper##*: }"
    elif [ ! -x "$proper" ]; then
        problem "has a compiler without its cc1 ($gcc)"
    fi
}

check_board
check_compiler "${RK_TOOLCHAIN_CROSS:-arm-rockchip830-linux-uclibcgnueabihf}"
buildroot=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' "$sdk/sysdrv/Makefile" | head -n 1)
need "archive of Buildroot" "sysdrv/tools/board/buildroot/$buildroot.tar.gz"
grep -q build_driver "$sdk/project/build.sh" || problem 'has no sub-command "driver" in its build.sh'
need "driver of the NPU" "$kernel/drivers/rknpu/Kconfig"
[ "$status" -eq 0 ] || exit "$status"
driver=$(sed -nE 's/^#define DRIVER_(MAJOR|MINOR|PATCHLEVEL)[[:space:]]*//p' \
    "$sdk/$kernel/drivers/rknpu/include/rknpu_drv.h" | tr '\n' .)
[ "$driver" = 0.9.2. ] || echo "@note this SDK's NPU driver is ${driver%.}, not 0.9.2: docs/status.md tells what is known of both"
[ "$buildroot" = buildroot-2023.02.6 ] || echo "@note this SDK has $buildroot; our packages were tried with 2023.02.6"
