# PICO_MODELS_DIR is set when an image is built: a symbol that Kconfig dropped
# silently would be missed only on the board. After a change in menuconfig this
# is not run, because the variable is not set then.
ifneq ($(PICO_MODELS_DIR),)
# The folders of Buildroot's Config.in files; output/ would have a thousand more.
LUCKFOX_NPU_MENUS = Config.in arch boot fs linux package system toolchain utils
LUCKFOX_NPU_DIFFERENCES := $(shell \
	sh $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/check-config.sh \
		"$(call qstrip,$(BR2_DEFCONFIG))" "$(BR2_CONFIG)" \
		$(wildcard $(addprefix $(TOPDIR)/,$(LUCKFOX_NPU_MENUS))) \
		$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../package >&2 || echo yes)
ifneq ($(LUCKFOX_NPU_DIFFERENCES),)
$(error the configuration is not what the defconfig asks for, see above)
endif
endif

include $(sort $(wildcard $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/../package/*/*.mk))
