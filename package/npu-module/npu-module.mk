################################################################################
#
# npu-module
#
################################################################################

NPU_MODULE_VERSION = 0.1.0
NPU_MODULE_SITE = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/overlay/etc/init.d
NPU_MODULE_SITE_METHOD = local
NPU_MODULE_LICENSE = Apache-2.0
NPU_MODULE_LICENSE_FILES = LICENSE

# The licence lies at the top of the tree, not beside the sources.
define NPU_MODULE_COPY_LICENSE
	cp $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../LICENSE $(@D)/
endef
NPU_MODULE_POST_RSYNC_HOOKS += NPU_MODULE_COPY_LICENSE

# Flat, and without modules.dep: S21appinit loads it by its path.
ifneq ($(PICO_KERNEL_MODULES),)
NPU_MODULE_FOLDER = $(TARGET_DIR)/lib/modules/$$(cat $(PICO_KERNEL_MODULES)/release)
define NPU_MODULE_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0644 $(PICO_KERNEL_MODULES)/rknpu.ko $(NPU_MODULE_FOLDER)/rknpu.ko
	$(NPU_MODULE_INSTALL_WIFI)
endef

# What the vendor's script for Wi-Fi loads, as far as the kernel's build made it for this board's
# chip: of the AIC8800 also the firmware, for which the driver takes a path (aic_fw_path).
ifneq ($(wildcard $(PICO_KERNEL_MODULES)/insmod_wifi.sh),)
define NPU_MODULE_INSTALL_WIFI
	for name in $$(sed -n 's/.*insmod \([a-z0-9_-]*\.ko\).*/\1/p' $(PICO_KERNEL_MODULES)/insmod_wifi.sh | sort -u); do \
		test ! -e $(PICO_KERNEL_MODULES)/$$name || \
			$(INSTALL) -m 0644 $(PICO_KERNEL_MODULES)/$$name $(NPU_MODULE_FOLDER)/ || exit 1; \
	done
	for folder in $(wildcard $(PICO_KERNEL_MODULES)/*_fw); do \
		mkdir -p $(TARGET_DIR)/lib/firmware && cp -r $$folder $(TARGET_DIR)/lib/firmware/ || exit 1; \
	done
endef
endif
endif

# The vendor's name: the script of this name loads the whole camera stack there.
define NPU_MODULE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/S21appinit \
		$(TARGET_DIR)/etc/init.d/S21appinit
endef

# The group that S21appinit gives /dev/rknpu to.
define NPU_MODULE_USERS
	- - npu -1 * - - - Neural processing unit
endef

$(eval $(generic-package))
