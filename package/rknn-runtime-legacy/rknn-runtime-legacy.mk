################################################################################
#
# rknn-runtime-legacy
#
################################################################################

# A package of its own: rknn-runtime's files of the same names are another
# version's, and Buildroot keeps downloads by package and name.
RKNN_RUNTIME_LEGACY_VERSION = 1.6.0
RKNN_RUNTIME_LEGACY_COMMIT = 2c2d03def0c0908c86985b8190e973976ecec74c
RKNN_RUNTIME_LEGACY_RAW = https://raw.githubusercontent.com/airockchip/rknn-toolkit2/$(RKNN_RUNTIME_LEGACY_COMMIT)
RKNN_RUNTIME_LEGACY_SITE = $(RKNN_RUNTIME_LEGACY_RAW)/rknpu2/runtime/Linux/librknn_api/armhf-uclibc
RKNN_RUNTIME_LEGACY_SOURCE = librknnmrt.a
# The static library of 1.6.0 lacks the verifier of flatcc, which its shared
# twin has in it (eight flatcc_verify_* names). Buildroot's flatcc makes no
# static library where there are shared ones, so that one file is compiled here.
RKNN_RUNTIME_LEGACY_FLATCC = flatcc-0.6.1.tar.gz
RKNN_RUNTIME_LEGACY_EXTRA_DOWNLOADS = \
	$(RKNN_RUNTIME_LEGACY_RAW)/LICENSE \
	$(call github,dvidelabs,flatcc,v0.6.1)/$(RKNN_RUNTIME_LEGACY_FLATCC)
# The licence file of this commit is a BSD one; the header of the library claims
# confidentiality, and later releases are under the RKNN SDK License.
RKNN_RUNTIME_LEGACY_LICENSE = PROPRIETARY (RKNN runtime 1.6.0; BSD-3-Clause by the file LICENSE), Apache-2.0 (flatcc)
RKNN_RUNTIME_LEGACY_LICENSE_FILES = LICENSE flatcc/LICENSE
RKNN_RUNTIME_LEGACY_REDISTRIBUTE = NO
RKNN_RUNTIME_LEGACY_INSTALL_STAGING = YES
RKNN_RUNTIME_LEGACY_INSTALL_TARGET = NO

define RKNN_RUNTIME_LEGACY_EXTRACT_CMDS
	$(foreach f,librknnmrt.a LICENSE,\
		cp $(RKNN_RUNTIME_LEGACY_DL_DIR)/$(f) $(@D)/$(f)$(sep))
	mkdir -p $(@D)/flatcc
	$(call suitable-extractor,$(RKNN_RUNTIME_LEGACY_FLATCC)) \
		$(RKNN_RUNTIME_LEGACY_DL_DIR)/$(RKNN_RUNTIME_LEGACY_FLATCC) | \
		$(TAR) --strip-components=1 -C $(@D)/flatcc $(TAR_OPTIONS) -
endef

define RKNN_RUNTIME_LEGACY_BUILD_CMDS
	$(TARGET_CC) $(TARGET_CFLAGS) -I$(@D)/flatcc/include \
		-c $(@D)/flatcc/src/runtime/verifier.c -o $(@D)/verifier.o
	$(TARGET_AR) rcs $(@D)/libflatcc-verifier.a $(@D)/verifier.o
endef

# app/npu/CMakeLists.txt takes every archive of the folder, and the folder's
# name for the version.
RKNN_RUNTIME_LEGACY_FOLDER = $(STAGING_DIR)/usr/lib/rknn-runtime/$(RKNN_RUNTIME_LEGACY_VERSION)
define RKNN_RUNTIME_LEGACY_INSTALL_STAGING_CMDS
	$(foreach f,librknnmrt.a libflatcc-verifier.a,\
		$(INSTALL) -D -m 0644 $(@D)/$(f) \
			$(RKNN_RUNTIME_LEGACY_FOLDER)/$(f)$(sep))
endef

$(eval $(generic-package))
