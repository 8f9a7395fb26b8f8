#!/usr/bin/env bash
# Sourced in the build container: `buildroot TARGET...` is make in the SDK's own Buildroot.

output=/build/output

buildroot() {
    local version archive sum tree
    # The version differs between SDKs; a build with a fixed one broke (seedsigner).
    version=$(sed -n 's/^BUILDROOT_VER *[?:]*= *//p' /build/sdk/sysdrv/Makefile | head -n 1)
    archive=/build/sdk/sysdrv/tools/board/buildroot/${version:?no BUILDROOT_VER in sysdrv/Makefile}.tar.gz
    tree=/build/buildroot/$version
    sum=$(sha256sum <"$archive")
    if [ "$(cat "$tree/.archive" 2>/dev/null)" != "$sum" ]; then
        # Another archive in a checkout of the user's: nothing of the old one is continued.
        rm -rf /build/buildroot /build/output
        mkdir -p "$tree.new"
        tar xzf "$archive" -C "$tree.new" --strip-components=1
        echo "$sum" >"$tree.new/.archive"
        sync -f /build
        mv "$tree.new" "$tree"
    fi
    make --no-print-directory -C "$tree" O="$output" "$@"
}
