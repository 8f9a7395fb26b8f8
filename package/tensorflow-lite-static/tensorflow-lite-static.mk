################################################################################
#
# tensorflow-lite-static
#
################################################################################

TENSORFLOW_LITE_STATIC_VERSION = 2.14.1
# Debian's archive of everything it ever published, addressed by SHA-1. The
# question mark keeps the file name, which Buildroot appends, out of the path.
TENSORFLOW_LITE_STATIC_SNAPSHOT = https://snapshot.debian.org/file

ifeq ($(BR2_PACKAGE_TENSORFLOW_LITE_STATIC_DEBIAN),y)
TENSORFLOW_LITE_STATIC_SITE = $(TENSORFLOW_LITE_STATIC_SNAPSHOT)/94bfee3774ef7729528c554e484870df42508e32?
TENSORFLOW_LITE_STATIC_SOURCE = tensorflow_$(TENSORFLOW_LITE_STATIC_VERSION)+dfsg.orig.tar.xz
else
TENSORFLOW_LITE_STATIC_SITE = $(call github,tensorflow,tensorflow,v$(TENSORFLOW_LITE_STATIC_VERSION))
TENSORFLOW_LITE_STATIC_SOURCE = tensorflow-$(TENSORFLOW_LITE_STATIC_VERSION).tar.gz
endif

# TensorFlow Lite's CMake project downloads its dependencies while it is being
# configured. Here each is a download like any other, and CMake is told where it
# lies. NAME,SHA-1,FILE,LEADING FOLDERS TO DROP
TENSORFLOW_LITE_STATIC_PARTS = \
	abseil,747e1be77740554ac6c97518b48d6adbae1c314f,abseil_20240722.0.orig.tar.gz,1 \
	cpuinfo,fc9f5a065a678ec414f8526d3ecf12555b1d244a,cpuinfo_0.0~git20250905.877328f.orig.tar.xz,1 \
	eigen,3e8a1aa6ac5c7fafce69688242590fd365c1d3c5,eigen3_3.4.0.orig.tar.bz2,1 \
	farmhash,3c327cbd861b13718c77df5d1950482d09018479,farmhash_0~git20190513.0d859a8.orig.tar.xz,1 \
	flatbuffers,65378ac5bb48d1ec4c2ea0c3656e94c9d170709a,flatbuffers_23.5.26+dfsg.orig.tar.xz,1 \
	fp16,5d3f9478229ffa7a16beee58efe0af9285e856bf,fp16_0.0~git20200514.4dfe081.orig.tar.xz,1 \
	fxdiv,607769f3b53e0f72353858ce3c880e014e12ce7d,fxdiv_0.0~git20200417.b408327.orig.tar.xz,1 \
	gemmlowp,f7b4ad36b046a404ce7f7b0df1b674d747e73430,gemmlowp_0.0~git20211220.e844ffd.orig.tar.xz,1 \
	oourafft,e6ac75432d6d70ddffe85454befdc524dd74bdc3,oourafft_1.0.orig.tar.gz,1 \
	pthreadpool,30e09e720071e82a8937df13ce26e6e326e1dd4f,pthreadpool_0.0~git20240616.560c60d.orig.tar.xz,1 \
	xnnpack,6665697033222aa58937fdcf2518c1d7a7a4e467,xnnpack_0.0~git20241108.4ea82e5.orig.tar.xz,0
TENSORFLOW_LITE_STATIC_FIELD = $(word $(2),$(subst $(comma),$(space),$(1)))
TENSORFLOW_LITE_STATIC_EXTRA_DOWNLOADS = $(foreach p,$(TENSORFLOW_LITE_STATIC_PARTS),$(TENSORFLOW_LITE_STATIC_SNAPSHOT)/$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),2)?/$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),3))

TENSORFLOW_LITE_STATIC_LICENSE = \
	Apache-2.0 (TensorFlow Lite, Abseil, FlatBuffers, gemmlowp), \
	BSD-3-Clause (XNNPACK), \
	BSD-2-Clause (cpuinfo, pthreadpool), \
	MIT (FP16, FXdiv, FarmHash), \
	MPL-2.0 (Eigen), \
	Ooura (FFT)
TENSORFLOW_LITE_STATIC_LICENSE_FILES = \
	LICENSE \
	parts/abseil/LICENSE \
	parts/cpuinfo/LICENSE \
	parts/eigen/COPYING.MPL2 \
	parts/farmhash/COPYING \
	parts/flatbuffers/LICENSE \
	parts/fp16/LICENSE \
	parts/fxdiv/LICENSE \
	parts/gemmlowp/LICENSE \
	parts/oourafft/readme2d.txt \
	parts/pthreadpool/LICENSE \
	parts/xnnpack/LICENSE
TENSORFLOW_LITE_STATIC_INSTALL_STAGING = YES
TENSORFLOW_LITE_STATIC_INSTALL_TARGET = NO
TENSORFLOW_LITE_STATIC_SUBDIR = tensorflow/lite
TENSORFLOW_LITE_STATIC_SUPPORTS_IN_SOURCE_BUILD = NO

define TENSORFLOW_LITE_STATIC_UNPACK_PARTS
	$(foreach p,$(TENSORFLOW_LITE_STATIC_PARTS),\
		mkdir -p $(@D)/parts/$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),1)$(sep)\
		$(call suitable-extractor,$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),3)) \
			$(TENSORFLOW_LITE_STATIC_DL_DIR)/$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),3) | \
			$(TAR) --strip-components=$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),4) \
				-C $(@D)/parts/$(call TENSORFLOW_LITE_STATIC_FIELD,$(p),1) \
				$(TAR_OPTIONS) -$(sep))
	cp -r $(TENSORFLOW_LITE_STATIC_PKGDIR)ruy $(@D)/parts/ruy
endef
TENSORFLOW_LITE_STATIC_POST_EXTRACT_HOOKS += TENSORFLOW_LITE_STATIC_UNPACK_PARTS

# One folder of patches for each part; each patch says why it is needed.
define TENSORFLOW_LITE_STATIC_PATCH_PARTS
	$(foreach d,$(wildcard $(TENSORFLOW_LITE_STATIC_PKGDIR)patches/*),\
		$(APPLY_PATCHES) \
			$(if $(filter tensorflow,$(notdir $(d))),$(@D),$(@D)/parts/$(notdir $(d))) \
			$(d) \*.patch$(sep))
endef
TENSORFLOW_LITE_STATIC_POST_PATCH_HOOKS += TENSORFLOW_LITE_STATIC_PATCH_PARTS

# EIGEN_HAS_C99_MATH: Eigen takes it from libstdc++'s _GLIBCXX_USE_C99, which is
# off on uClibc for want of complex numbers alone.
# FLATBUFFERS_LOCALE_INDEPENDENT: uClibc without locales has no strtod_l, and
# FlatBuffers assumes it on every Unix.
TENSORFLOW_LITE_STATIC_FLAGS = \
	-O3 \
	-ffunction-sections \
	-fdata-sections \
	-DEIGEN_HAS_C99_MATH=1 \
	-DFLATBUFFERS_LOCALE_INDEPENDENT=0

# XNNPACK passes a pointer to 32 bits where 16 of them are read, which GCC 14
# made an error.
TENSORFLOW_LITE_STATIC_CFLAGS = -Wno-error=incompatible-pointer-types

TENSORFLOW_LITE_STATIC_MAKE_OPTS = tensorflow-lite
TENSORFLOW_LITE_STATIC_CONF_OPTS = \
	-DCMAKE_C_FLAGS="$(TARGET_CFLAGS) $(TENSORFLOW_LITE_STATIC_FLAGS) $(TENSORFLOW_LITE_STATIC_CFLAGS)" \
	-DCMAKE_CXX_FLAGS="$(TARGET_CXXFLAGS) $(TENSORFLOW_LITE_STATIC_FLAGS)" \
	-DBUILD_SHARED_LIBS=OFF \
	-DTFLITE_ENABLE_GPU=OFF \
	-DTFLITE_ENABLE_NNAPI=OFF \
	-DTFLITE_ENABLE_EXTERNAL_DELEGATE=OFF \
	-DTFLITE_ENABLE_INSTALL=OFF \
	-DTFLITE_ENABLE_RUY=OFF \
	-DTFLITE_ENABLE_XNNPACK=ON \
	-DCMAKE_POLICY_VERSION_MINIMUM=3.5 \
	-DFETCHCONTENT_FULLY_DISCONNECTED=ON \
	-DFETCHCONTENT_SOURCE_DIR_ABSEIL-CPP=$(@D)/parts/abseil \
	-DFETCHCONTENT_SOURCE_DIR_CPUINFO=$(@D)/parts/cpuinfo \
	-DFETCHCONTENT_SOURCE_DIR_EIGEN=$(@D)/parts/eigen \
	-DFETCHCONTENT_SOURCE_DIR_FARMHASH=$(@D)/parts/farmhash \
	-DFETCHCONTENT_SOURCE_DIR_FFT2D=$(@D)/parts/oourafft \
	-DFETCHCONTENT_SOURCE_DIR_FLATBUFFERS=$(@D)/parts/flatbuffers \
	-DFETCHCONTENT_SOURCE_DIR_FP16_HEADERS=$(@D)/parts/fp16 \
	-DFETCHCONTENT_SOURCE_DIR_GEMMLOWP=$(@D)/parts/gemmlowp \
	-DFETCHCONTENT_SOURCE_DIR_RUY=$(@D)/parts/ruy \
	-DFETCHCONTENT_SOURCE_DIR_XNNPACK=$(@D)/parts/xnnpack \
	-DCPUINFO_SOURCE_DIR=$(@D)/parts/cpuinfo \
	-DFP16_SOURCE_DIR=$(@D)/parts/fp16 \
	-DFXDIV_SOURCE_DIR=$(@D)/parts/fxdiv \
	-DPTHREADPOOL_SOURCE_DIR=$(@D)/parts/pthreadpool \
	-DCPUINFO_BUILD_TOOLS=OFF \
	-DFLATBUFFERS_BUILD_FLATC=OFF \
	-DFLATBUFFERS_BUILD_FLATHASH=OFF \
	-DFLATBUFFERS_BUILD_TESTS=OFF \
	-DXNNPACK_BUILD_ALL_MICROKERNELS=OFF \
	-DXNNPACK_BUILD_BENCHMARKS=OFF \
	-DXNNPACK_BUILD_TESTS=OFF \
	-DXNNPACK_LIBRARY_TYPE=static

# Instructions that a Cortex-A7 does not have, and that GCC 8 or its assembler
# do not all know. Each is off by name so that a newer compiler changes nothing.
TENSORFLOW_LITE_STATIC_CONF_OPTS += \
	-DXNNPACK_ENABLE_ARM_BF16=OFF \
	-DXNNPACK_ENABLE_ARM_DOTPROD=OFF \
	-DXNNPACK_ENABLE_ARM_FP16_SCALAR=OFF \
	-DXNNPACK_ENABLE_ARM_FP16_VECTOR=OFF \
	-DXNNPACK_ENABLE_ARM_I8MM=OFF \
	-DXNNPACK_ENABLE_KLEIDIAI=OFF

# XNNPACK takes the ccache of the machine wherever it finds one, and the user's
# cache with it; Buildroot's own (BR2_CCACHE) is in the compiler's wrapper.
TENSORFLOW_LITE_STATIC_CONF_OPTS += -DCCACHE_BINARY=OFF

# In a folder of its own: Abseil and FlatBuffers are packages of Buildroot too,
# in other versions.
TENSORFLOW_LITE_STATIC_PREFIX = $(STAGING_DIR)/usr/lib/tensorflow-lite-static

# Some seventy archives refer to each other in circles; one of all needs no order.
define TENSORFLOW_LITE_STATIC_INSTALL_STAGING_CMDS
	rm -rf $(TENSORFLOW_LITE_STATIC_PREFIX)
	mkdir -p $(TENSORFLOW_LITE_STATIC_PREFIX)/include/tensorflow \
		$(TENSORFLOW_LITE_STATIC_PREFIX)/lib
	rsync -a --prune-empty-dirs --exclude=/lite/buildroot-build \
		--include='*/' --include='*.h' --exclude='*' \
		$(@D)/tensorflow/lite $(TENSORFLOW_LITE_STATIC_PREFIX)/include/tensorflow/
	( \
		echo "CREATE $(TENSORFLOW_LITE_STATIC_PREFIX)/lib/libtflite-static.a"; \
		find $(@D)/tensorflow/lite/buildroot-build -name '*.a' | LC_ALL=C sort | \
			sed 's/^/ADDLIB /'; \
		echo SAVE; \
		echo END; \
	) | $(TARGET_AR) -M
	test -s $(TENSORFLOW_LITE_STATIC_PREFIX)/lib/libtflite-static.a
	$(TARGET_RANLIB) $(TENSORFLOW_LITE_STATIC_PREFIX)/lib/libtflite-static.a
	$(INSTALL) -D -m 0644 $(TENSORFLOW_LITE_STATIC_PKGDIR)tflite-config.cmake \
		$(TENSORFLOW_LITE_STATIC_PREFIX)/lib/cmake/tflite/tflite-config.cmake
endef

$(eval $(cmake-package))
