#!/usr/bin/env bash
# Runs in the build container: what is done there beside the stages. Usage: sdk-tool.sh WORD
#   source      downloads the sources of every package that the variant selects
#   legal       writes all packages' licences, without sources, to /build/legal-info.tar
#   kernel      opens the kernel's menu; what changed is in /build/menu.diff
#   buildroot   opens Buildroot's; its configurations are /build/menu.before and /build/menu.after
#   update      makes /build/update/update.img, which the vendor's tools write over USB, of the
#               parts there, which it removes
# Status 6: nothing has been built; this SDK has no packer. PICO_DEFCONFIG: as for sdk-stage.sh.
set -euo pipefail

rm -f /build/menu.* /build/legal-info.tar
# shellcheck source=docker/buildroot.sh
. /src/docker/buildroot.sh
case $1 in
    source)
        output=/tmp/output # so that it can run before or after a build
        buildroot "$PICO_DEFCONFIG"
        buildroot source
        ;;
    legal)
        [ -e "$output/.config" ] || exit 6
        buildroot legal-info
        tar -C "$output/legal-info" --exclude=./sources --exclude=./host-sources \
            -cf /build/legal-info.tar .
        ;;
    kernel)
        cd /build/sdk
        defconfig=$(bash -c 'set -a; SDK_ROOT_DIR=$PWD; . ./.BoardConfig.mk; echo "$RK_KERNEL_DEFCONFIG"')
        file=sysdrv/source/kernel/arch/arm/configs/$defconfig
        cp "$file" /tmp/before
        # build.sh saves the menu's result over the kernel's own defconfig.
        ./build.sh kernelconfig
        diff /tmp/before "$file" | sed -n 's/^> //p' >/build/menu.diff || true
        ;;
    buildroot)
        output=/tmp/output # a build loads its configuration from the defconfig anyway
        buildroot "$PICO_DEFCONFIG"
        buildroot savedefconfig BR2_DEFCONFIG=/build/menu.before
        buildroot menuconfig
        buildroot savedefconfig BR2_DEFCONFIG=/build/menu.after
        ;;
    update)
        packer=/build/sdk/tools/linux/Linux_Pack_Firmware/mk-update_pack.sh
        [ -x "$packer" ] || exit 6
        rm -f /build/update/update.img
        "$packer" -id rv1106 -i /build/update </dev/null 2>&1 | tee /tmp/packed
        # It leaves out a part that it does not find, and ends with 0.
        if grep -q 'Not found image file' /tmp/packed || [ ! -s /build/update/update.img ]; then
            echo "error: the SDK's packer did not make an update.img of all parts" >&2
            exit 1
        fi
        find /build/update -type f ! -name update.img -delete
        ;;
esac
