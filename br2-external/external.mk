# Whoever hands over models builds an image: a symbol that Kconfig dropped in
# silence would be missed on the board only. After a change in menuconfig this
# is not run, because nothing is handed over then.
ifneq ($(PICO_MODELS_DIR),)
# Where Buildroot has its Config.in files; output/ would hold a thousand more.
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
