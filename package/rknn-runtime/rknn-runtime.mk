################################################################################
#
# rknn-runtime
#
################################################################################

RKNN_RUNTIME_VERSION = 2.3.2
# The commit of release 2.3.2, which belongs to the model converter 2.3.2. The
# repository is several GB large, so single files are downloaded.
RKNN_RUNTIME_COMMIT = 59a913d172e7f5ff03c9076e2ec7b1b1288ffd08
RKNN_RUNTIME_RAW = https://raw.githubusercontent.com/airockchip/rknn-toolkit2/$(RKNN_RUNTIME_COMMIT)
RKNN_RUNTIME_SITE = $(RKNN_RUNTIME_RAW)/rknpu2/runtime/Linux/librknn_api/armhf-uclibc
RKNN_RUNTIME_SOURCE = librknnmrt.a
RKNN_RUNTIME_EXTRA_DOWNLOADS = \
	librknnmrt.so \
	$(RKNN_RUNTIME_RAW)/rknpu2/runtime/Linux/librknn_api/include/rknn_api.h \
	$(RKNN_RUNTIME_RAW)/LICENSE
RKNN_RUNTIME_LICENSE = PROPRIETARY (RKNN SDK License)
RKNN_RUNTIME_LICENSE_FILES = LICENSE
RKNN_RUNTIME_REDISTRIBUTE = NO
RKNN_RUNTIME_INSTALL_STAGING = YES

define RKNN_RUNTIME_EXTRACT_CMDS
	$(foreach f,librknnmrt.a librknnmrt.so rknn_api.h LICENSE,\
		cp $(RKNN_RUNTIME_DL_DIR)/$(f) $(@D)/$(f)$(sep))
endef

# Without the shared library beside it, -lrknnmrt can only mean the static one.
define RKNN_RUNTIME_INSTALL_STAGING_CMDS
	$(INSTALL) -D -m 0644 $(@D)/librknnmrt.a \
		$(STAGING_DIR)/usr/lib/librknnmrt.a
	$(INSTALL) -D -m 0644 $(@D)/rknn_api.h \
		$(STAGING_DIR)/usr/include/rknn_api.h
endef

ifeq ($(BR2_PACKAGE_RKNN_RUNTIME_TARGET),y)
define RKNN_RUNTIME_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(@D)/librknnmrt.so \
		$(TARGET_DIR)/usr/lib/librknnmrt.so
endef
endif

$(eval $(generic-package))
