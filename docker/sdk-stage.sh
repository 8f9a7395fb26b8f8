#!/usr/bin/env bash
# Runs in the build container: one stage of an image.
#
# Usage: sdk-stage.sh STAGE [ACTION [ARGUMENT]]...
#        sdk-stage.sh prepare      only link the board's configuration, for a shell or a menu
#   uboot, kernel, media   by build.sh of the Luckfox SDK in /build/sdk
#   rootfs                 by Buildroot in /build/output
# What the host takes is in /build/results; its names, sizes and hashes are in the stage's state.
# Actions run before the stage and remove files of earlier runs that must not affect this one:
#   clean-stage          `build.sh clean STAGE`
#   clean-target         Buildroot's target folder; packages are installed again, not rebuilt
#   wipe-output          everything that Buildroot has built; downloads and compiler cache stay
#   drop-unfinished      packages whose build was interrupted
#   drop NAME-VERSION    one package, and its files in the target
# In the environment: PICO_BOARD_CONFIG, PICO_DEFCONFIG (see render.py), PICO_STATE (a line of JSON
# that describes this run), PICO_JOBS, PICO_NEED_KB (status 5: there is less space).
set -euo pipefail

sdk=/build/sdk
states=/build/states
results=/build/results
modules=/build/modules
stage=$1
shift
# shellcheck source=docker/buildroot.sh
. /src/docker/buildroot.sh

prepare() {
    local kernel=$sdk/sysdrv/source/kernel/arch/arm
    bash /src/docker/sdk-check.sh
    # A link, and outside of the checkout: a regular file would be ignored, and every sub-command
    # would open the vendor's menu.
    mkdir -p /build/board
    cp "/src/br2-external/configs/$PICO_BOARD_CONFIG" /build/board/
    # Not MAKEFLAGS: sysdrv/Makefile cannot run in parallel.
    [ -z "${PICO_JOBS:-}" ] || echo "export RK_JOBS=$PICO_JOBS" >>"/build/board/$PICO_BOARD_CONFIG"
    ln -sfn "/build/board/$PICO_BOARD_CONFIG" "$sdk/.BoardConfig.mk"
    # U-Boot's script takes twice the number of processors, and nothing from outside.
    sed -i "s/^JOB=.*/JOB=${PICO_JOBS:-$(nproc)}/" "$sdk/sysdrv/source/uboot/u-boot/make.sh"
    # The kernel looks for fragments beside its defconfigs, and for device trees of ours, which
    # include one of the vendor's and change what does not work there, beside its own.
    cp /src/board/luckfox-pico/kernel.config "$kernel/configs/pico-image.config"
    cp /src/board/luckfox-pico/dts/*.dts "$kernel/boot/dts/"
}

# -- what goes first ---------------------------------------------------------------------

# Removes a package's files from the target, by Buildroot's own list, then its build.
drop() {
    local folder=$output/build/$1
    if [ -f "$folder/.files-list.txt" ] && [ -d "$output/target" ]; then
        sed 's/^[^,]*,//' "$folder/.files-list.txt" | (cd "$output/target" && xargs -d '\n' -r rm -f --)
    fi
    rm -rf "$folder"
}

drop_unfinished() {
    local folder
    for folder in "$output"/build/*/; do
        case $folder in */\*/ | */buildroot-config/ | */buildroot-fs/) continue ;; esac
        if [ ! -e "$folder.stamp_installed" ] && [ ! -e "$folder.stamp_host_installed" ]; then
            echo "building $(basename "$folder") again: its build was interrupted"
            drop "$(basename "$folder")"
        fi
    done
}

clean() {
    case $1 in
        clean-stage)
            # The drivers outside of the kernel's tree are made by the kernel's makefiles.
            [ "$stage" != kernel ] || ./build.sh clean driver
            ./build.sh clean "$stage"
            # It may remove .BoardConfig.mk, without which it waits at its menu.
            prepare
            ;;
        clean-target)
            rm -rf "$output/target"
            find "$output/build" -maxdepth 2 -name .stamp_target_installed -delete 2>/dev/null || true
            ;;
        wipe-output) rm -rf "$output" ;;
        drop-unfinished) drop_unfinished ;;
        drop) drop "$2" ;;
        *) echo "unknown action $1" >&2 && exit 2 ;;
    esac
}

# -- the stages --------------------------------------------------------------------------

# take FILE...: hands results to the host. build.sh can end with 0 without having made anything, so
# what an earlier run left does not stay.
take() {
    local file
    for file in "$@"; do
        [ -s "$file" ] || { echo "the stage $stage ended without an error, but there is no $file" >&2 && exit 1; }
        cp "$file" "$results/.new"
        mv "$results/.new" "$results/$(basename "$file")"
    done
}

pack() { # pack NAME FOLDER: an archive of its content that depends on nothing else
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        -cf "$results/.new" -C "$2" .
    mv "$results/.new" "$results/$1"
}

uboot() {
    # The SDK loses the status of U-Boot's script and copies what an earlier build has left.
    rm -f sysdrv/source/uboot/u-boot/{uboot.img,*_idblock_v*.img,*_download_v*.bin}
    ./build.sh uboot </dev/null
    take output/image/{idblock,uboot}.img output/image/download.bin
    made=(idblock.img uboot.img download.bin)
}

kernel() {
    local drivers=output/out/sysdrv_out/kernel_drv_ko release
    ./build.sh driver </dev/null
    if ! release=$(grep -aom 1 'vermagic=[^ ]*' "$drivers/rknpu.ko"); then
        echo "error: the kernel was built without the NPU's driver: there is no rknpu.ko in $drivers" >&2
        exit 1
    fi
    take output/image/boot.img
    pack modules.tar "$drivers"
    # For Buildroot's package npu-module.
    rm -rf "$modules" "$modules.new"
    cp -r "$drivers" "$modules.new"
    echo "${release#vermagic=}" >"$modules.new/release"
    mv "$modules.new" "$modules"
    made=(boot.img modules.tar)
}

media() {
    local out=output/out/media_out oem=/build/oem name
    ./build.sh media </dev/null
    rm -rf "$oem"
    mkdir -p "$oem/share/iqfiles"
    for name in bin lib share usr; do
        [ ! -d "$out/$name" ] || cp -a "$out/$name/." "$oem/${name#usr}/"
    done
    # The tuning files of the cameras that the board's BoardConfig names.
    # shellcheck disable=SC2016 # the variables of that file
    for name in $(SDK_ROOT_DIR=$sdk bash -c '. ./.BoardConfig.mk; echo "$RK_CAMERA_SENSOR_IQFILES" "$RK_CAMERA_SENSOR_CAC_BIN"'); do
        [ ! -e "$out/isp_iqfiles/$name" ] || cp -a "$out/isp_iqfiles/$name" "$oem/share/iqfiles/"
    done
    pack media.tar "$oem"
    made=(media.tar)
}

rootfs() {
    local stamp
    buildroot "$PICO_DEFCONFIG"
    # Names and order of the packages, for the progress display.
    buildroot -s show-build-order 2>/dev/null | sed 's/^/@order /' || true
    # Buildroot notices no change of what a package is made from.
    for stamp in "$output"/build/npu-module-*/.stamp_target_installed; do
        [ ! "$modules" -nt "$stamp" ] || drop "$(basename "${stamp%/*}")"
    done
    buildroot source
    buildroot ${PICO_JOBS:+BR2_JLEVEL="$PICO_JOBS"}
    take "$output/images/rootfs.tar"
    # Names, versions and licences of all packages, for the bill of materials. The image does not
    # need it: a Buildroot without this target must not fail a build of an hour.
    if ! buildroot -s show-info >"$states/.packages.new"; then
        echo "Buildroot does not list its packages: there will be no bill of materials" >&2
        : >"$states/.packages.new"
    fi
    mv "$states/.packages.new" "$states/packages.info"
    # The modules too: a kernel that was built again with others needs this stage again.
    made=(rootfs.tar modules.tar)
}

# -- the states --------------------------------------------------------------------------

write_state() { # write_state NAME [OUTPUTS]: PICO_STATE with the state of the stage
    printf '{"state": "%s", "outputs": {%s}, "run": %s}\n' "$1" "${2:-}" "$PICO_STATE" >"$states/.$stage.new"
    sync "$states/.$stage.new"
    mv "$states/.$stage.new" "$states/$stage.json"
}

outputs() {
    local name separator=
    for name in "${made[@]}"; do
        printf '%s"%s": ["%s", %s]' "$separator" "$name" \
            "$(sha256sum <"$results/$name" | cut -d ' ' -f 1)" "$(stat -c %s "$results/$name")"
        separator=', '
    done
}

ended() {
    local status=$?
    # The time of each package, and the package of each file (for the size report).
    cp "$output"/build/{build-time.log,packages-file-list.txt} "$states/" 2>/dev/null || true
    [ "$status" -eq 0 ] || write_state failed
}

free=$(df -Pk /build | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "${PICO_NEED_KB:-0}" ]; then
    echo "@free $free"
    exit 5
fi
mkdir -p "$states" "$results"
cd "$sdk"
prepare
[ "$stage" != prepare ] || exit 0
while [ $# -gt 0 ]; do
    clean "$@"
    [ "$1" != drop ] || shift
    shift
done
write_state begun
trap ended EXIT
rm -rf output/image/*.img output/image/download.bin output/out/sysdrv_out/kernel_drv_ko output/out/media_out
"$stage"
sync -f /build
write_state "done" "$(outputs)"
