#!/usr/bin/env bash
# Runs in the build container: downloads the sources of every package that a variant selects.
#
# Usage: sdk-source.sh DEFCONFIG
#
# With the SDK's Buildroot, in a separate folder, so that it can run before, after or during a
# build. In the environment: BR2_EXTERNAL, BR2_DL_DIR.
set -euo pipefail

sdk=/build/sdk
version=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' "$sdk/sysdrv/Makefile" | head -n 1)
mkdir -p /tmp/buildroot
tar xzf "$sdk/sysdrv/tools/board/buildroot/$version.tar.gz" -C /tmp/buildroot
cd "/tmp/buildroot/$version"
make "$1"
make source
