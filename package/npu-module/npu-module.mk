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

# The vendor's name: the SDK's firmware step writes a script of this name that
# loads the whole camera stack, and the board's overlay replaces it by ours.
define NPU_MODULE_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(@D)/S21appinit \
		$(TARGET_DIR)/etc/init.d/S21appinit
endef

# The group that S21appinit gives /dev/rknpu to.
define NPU_MODULE_USERS
	- - npu -1 * - - - Neural processing unit
endef

$(eval $(generic-package))
