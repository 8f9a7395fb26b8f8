################################################################################
#
# npu-models
#
################################################################################

NPU_MODELS_VERSION = 0.1.0
NPU_MODELS_SOURCE =
NPU_MODELS_LICENSE = see the "licence" entry of each model.json

NPU_MODELS_NAMES = $(call qstrip,$(BR2_PACKAGE_NPU_MODELS_LIST))
NPU_MODELS_DIRECTORY = $(or $(PICO_MODELS_DIR),$(call qstrip,$(BR2_PACKAGE_NPU_MODELS_DIRECTORY)))
NPU_MODELS_FILES = \
	labels.txt \
	model.json \
	$(if $(BR2_PACKAGE_NPU_MODELS_CPU),fp32.tflite int8.tflite) \
	$(if $(BR2_PACKAGE_NPU_MODELS_NPU),model.rknn) \
	$(if $(BR2_PACKAGE_NPU_RUNNER_SIMULATOR),$(NPU_MODELS_SIMULATED))
# The simulator's inputs: the sidecar of the .rknn and the same network for the CPU.
NPU_MODELS_SIMULATED = model.rknn.json $(if $(BR2_PACKAGE_NPU_MODELS_CPU),,int8.tflite)
# Folders that a model may have: its pictures, and the golden vectors of npu-runner --verify.
NPU_MODELS_FOLDERS = images $(if $(BR2_PACKAGE_NPU_MODELS_NPU),golden)

# An image without a model would boot and have nothing to run, so a missing model
# stops the build.
define NPU_MODELS_BUILD_CMDS
	test -n "$(NPU_MODELS_NAMES)" || { \
		echo "npu-models: no model is selected; set BR2_PACKAGE_NPU_MODELS_LIST" >&2; \
		exit 1; \
	}
	test -n "$(NPU_MODELS_DIRECTORY)" || { \
		echo "npu-models: no folder of models; set PICO_MODELS_DIR in the environment" >&2; \
		exit 1; \
	}
	$(foreach m,$(NPU_MODELS_NAMES),$(foreach f,$(NPU_MODELS_FILES),\
		test -f "$(NPU_MODELS_DIRECTORY)/$(m)/$(f)" || { \
			echo "npu-models: $(NPU_MODELS_DIRECTORY)/$(m)/$(f) is missing;" \
				"invoke convert-models --model $(m) makes it" >&2; \
			exit 1; \
		}$(sep)))
endef

define NPU_MODELS_INSTALL_TARGET_CMDS
	rm -rf $(TARGET_DIR)/usr/share/npu-models
	$(foreach m,$(NPU_MODELS_NAMES),\
		mkdir -p $(TARGET_DIR)/usr/share/npu-models/$(m)$(sep)\
		$(foreach f,$(NPU_MODELS_FILES),\
			$(INSTALL) -m 0644 $(NPU_MODELS_DIRECTORY)/$(m)/$(f) \
				$(TARGET_DIR)/usr/share/npu-models/$(m)/$(f)$(sep))\
		$(foreach d,$(NPU_MODELS_FOLDERS),\
			if [ -d $(NPU_MODELS_DIRECTORY)/$(m)/$(d) ]; then \
				cp -RL --preserve=timestamps --no-preserve=mode \
					$(NPU_MODELS_DIRECTORY)/$(m)/$(d) \
					$(TARGET_DIR)/usr/share/npu-models/$(m)/; \
			fi$(sep)))
endef

$(eval $(generic-package))
