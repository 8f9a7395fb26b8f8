# Stands in for Buildroot's package infrastructure: notes which packages there are, then prints
# every file that each downloads or hands to legal-info. Used by test_buildroot_tree.py.
pkgdir = $(dir $(lastword $(MAKEFILE_LIST)))
pkgname = $(lastword $(subst /, ,$(pkgdir)))
comma := ,
space := $() $()
qstrip = $(strip $(subst ",,$(1)))
github = https://github.com/$(1)/$(2)/archive/$(3)
PACKAGES_SEEN :=
note = $(eval PACKAGES_SEEN += $(pkgname))
generic-package = $(note)
cmake-package = $(note)
include $(BR2_EXTERNAL_LUCKFOX_NPU_PATH)/external.mk
upper = $(shell echo $(1) | tr a-z- A-Z_)
defined = $(if $(filter undefined,$(origin $(1))),,$($(1)))
downloads = $(call defined,$(1)_SOURCE) $(notdir $(call defined,$(1)_EXTRA_DOWNLOADS))
files = $(call downloads,$(1)) $(call defined,$(1)_LICENSE_FILES)
all:
	@echo seen $(sort $(PACKAGES_SEEN))
	@$(foreach p,$(PACKAGES_SEEN),$(foreach f,$(call files,$(call upper,$(p))),echo get $(p) '$(f)';))
	@$(foreach u,$(TENSORFLOW_LITE_STATIC_EXTRA_DOWNLOADS),echo url '$(u)';)
