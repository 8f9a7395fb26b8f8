################################################################################
#
# npu-bench
#
################################################################################

NPU_BENCH_VERSION = 0.1.0
NPU_BENCH_SITE = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../app
NPU_BENCH_SITE_METHOD = local
NPU_BENCH_LICENSE = Apache-2.0
NPU_BENCH_LICENSE_FILES = LICENSE
NPU_BENCH_SUPPORTS_IN_SOURCE_BUILD = NO
NPU_BENCH_DEPENDENCIES = cjson
NPU_BENCH_CONF_OPTS = \
	-DBUILD_SHARED_LIBS=OFF \
	-DIMAGE_LIBS_PREFIX=$(STAGING_DIR)/usr \
	-DPICO_BENCH=ON \
	-DPICO_NEON=OFF \
	-DPICO_NPU=OFF \
	-DPICO_STATIC=ON

# The licence lies at the top of the tree, not beside the sources.
define NPU_BENCH_COPY_LICENSE
	cp $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../LICENSE $(@D)/
endef
NPU_BENCH_POST_RSYNC_HOOKS += NPU_BENCH_COPY_LICENSE

# Not in the board's overlay, which every image gets: an image without the
# benchmark must not greet with it.
NPU_BENCH_FILES = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../board/luckfox-pico/bench

define NPU_BENCH_INSTALL_CONFIG
	$(INSTALL) -D -m 0644 $(NPU_BENCH_FILES)/etc/motd $(TARGET_DIR)/etc/motd
	echo "AT_BOOT=$(if $(BR2_PACKAGE_NPU_BENCH_AT_BOOT),yes,no)" \
		>$(TARGET_DIR)/etc/npu-bench.conf
endef
NPU_BENCH_POST_INSTALL_TARGET_HOOKS += NPU_BENCH_INSTALL_CONFIG

define NPU_BENCH_INSTALL_INIT_SYSV
	$(INSTALL) -D -m 0755 $(NPU_BENCH_FILES)/etc/init.d/S95npu-bench \
		$(TARGET_DIR)/etc/init.d/S95npu-bench
endef

$(eval $(cmake-package))
