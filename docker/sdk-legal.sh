#!/usr/bin/env bash
# Runs in the build container after a build: Buildroot collects the licences of all packages.
# Writes /build/legal-info.tar, without the sources. Status 6: nothing has been built.
set -euo pipefail

rm -f /build/legal-info.tar
[ -f /build/sdk/sysdrv/Makefile ] || exit 6
version=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' /build/sdk/sysdrv/Makefile | head -n 1)
cd "/build/sdk/sysdrv/source/buildroot/${version:?no BUILDROOT_VER in sysdrv/Makefile}" || exit 6
[ -e .config ] || exit 6
make legal-info
tar -C output/legal-info --exclude=./sources --exclude=./host-sources -cf /build/legal-info.new .
mv /build/legal-info.new /build/legal-info.tar
