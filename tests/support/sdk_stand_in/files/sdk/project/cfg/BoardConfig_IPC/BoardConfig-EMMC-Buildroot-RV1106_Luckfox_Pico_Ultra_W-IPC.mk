#!/bin/bash
# Stand-in for the board's configuration: names and values as in snapshots of 2025 and 2026.
export RK_CHIP=rv1106
export RK_ARCH=arm
export RK_TOOLCHAIN_CROSS=arm-rockchip830-linux-uclibcgnueabihf
export RK_BOOT_MEDIUM=emmc
export RK_UBOOT_DEFCONFIG=luckfox_rv1106_uboot_defconfig
export RK_UBOOT_DEFCONFIG_FRAGMENT="rk-emmc.config rv1106-luckfox-rgb-reset.config"
export RK_KERNEL_DEFCONFIG=luckfox_rv1106_linux_defconfig
export RK_KERNEL_DEFCONFIG_FRAGMENT=rv1106-bt.config
export RK_KERNEL_DTS=rv1106g-luckfox-pico-ultra-w.dts
export LF_TARGET_ROOTFS=buildroot
export RK_BUILDROOT_DEFCONFIG=luckfox_pico_w_defconfig
export RK_BOOTARGS_CMA_SIZE="66M"
export RK_PARTITION_CMD_IN_ENV="32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"
export RK_PARTITION_FS_TYPE_CFG=rootfs@IGNORE@ext4,userdata@/userdata@ext4,oem@/oem@ext4
export RK_BUILD_APP_TO_OEM_PARTITION=y
export RK_APP_TYPE=RKIPC_RV1106
export RK_CAMERA_SENSOR_IQFILES="sc4336.json sc3336.json"
export RK_ENABLE_WIFI=y
export RK_ENABLE_WIFI_CHIP=AIC8800DC
export LF_WIFI_SSID="Your wifi ssid"
export LF_WIFI_PSK="Your wifi password"
export RK_PRE_BUILD_OEM_SCRIPT=luckfox-buildroot-oem-pre.sh
export RK_PRE_BUILD_USERDATA_SCRIPT=luckfox-userdata-pre.sh
export RK_POST_OVERLAY="overlay-luckfox-config overlay-luckfox-buildroot-init overlay-luckfox-buildroot-shadow overlay-luckfox-buildroot-rgb"
