################################################################################
#
# neon-runner
#
################################################################################

NEON_RUNNER_VERSION = 0.1.0
NEON_RUNNER_SITE = $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../app
NEON_RUNNER_SITE_METHOD = local
NEON_RUNNER_LICENSE = Apache-2.0
NEON_RUNNER_LICENSE_FILES = LICENSE
NEON_RUNNER_SUPPORTS_IN_SOURCE_BUILD = NO

# The licence lies at the top of the tree, not beside the sources.
define NEON_RUNNER_COPY_LICENSE
	cp $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../LICENSE $(@D)/
endef
NEON_RUNNER_POST_RSYNC_HOOKS += NEON_RUNNER_COPY_LICENSE

ifeq ($(BR2_PACKAGE_NEON_RUNNER_PREBUILT),y)

NEON_RUNNER_PROGRAM = $(or $(PICO_NEON_RUNNER),$(call qstrip,$(BR2_PACKAGE_NEON_RUNNER_PREBUILT_PATH)))

# A dynamic program needs a loader that this system does not have: it would fail
# on the board with "not found" and no other reason.
define NEON_RUNNER_BUILD_CMDS
	test -f "$(NEON_RUNNER_PROGRAM)" || { \
		echo "neon-runner: there is no program at '$(NEON_RUNNER_PROGRAM)';" \
			"set PICO_NEON_RUNNER in the environment" >&2; \
		exit 1; \
	}
	LC_ALL=C $(TARGET_READELF) -h "$(NEON_RUNNER_PROGRAM)" | grep -q 'Machine: *ARM$$' || { \
		echo "neon-runner: $(NEON_RUNNER_PROGRAM) is not a 32-bit ARM program" >&2; \
		exit 1; \
	}
	! LC_ALL=C $(TARGET_READELF) -l "$(NEON_RUNNER_PROGRAM)" | grep -q INTERP || { \
		echo "neon-runner: $(NEON_RUNNER_PROGRAM) is not a static program" >&2; \
		exit 1; \
	}
endef

define NEON_RUNNER_INSTALL_TARGET_CMDS
	$(INSTALL) -D -m 0755 $(NEON_RUNNER_PROGRAM) $(TARGET_DIR)/usr/bin/neon-runner
endef

$(eval $(generic-package))

else

NEON_RUNNER_DEPENDENCIES += cjson jpeg libpng tensorflow-lite-static zlib
NEON_RUNNER_CONF_OPTS += \
	-DBUILD_SHARED_LIBS=OFF \
	-DIMAGE_LIBS_PREFIX=$(STAGING_DIR)/usr \
	-DPICO_BENCH=OFF \
	-DPICO_NEON=ON \
	-DPICO_NPU=OFF \
	-DPICO_STATIC=ON \
	-DTFLITE_PREFIX=$(TENSORFLOW_LITE_STATIC_PREFIX)

$(eval $(cmake-package))

endif
