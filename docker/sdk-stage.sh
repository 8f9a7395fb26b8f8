#!/usr/bin/env bash
# Runs in the build container: one stage of the Luckfox SDK, in /build/sdk.
#
# Usage: sdk-stage.sh STAGE [ACTION [ARGUMENT]]...
#        sdk-stage.sh prepare      only link the board's configuration, for a shell or a menu
# Actions run before the stage and remove files of earlier runs that must not affect this one:
#   clean-stage          `build.sh clean STAGE`
#   clean-target         Buildroot's target folder; packages are installed again, not rebuilt
#   wipe-output          everything that Buildroot has built; downloads and compiler cache stay
#   drop-unfinished      packages whose build was interrupted
#   drop NAME-VERSION    one package, and its files in the target
#   drop-media           results of media and app, for an image without them
# In the environment: PICO_BOARD_CONFIG, PICO_OVERLAY (see render.py), PICO_STATE (a line of JSON
# that describes this run), PICO_JOBS, PICO_NEED_KB (status 5: there is less space).
set -euo pipefail

sdk=/build/sdk
states=/build/states
board=/build/board
stage=$1
shift

# Buildroot's version differs between SDKs; a build with a fixed version broke (seedsigner).
buildroot_folder() {
    local version
    version=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' "$sdk/sysdrv/Makefile" | head -n 1)
    echo "$sdk/sysdrv/source/buildroot/${version:?no BUILDROOT_VER in sysdrv/Makefile}"
}

# build.sh looks for overlays and scripts beside the real file of .BoardConfig.mk, so one folder
# outside the checkout links to ours and the vendor's.
make_board() {
    rm -rf "$board"
    mkdir -p "$board/overlay"
    local item
    for item in "$sdk"/project/cfg/BoardConfig_IPC/*.sh; do
        [ -e "$item" ] && ln -s "$item" "$board/"
    done
    for item in "$sdk"/project/cfg/BoardConfig_IPC/overlay/*; do
        [ -d "$item" ] && ln -s "$item" "$board/overlay/"
    done
    rm -f "$board/overlay/$PICO_OVERLAY"
    if [ -d /src/board/luckfox-pico/overlay ]; then
        ln -s /src/board/luckfox-pico/overlay "$board/overlay/$PICO_OVERLAY"
    fi
    cp "/src/br2-external/configs/$PICO_BOARD_CONFIG" "$board/"
    # Not MAKEFLAGS: sysdrv/Makefile cannot run in parallel, it removes the rootfs folder while
    # another of its targets fills it.
    [ -z "${PICO_JOBS:-}" ] || echo "export RK_JOBS=$PICO_JOBS" >>"$board/$PICO_BOARD_CONFIG"
    # A regular file would be ignored, and every sub-command would open the vendor's menu.
    ln -sfn "$board/$PICO_BOARD_CONFIG" "$sdk/.BoardConfig.mk"
}

# The SDK asks two servers within 1.5 s which one is faster, and removes Buildroot's primary site
# when neither answers; in the vendor's container there is no curl to ask with. This is our own
# copy of the SDK, so the script can be replaced.
keep_mirror() {
    local probe=$sdk/sysdrv/tools/board/mirror_select/buildroot_mirror_select.sh
    if [ -d "${probe%/*}" ] && ! grep -qs pico-image "$probe"; then
        # By a rename, and also where it is missing: a container that was killed between the removal
        # and the new file left an SDK whose rootfs stage failed from then on.
        printf '#!/bin/sh\n# Put here by pico-image: keeps the sites that the defconfig names.\nexit 0\n' \
            >"$probe.new"
        chmod 0755 "$probe.new"
        mv -f "$probe.new" "$probe"
    fi
}

package_folders() {
    find "$1/output/build" -mindepth 1 -maxdepth 1 -type d \
        ! -name buildroot-config ! -name buildroot-fs 2>/dev/null || true
}

# Removes a package's files from the target, by Buildroot's own list, then its build.
drop() {
    local folder=$1/output/build/$2
    if [ -f "$folder/.files-list.txt" ]; then
        sed 's/^[^,]*,//' "$folder/.files-list.txt" | (cd "$1/output/target" && xargs -d '\n' -r rm -f --)
    fi
    rm -rf "$folder"
}

drop_unfinished() {
    local folder
    package_folders "$1" | while read -r folder; do
        if [ ! -e "$folder/.stamp_installed" ] && [ ! -e "$folder/.stamp_host_installed" ]; then
            echo "building $(basename "$folder") again: its build was interrupted"
            drop "$1" "$(basename "$folder")"
        fi
    done
}

clean() {
    local buildroot
    case $1 in
        clean-stage) ./build.sh clean "$stage" ;;
        drop-media)
            rm -f "$states/media.json" "$states/app.json"
            rm -rf output/out/media_out output/out/app_out
            ;;
        *)
            buildroot=$(buildroot_folder)
            [ -d "$buildroot/output" ] || return 0
            case $1 in
                clean-target) ./build.sh clean rootfs ;;
                wipe-output) rm -rf "$buildroot/output" ;;
                drop-unfinished) drop_unfinished "$buildroot" ;;
                drop) drop "$buildroot" "$2" ;;
                *) echo "unknown action $1" >&2 && exit 2 ;;
            esac
            ;;
    esac
}

# The firmware stage changes the unpacked rootfs in place (strips it, adds scripts, applies
# overlays), so each run starts from the archive of the rootfs stage.
reset_firmware() {
    local archive
    rm -rf output/out/oem output/out/userdata
    rm -f output/image/{env,oem,userdata,rootfs,update}.img output/image/{sd,tftp}_update.txt
    for archive in output/out/sysdrv_out/rootfs_*.tar; do
        [ -f "$archive" ] || { echo "no rootfs archive: the rootfs stage has not run" >&2 && exit 1; }
        rm -rf "output/out/$(basename "$archive" .tar)"
        tar xf "$archive" -C output/out
    done
    # build.sh copies from them unconditionally; skipped stages do not make them.
    mkdir -p output/out/media_out output/out/app_out
}

# Prints names and order of the packages, for the progress display. In a separate folder: two
# makes in Buildroot's output folder would rewrite each other's list of external trees.
print_order() {
    local buildroot
    buildroot=$(buildroot_folder)
    until [ -e "$buildroot/.config" ] && [ "$buildroot/.config" -nt "$states/$stage.json" ]; do
        sleep 1
    done
    mkdir -p /tmp/order
    cp "$buildroot/.config" /tmp/order/
    make -s -C "$buildroot" O=/tmp/order show-build-order 2>/dev/null | sed 's/^/@order /'
}

# Saves names, versions and licences of all packages, for the bill of materials. The image does not
# need it: a Buildroot without this target must not fail a build of an hour.
save_packages() {
    local buildroot
    buildroot=$(buildroot_folder)
    mkdir -p /tmp/order
    cp "$buildroot/.config" /tmp/order/
    if ! make -s -C "$buildroot" O=/tmp/order show-info >"$states/.packages.new"; then
        echo "Buildroot does not list its packages: there will be no bill of materials" >&2
        : >"$states/.packages.new"
    fi
    mv "$states/.packages.new" "$states/packages.info"
}

write_state() {
    local line=$1
    printf '%s\n' "$line" >"$states/.$stage.new"
    sync "$states/.$stage.new"
    mv "$states/.$stage.new" "$states/$stage.json"
}

state() { # state NAME [OUTPUTS]: PICO_STATE with the state of the stage
    printf '{"state": "%s", "outputs": {%s}, "run": %s}' "$1" "${2:-}" "$PICO_STATE"
}

outputs() {
    local file
    for file in output/image/* output/image/.env.txt; do
        [ -f "$file" ] || continue
        printf '%s"%s": ["%s", %s]' "${separator:-}" "$(basename "$file")" \
            "$(sha256sum <"$file" | cut -d ' ' -f 1)" "$(stat -c %s "$file")"
        separator=', '
    done
}

free=$(df -Pk /build | awk 'NR == 2 { print $4 }')
if [ "$free" -lt "${PICO_NEED_KB:-0}" ]; then
    echo "@free $free"
    exit 5
fi
mkdir -p "$states"
cd "$sdk"
make_board
# The kernel looks for fragments beside its defconfigs.
cp /src/board/luckfox-pico/kernel.config sysdrv/source/kernel/arch/arm/configs/pico-image.config
# Device trees of ours, which include one of the vendor's and change what does not work there.
cp /src/board/luckfox-pico/dts/*.dts sysdrv/source/kernel/arch/arm/boot/dts/
keep_mirror
[ "$stage" != prepare ] || exit 0
while [ $# -gt 0 ]; do
    case $1 in
        drop)
            clean drop "$2"
            shift 2
            ;;
        *)
            clean "$1"
            shift
            # build.sh clean may remove .BoardConfig.mk, without which it waits at its menu.
            make_board
            ;;
    esac
done
write_state "$(state begun)"

order_job=
case $stage in
    rootfs)
        buildroot=$(buildroot_folder)
        # The SDK takes any folder of that name for a complete Buildroot. Its defconfig is loaded
        # after everything is copied, so without .config the copying was interrupted.
        [ -e "$buildroot/.config" ] || rm -rf "$buildroot"
        print_order &
        order_job=$!
        ;;
    firmware) reset_firmware ;;
esac

status=0
./build.sh "$stage" </dev/null || status=$?
[ -z "$order_job" ] || kill "$order_job" 2>/dev/null || true
if [ "$stage" = rootfs ]; then
    # The time of each package, and the package of each file (for the size report).
    for file in build-time.log packages-file-list.txt; do
        [ ! -f "$(buildroot_folder)/output/build/$file" ] ||
            cp "$(buildroot_folder)/output/build/$file" "$states/$file"
    done
fi
if [ "$status" -ne 0 ]; then
    write_state "$(state failed)"
    exit "$status"
fi

# build.sh can exit 0 without a result: without the archive its firmware stage prints an error and
# exits 0.
needs=()
case $stage in
    rootfs) needs=(output/out/sysdrv_out/rootfs_*.tar) ;;
    firmware) needs=(output/image/{env,idblock,uboot,boot,oem,userdata,rootfs}.img) ;;
esac
for file in "${needs[@]}"; do
    if [ ! -s "$file" ]; then
        echo "build.sh $stage ended without an error, but there is no $file" >&2
        write_state "$(state failed)"
        exit 1
    fi
done
[ "$stage" != rootfs ] || save_packages
sync -f /build
if [ "$stage" = firmware ]; then
    write_state "$(state "done" "$(outputs)")"
else
    write_state "$(state "done")"
fi
