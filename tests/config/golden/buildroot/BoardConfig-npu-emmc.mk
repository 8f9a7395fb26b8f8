#!/bin/bash
# Rendered from configs/templates/board-config.mk.j2 for variant emmc: do not edit.
# Change configs/variants/emmc.yml, then run: invoke render
# shellcheck shell=bash disable=SC1090,SC1091
source "${SDK_ROOT_DIR:?set by build.sh}/project/cfg/BoardConfig_IPC/BoardConfig-EMMC-Buildroot-RV1106_Luckfox_Pico_86Panel_W-IPC.mk"
export LF_TARGET_ROOTFS=buildroot
export RK_BUILDROOT_DEFCONFIG="npu_emmc_defconfig"
export RK_BOOT_MEDIUM="emmc"
export RK_BOOTARGS_CMA_SIZE="1M"
export RK_KERNEL_DTS="rv1106g-luckfox-pico-86panel-w.dts"
export RK_KERNEL_DEFCONFIG_FRAGMENT="${RK_KERNEL_DEFCONFIG_FRAGMENT:+$RK_KERNEL_DEFCONFIG_FRAGMENT }pico-image.config"
export RK_PARTITION_CMD_IN_ENV="32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
export RK_PARTITION_FS_TYPE_CFG="rootfs@IGNORE@ext4,userdata@/userdata@ext4,oem@/oem@ext4"
export RK_BUILD_APP_TO_OEM_PARTITION=y
export RK_PRE_BUILD_OEM_SCRIPT=luckfox-buildroot-oem-pre.sh
export RK_UBOOT_DEFCONFIG_FRAGMENT="rk-emmc.config rv1106-luckfox-rgb-reset.config"
export RK_ENABLE_ROCKCHIP_TEST=n
export RK_ENABLE_EUDEV=n
export RK_ENABLE_ADBD=n
export RK_ENABLE_GDB=n
export RK_APP_TYPE=""
export RK_CAMERA_SENSOR_IQFILES="none"
export RK_CAMERA_SENSOR_CAC_BIN="none"
export RK_POST_OVERLAY="overlay-luckfox-buildroot-init overlay-luckfox-npu"
