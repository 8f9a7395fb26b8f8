#!/usr/bin/env bash
# Runs in the build container with a terminal: opens the kernel's or Buildroot's menu and writes
# the kernel's changes to /build/menu.diff, Buildroot's saved configurations before and after in
# /build/menu.before and /build/menu.after.
#
# Usage: sdk-menu.sh kernel|buildroot DEFCONFIG
set -euo pipefail

cd /build/sdk
rm -f /build/menu.*
case $1 in
    kernel)
        defconfig=$(bash -c 'set -a; SDK_ROOT_DIR=$PWD; . ./.BoardConfig.mk; echo "$RK_KERNEL_DEFCONFIG"')
        file=sysdrv/source/kernel/arch/arm/configs/$defconfig
        cp "$file" /tmp/before
        # build.sh saves the menu's result over the kernel's own defconfig.
        ./build.sh kernelconfig
        diff /tmp/before "$file" | sed -n 's/^> //p' >/build/menu.diff || true
        ;;
    buildroot)
        version=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' sysdrv/Makefile | head -n 1)
        # In a separate folder: a build loads its configuration from the defconfig anyway.
        mkdir -p /tmp/buildroot /tmp/output
        tar xzf "sysdrv/tools/board/buildroot/$version.tar.gz" -C /tmp/buildroot
        cd "/tmp/buildroot/$version"
        make O=/tmp/output "$2"
        make O=/tmp/output savedefconfig BR2_DEFCONFIG=/tmp/before
        make O=/tmp/output menuconfig
        make O=/tmp/output savedefconfig BR2_DEFCONFIG=/tmp/after
        cp /tmp/before /build/menu.before
        cp /tmp/after /build/menu.after
        ;;
    *)
        echo "unknown menu $1" >&2
        exit 2
        ;;
esac
