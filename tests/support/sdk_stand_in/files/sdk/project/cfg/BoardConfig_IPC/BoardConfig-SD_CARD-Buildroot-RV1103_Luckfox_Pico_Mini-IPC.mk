#!/bin/bash
# Stand-in for the board's configuration (luckfox-sdk.md section 2: names and values).
export RK_CHIP=rv1106
export RK_ARCH=arm
export RK_TOOLCHAIN_CROSS=arm-rockchip830-linux-uclibcgnueabihf
export RK_BOOT_MEDIUM=sd_card
export RK_UBOOT_DEFCONFIG=luckfox_rv1106_uboot_defconfig
export RK_UBOOT_DEFCONFIG_FRAGMENT=rk-emmc.config
export RK_KERNEL_DEFCONFIG=luckfox_rv1106_linux_defconfig
export RK_KERNEL_DTS=rv1103g-luckfox-pico-mini.dts
export LF_TARGET_ROOTFS=buildroot
export RK_BUILDROOT_DEFCONFIG=luckfox_pico_defconfig
export RK_BOOTARGS_CMA_SIZE="24M"
export RK_PARTITION_CMD_IN_ENV="32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
# As a snapshot of 2026-06 has it for the Mini and the Plus; others set it.
#export RK_BUILD_APP_TO_OEM_PARTITION=y
export RK_PARTITION_FS_TYPE_CFG=rootfs@IGNORE@ext4,userdata@/userdata@ext4,oem@/oem@ext4
export RK_APP_TYPE=RKIPC_RV1103
export RK_CAMERA_SENSOR_IQFILES="sc4336.json sc3336.json"
export RK_PRE_BUILD_OEM_SCRIPT=luckfox-buildroot-oem-pre.sh
export RK_PRE_BUILD_USERDATA_SCRIPT=luckfox-userdata-pre.sh
export RK_POST_OVERLAY="overlay-luckfox-config overlay-luckfox-buildroot-init overlay-luckfox-buildroot-shadow"
