#!/bin/bash
# Rendered from configs/templates/board-config.mk.j2 for variant emmc: do not edit.
# Change configs/variants/emmc.yml, then run: invoke render
# shellcheck shell=bash disable=SC1090,SC1091
source "${SDK_ROOT_DIR:?set by build.sh}/project/cfg/BoardConfig_IPC/BoardConfig-EMMC-Buildroot-RV1106_Luckfox_Pico_86Panel_W-IPC.mk"
export RK_BOOT_MEDIUM="emmc"
export RK_KERNEL_DTS="rv1106g-luckfox-pico-86panel-w.dts"
export RK_KERNEL_DEFCONFIG_FRAGMENT="${RK_KERNEL_DEFCONFIG_FRAGMENT:+$RK_KERNEL_DEFCONFIG_FRAGMENT }pico-image.config"
export RK_UBOOT_DEFCONFIG_FRAGMENT="rk-emmc.config rv1106-luckfox-rgb-reset.config"
export RK_PARTITION_CMD_IN_ENV="32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
export RK_PARTITION_FS_TYPE_CFG="rootfs@IGNORE@ext4"
export RK_BOOTARGS_CMA_SIZE=""
