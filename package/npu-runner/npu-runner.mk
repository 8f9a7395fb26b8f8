################################################################################
#
# npu-runner
#
################################################################################

NPU_RUNNER_VERSION = 0.1.0
NPU_RUNNER_SITE = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../app
NPU_RUNNER_SITE_METHOD = local
NPU_RUNNER_LICENSE = Apache-2.0
NPU_RUNNER_LICENSE_FILES = LICENSE
NPU_RUNNER_SUPPORTS_IN_SOURCE_BUILD = NO
NPU_RUNNER_DEPENDENCIES = cjson jpeg libpng zlib
NPU_RUNNER_CONF_OPTS = \
	-DBUILD_SHARED_LIBS=OFF \
	-DIMAGE_LIBS_PREFIX=$(STAGING_DIR)/usr \
	-DPICO_BENCH=OFF \
	-DPICO_NEON=OFF \
	-DPICO_NPU=ON \
	-DPICO_STATIC=ON

# The licence lies at the top of the tree, not beside the sources.
define NPU_RUNNER_COPY_LICENSE
	cp $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../LICENSE $(@D)/
endef
NPU_RUNNER_POST_RSYNC_HOOKS += NPU_RUNNER_COPY_LICENSE

ifeq ($(BR2_PACKAGE_NPU_RUNNER_SIMULATOR),y)
NPU_RUNNER_DEPENDENCIES += tensorflow-lite-static
NPU_RUNNER_CONF_OPTS += \
	-DPICO_RKNN=sim \
	-DTFLITE_PREFIX=$(TENSORFLOW_LITE_STATIC_PREFIX)
else
NPU_RUNNER_DEPENDENCIES += rknn-runtime
NPU_RUNNER_CONF_OPTS += -DPICO_RKNN=vendor
ifeq ($(BR2_PACKAGE_RKNN_RUNTIME_LEGACY),y)
NPU_RUNNER_DEPENDENCIES += rknn-runtime-legacy
NPU_RUNNER_CONF_OPTS += -DRKNN_MORE=$(RKNN_RUNTIME_LEGACY_FOLDER)
endif
endif

$(eval $(cmake-package))
