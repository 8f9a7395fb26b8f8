#!/bin/bash
# Stand-in for the vendor SDK's project/build.sh: written for tests, from the behaviour noted in
# shared/facts/luckfox-sdk.md (the section is named at each point). It compiles nothing: results
# are texts that say what they were made from, so that two builds can be compared byte for byte.
#
# Knobs of the tests, lines of /cache/dl/stand-in: "fail NAME", "hang NAME", "full NAME", and
# "slow NAME" for the benchmark of the orchestration's overhead (seconds: /cache/dl/stand-in-seconds).
set -eE

# §1 Environment: every RK_ variable that comes from outside is blanked.
for name in $(env | sed -n 's/^\(RK_[A-Za-z0-9_]*\)=.*/\1/p'); do
    export "$name="
done
export LC_ALL=C LD_LIBRARY_PATH=

SDK_ROOT_DIR=$(realpath "$(dirname "$(realpath "$0")")/..")
export SDK_ROOT_DIR
BOARD_CONFIG=$SDK_ROOT_DIR/.BoardConfig.mk
OUT=$SDK_ROOT_DIR/output/out
IMAGE=$SDK_ROOT_DIR/output/image
ENV_FILE=$IMAGE/.env.txt
export RK_JOBS=$(($(nproc) / 2 + 1))

menu() {
    # §1 Lunch: three questions, no argument and no variable answers them.
    echo "You're building on Linux"
    echo "  Lunch menu...pick the Luckfox Pico hardware version:"
    read -r -p "Which would you like? [0~12][default:0]: " answer || exit 1
    echo "$answer"
}

# §1 Lunch: only a symbolic link counts, and it may lead out of the SDK.
if [ -L "$BOARD_CONFIG" ]; then
    # shellcheck disable=SC1090
    source "$BOARD_CONFIG"
    RK_PROJECT_BOARD_DIR=$(dirname "$(realpath "$BOARD_CONFIG")")
    export RK_PROJECT_BOARD_DIR
elif [ "${1:-}" = clean ]; then
    menu
    exit 1
else
    menu
fi

knob() { # knob NAME: does what a test asked for at this point
    local what
    what=$(sed -n "s/^\([a-z]*\) $1\$/\1/p" /cache/dl/stand-in 2>/dev/null || true)
    case $what in
        fail)
            echo "error: $1: told to fail" >&2
            exit 1
            ;;
        hang)
            echo "hanging in $1"
            sleep 600
            ;;
        slow) sleep "$(cat /cache/dl/stand-in-seconds)" ;;
        full)
            echo "cp: error writing '$1': No space left on device" >&2
            exit 1
            ;;
    esac
}
export -f knob

# Like make with a compiler: what is newer than its source is taken for whole, and a file grows
# while it is written.
compile() { # compile NAME TARGET TEXT
    if [ -e "$2" ]; then
        echo "'$2' is up to date"
        return 0
    fi
    mkdir -p "$(dirname "$2")"
    printf 'first half of %s\n' "$1" >"$2"
    # A compiler that fails removes what it had begun.
    (knob "$1") || { rm -f "$2" && exit 1; }
    printf '%s\n' "$3" >>"$2"
}

# Read in parse_partition_file: what the kernel calls the medium.
case ${RK_BOOT_MEDIUM:-sd_card} in
    emmc) MEDIUM=mmcblk0 ;;
    sd_card) MEDIUM=mmcblk1 ;;
    *) echo "Not support storage medium type: $RK_BOOT_MEDIUM" >&2 && exit 1 ;;
esac

write_env() {
    # §7: rewritten with one line at every call; the others are appended by env and firmware only.
    mkdir -p "$IMAGE"
    echo "blkdevparts=$MEDIUM:$RK_PARTITION_CMD_IN_ENV" >"$ENV_FILE"
}

build_env() {
    {
        echo "sys_bootargs= root=/dev/${MEDIUM}p7 rootfstype=ext4 rk_dma_heap_cma=$RK_BOOTARGS_CMA_SIZE"
        echo "sd_parts=mmcblk0:16K@512(env),512K@32K(idblock),4M(uboot)"
    } >>"$ENV_FILE"
    mkenvimage -s 0x8000 -p 0x0 -o "$IMAGE/env.img" "$ENV_FILE"
}

build_uboot() {
    compile uboot "$SDK_ROOT_DIR/sysdrv/source/uboot/u-boot.bin" \
        "$RK_UBOOT_DEFCONFIG $RK_UBOOT_DEFCONFIG_FRAGMENT $RK_CHIP"
    cp "$SDK_ROOT_DIR/sysdrv/source/uboot/u-boot.bin" "$IMAGE/uboot.img"
    echo "idblock of $RK_CHIP" >"$IMAGE/idblock.img"
    echo "download of $RK_CHIP" >"$IMAGE/download.bin"
}

build_kernel() {
    local objects=$SDK_ROOT_DIR/sysdrv/source/objs_kernel
    # `make DEFCONFIG FRAGMENT...` in the kernel's folder (scripts/kconfig/Makefile).
    local configs=$SDK_ROOT_DIR/sysdrv/source/kernel/arch/arm/configs fragments="" name
    for name in ${RK_KERNEL_DEFCONFIG_FRAGMENT:-}; do
        if [ ! -f "$configs/$name" ]; then
            echo "*** No configuration exists for this target on this architecture.  Stop." >&2
            exit 2
        fi
        fragments+=$'\n'$(cat "$configs/$name")
    done
    compile kernel "$objects/zImage" "$RK_KERNEL_DEFCONFIG$fragments"
    cat "$objects/zImage" "$SDK_ROOT_DIR"/sysdrv/source/kernel/net/netfilter/*.c >"$IMAGE/boot.img"
    echo "$RK_KERNEL_DTS" >>"$IMAGE/boot.img"
}

build_rootfs() {
    make rootfs -C "$SDK_ROOT_DIR/sysdrv"
    if [ "${RK_ENABLE_WIFI:-}" = y ]; then
        # Read in sysdrv/drv_ko/wifi/Makefile: beside the other modules.
        echo "$RK_ENABLE_WIFI_CHIP" >"$OUT/sysdrv_out/kernel_drv_ko/insmod_wifi.sh"
    fi
    # §1: the folder is made anew from the archive.
    rm -rf "$OUT/rootfs_uclibc_rv1106"
    mkdir -p "$OUT/sysdrv_out"
    cp "$SDK_ROOT_DIR/sysdrv/out/rootfs_uclibc_rv1106.tar" "$OUT/sysdrv_out/"
    tar xf "$OUT/sysdrv_out/rootfs_uclibc_rv1106.tar" -C "$OUT"
}

build_media() {
    compile media "$OUT/media_out/lib/librockit.so" "rockit"
    # §5: the only place of the vendor's NPU library.
    compile librknnmrt "$OUT/media_out/lib/librknnmrt.so" "librknnmrt 1.6.0"
    compile iqfiles "$OUT/media_out/isp_iqfiles/sc3336.json" "tuning of a camera"
}

build_app() {
    if [ "${RK_ENABLE_WIFI:-}" = y ]; then
        printf 'ssid="%s"\npsk="%s"\n' "$LF_WIFI_SSID" "$LF_WIFI_PSK" \
            >"$SDK_ROOT_DIR/project/app/wifi_app/wpa_supplicant.conf"
    fi
    [ -n "${RK_APP_TYPE:-}" ] || { echo "RK_APP_TYPE is not set, skip" && return 0; }
    compile app "$OUT/app_out/bin/rkipc" "$RK_APP_TYPE"
}

run_script() {
    # §1: only if it is a file beside the real BoardConfig.
    if [ -n "$1" ] && [ -f "$RK_PROJECT_BOARD_DIR/$1" ]; then
        RK_PROJECT_PACKAGE_ROOTFS_DIR=$OUT/rootfs_uclibc_rv1106 \
            RK_PROJECT_PACKAGE_OEM_DIR=$OUT/oem RK_PROJECT_PACKAGE_USERDATA_DIR=$OUT/userdata \
            bash "$RK_PROJECT_BOARD_DIR/$1"
    fi
}

pack() { # pack FOLDER IMAGE: mkfs.ext4 -d copies owners and modes as they are, like this archive
    tar cf "$2" --sort=name --mtime=@0 -C "$1" .
}

# As build.sh's own: a folder that is not there is passed over, an empty one ends the build.
copy_files() {
    mkdir -p "$2"
    if [ -d "$1" ]; then
        cp -rfa "$1"/* "$2"
    else
        echo "Please check path [$1] [$2] again"
    fi
}

build_firmware() {
    local rootfs=$OUT/rootfs_uclibc_rv1106 name
    build_env
    if [ ! -f "$OUT/sysdrv_out/rootfs_uclibc_rv1106.tar" ]; then
        # As met: an error in words, and status 0 (issue 71).
        echo "Not found rootfs tarball: Build rootfs is not yet complete, packaging cannot proceed!"
        exit 0
    fi
    # §1 firmware: edits the unpacked rootfs in place; a second run on it gives something else.
    echo "packed by the SDK" >>"$rootfs/bin/sdkinfo"
    find "$rootfs" \( -name 'lib*.a' -o -name 'lib*.la' \) -delete
    for name in app_out media_out; do
        copy_files "$OUT/$name/root" "$rootfs"
    done
    copy_files "$SDK_ROOT_DIR/external" "$rootfs"
    mkdir -p "$OUT/oem" "$OUT/userdata"
    copy_files "$OUT/sysdrv_out/kernel_drv_ko/" "$OUT/oem/usr/ko"
    for name in bin lib share usr; do
        copy_files "$OUT/app_out/$name" "$OUT/oem/usr/${name#usr}"
        copy_files "$OUT/media_out/$name" "$OUT/oem/usr/${name#usr}"
    done
    # Read in build.sh: an empty list of camera files means all of them, from a folder that only
    # the media stage makes; a name that is not there is passed over.
    mkdir -p "$OUT/oem/usr/share/iqfiles"
    if [ -n "${RK_CAMERA_SENSOR_IQFILES:-}" ]; then
        for name in $RK_CAMERA_SENSOR_IQFILES; do
            if [ -f "$OUT/media_out/isp_iqfiles/$name" ]; then
                cp -a "$OUT/media_out/isp_iqfiles/$name" "$OUT/oem/usr/share/iqfiles"
            fi
        done
    else
        cp -a "$OUT"/media_out/isp_iqfiles/* "$OUT/oem/usr/share/iqfiles"
    fi
    mkdir -p "$rootfs/etc/init.d"
    printf '#!/bin/sh\nsh /oem/usr/bin/RkLunch.sh\n' >"$rootfs/etc/init.d/S21appinit"
    printf '#!/bin/sh\n# the vendor mounts here\n' >"$rootfs/etc/init.d/S20linkmount"
    chmod 0755 "$rootfs/etc/init.d/S21appinit" "$rootfs/etc/init.d/S20linkmount"
    ln -sf ../oem/usr/share/iqfiles "$rootfs/etc/"
    mkdir -p "$rootfs/etc/profile.d" "$rootfs/usr/bin"
    # shellcheck disable=SC2016 # the arguments of the script that is written
    printf '#!/bin/sh\nexec cat - >"/mnt/sdcard/core-$1-$2"\n' >"$rootfs/usr/bin/coredump2sdcard.sh"
    echo 'ulimit -c unlimited' >"$rootfs/etc/profile.d/enable_coredump.sh"
    run_script "${RK_PRE_BUILD_OEM_SCRIPT:-}"
    mkdir -p "$rootfs/oem"
    knob firmware
    if [ "${RK_BUILD_APP_TO_OEM_PARTITION:-}" = y ]; then
        # An image with an oem partition has nothing else below /oem.
        rm -rf "$rootfs"/oem/*
        case ${RK_PARTITION_FS_TYPE_CFG:-} in *oem@*) pack "$OUT/oem" "$IMAGE/oem.img" ;; esac
    else
        cp -rfa "$OUT"/oem/* "$rootfs/oem"
    fi
    run_script "${RK_POST_BUILD_SCRIPT:-}"
    # §1: overlays come last and win; --chmod keeps x where a file has it.
    for name in $RK_POST_OVERLAY; do
        if [ -d "$RK_PROJECT_BOARD_DIR/overlay/$name" ]; then
            rsync -a --ignore-times --keep-dirlinks --chmod=u=rwX,go=rX --exclude .empty \
                "$RK_PROJECT_BOARD_DIR/overlay/$name"/* "$rootfs/"
        fi
    done
    pack "$rootfs" "$IMAGE/rootfs.img"
    run_script "${RK_PRE_BUILD_USERDATA_SCRIPT:-}"
    pack "$OUT/userdata" "$IMAGE/userdata.img"
    echo "sd_update" >"$IMAGE/sd_update.txt"
    echo "tftp_update" >"$IMAGE/tftp_update.txt"
    cat "$IMAGE"/{env,idblock,uboot,boot,oem,userdata,rootfs}.img | sha256sum >"$IMAGE/update.img"
}

clean() {
    case ${1:-} in
        "")
            # §1: also the downloads inside the Buildroot tree, and the link itself.
            rm -rf "$SDK_ROOT_DIR/output" "$SDK_ROOT_DIR/config" \
                "$SDK_ROOT_DIR/sysdrv/source/buildroot" "$SDK_ROOT_DIR"/sysdrv/source/objs_* \
                "$SDK_ROOT_DIR/sysdrv/source/uboot/u-boot.bin"
            rm -f "$BOARD_CONFIG"
            ;;
        uboot) rm -f "$SDK_ROOT_DIR/sysdrv/source/uboot/u-boot.bin" ;;
        kernel)
            # The modules too, so that the rootfs stage has to follow.
            rm -rf "$SDK_ROOT_DIR"/sysdrv/source/objs_* "$SDK_ROOT_DIR/sysdrv/out/kernel_drv_ko"
            ;;
        rootfs)
            rm -rf "$SDK_ROOT_DIR"/sysdrv/source/buildroot/*/output/target
            rm -f "$SDK_ROOT_DIR"/sysdrv/source/buildroot/*/output/build/*/.stamp_target_installed
            rm -rf "$OUT/rootfs_uclibc_rv1106" "$SDK_ROOT_DIR/sysdrv/out/rootfs_uclibc_rv1106"
            ;;
        media) rm -rf "$OUT/media_out" ;;
        app) rm -rf "$OUT/app_out" ;;
    esac
}

if [ "${1:-}" = clean ]; then
    clean "${2:-}"
    exit 0
fi
write_env
# §8: every call leaves these tracked files changed.
for name in hostapd hostapd_cli librkwifibt.so; do
    echo "rewritten" >"$SDK_ROOT_DIR/project/app/wifi_app/$name"
done
case ${1:-} in
    uboot | kernel | rootfs | media | app | firmware) "build_$1" ;;
    env) build_env ;;
    info) echo "$RK_CHIP" ;;
    kernelconfig)
        # §1: opens the menu and saves its result over the kernel's defconfig.
        [ -t 0 ] || exit 1
        echo "CONFIG_SWAP=y" >>"$SDK_ROOT_DIR/sysdrv/source/kernel/arch/arm/configs/$RK_KERNEL_DEFCONFIG"
        ;;
    *)
        echo "stand-in: no sub-command ${1:-allsave}" >&2
        exit 1
        ;;
esac
