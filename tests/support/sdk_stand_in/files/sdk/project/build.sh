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
    echo "Which would you like? [0~12][default:0]: "
    read -r answer || exit 1
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
# Read in __GET_TARGET_PARTITION_FS_TYPE, which every call runs: what is named must be in the layout.
IFS=,
for part in ${RK_PARTITION_FS_TYPE_CFG:-}; do
    case $RK_PARTITION_CMD_IN_ENV in
        *"(${part%%@*})"*) ;;
        *) echo "Not found ${part%%@*} from RK_PARTITION_CMD_IN_ENV" >&2 && exit 1 ;;
    esac
done
unset IFS

write_env() {
    # §7: rewritten with one line at every call.
    mkdir -p "$IMAGE"
    echo "blkdevparts=$MEDIUM:$RK_PARTITION_CMD_IN_ENV" >"$ENV_FILE"
}

# Read in sysdrv/Makefile and run: `pushd; make.sh; popd` loses the status of U-Boot's own script, and
# what an earlier build has left there is copied.
build_uboot() {
    cd "$SDK_ROOT_DIR/sysdrv/source/uboot/u-boot"
    # The script decides about the jobs: twice the processors.
    (bash ./make.sh && compile uboot ../u-boot.bin "$RK_UBOOT_DEFCONFIG $RK_UBOOT_DEFCONFIG_FRAGMENT $RK_CHIP" &&
        cp ../u-boot.bin uboot.img && echo "idblock of $RK_CHIP" >rv1106_idblock_v1.10.img &&
        echo "download of $RK_CHIP" >rv1106_download_v1.10.bin) || true
    cp uboot.img "$IMAGE/uboot.img"
    cp ./*_idblock_v*.img "$IMAGE/idblock.img"
    cp ./*_download_v*.bin "$IMAGE/download.bin"
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
    # update_dtb_bootargs.sh: root device, its type and CMA are in the device tree too.
    echo "root=/dev/${MEDIUM}p7 ${RK_BOOTARGS_CMA_SIZE:+rk_dma_heap_cma=$RK_BOOTARGS_CMA_SIZE }$RK_KERNEL_DTS" \
        >>"$IMAGE/boot.img"
}

# Read in build_driver and sysdrv/Makefile's drv: the kernel, then its modules, flat in one folder.
build_driver() {
    local modules=$OUT/sysdrv_out/kernel_drv_ko
    build_kernel
    mkdir -p "$modules"
    if ! grep -qsx "lack rknpu" /cache/dl/stand-in; then
        printf 'vermagic=5.10.160 mod_unload ARMv7\n%s\n' \
            "$(cat "$SDK_ROOT_DIR/sysdrv/source/objs_kernel/zImage")" >"$modules/rknpu.ko"
    fi
    echo "the camera's" >"$modules/video_rkisp.ko"
    if [ "${RK_ENABLE_WIFI:-}" = y ]; then
        # Read in sysdrv/drv_ko/wifi/Makefile: beside the other modules.
        printf '# %s\n\tinsmod cfg80211.ko\n\tinsmod aic8800_bsp.ko\n' "$RK_ENABLE_WIFI_CHIP" \
            >"$modules/insmod_wifi.sh"
        echo "driver" >"$modules/aic8800_bsp.ko"
        mkdir -p "$modules/aic8800dc_fw"
        echo "firmware" >"$modules/aic8800dc_fw/fmacfw.bin"
    fi
}

build_media() {
    compile media "$OUT/media_out/lib/librockit.so" "rockit"
    # §5: the only place of the vendor's NPU library.
    compile librknnmrt "$OUT/media_out/lib/librknnmrt.so" "librknnmrt 1.6.0"
    compile iqfiles "$OUT/media_out/isp_iqfiles/sc3336.json" "tuning of a camera"
    compile iqfiles "$OUT/media_out/isp_iqfiles/other.json" "tuning of a camera that no board has"
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
        uboot) rm -f "$SDK_ROOT_DIR"/sysdrv/source/uboot/{u-boot.bin,u-boot/*.img,u-boot/*.bin} ;;
        kernel)
            rm -rf "$SDK_ROOT_DIR"/sysdrv/source/objs_* "$SDK_ROOT_DIR/sysdrv/out/kernel_drv_ko"
            ;;
        driver) rm -rf "$SDK_ROOT_DIR/sysdrv/out/kernel_drv_ko" ;;
        media) rm -rf "$OUT/media_out" ;;
    esac
}

gcc=$SDK_ROOT_DIR/tools/linux/toolchain/$RK_TOOLCHAIN_CROSS/bin/$RK_TOOLCHAIN_CROSS-gcc
if ! "$gcc" --version >/dev/null 2>&1; then
    echo "[build.sh:error] Not found toolchain $RK_TOOLCHAIN_CROSS-gcc for [$RK_CHIP] !!!"
    exit 1
fi
# build_check: what is missing ends nothing.
for tool in "dtc --version,device-tree-compiler" "makeinfo --version,texinfo" "make -v, make"; do
    echo "**************************************"
    if ${tool%%,*} >/dev/null 2>&1; then
        echo "Check [OK]: ${tool%%,*}"
    else
        echo "Please install ${tool%% *} first"
        echo "    sudo apt-get install ${tool##*,}"
    fi
done
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
    uboot | kernel | driver | media) "build_$1" ;;
    info) echo "$RK_CHIP" ;;
    kernelconfig)
        # §1: opens the menu and saves its result over the kernel's defconfig.
        [ -t 0 ] || exit 1
        echo "CONFIG_SWAP=y" >>"$SDK_ROOT_DIR/sysdrv/source/kernel/arch/arm/configs/$RK_KERNEL_DEFCONFIG"
        ;;
    *) echo "Usage: build.sh [OPTIONS]" ;; # and status 0
esac
