#!/usr/bin/env bash
# Runs in the build container: brings the Luckfox SDK at one commit into /build/sdk.
#
# Usage: sdk-checkout.sh COMMIT [URL BATCH]
#
# Without a URL nothing is downloaded. PICO_NEED_KB: the space that the whole build needs.
# Status 3: not fetched yet; 4: the file system does not keep the files; 5: too little space.
#
# The SDK is about 635 MB compressed and git cannot continue an interrupted transfer. The commit and
# its folders therefore come first, without file contents (a partial clone), then the contents in
# batches, each of which is kept. A server without partial clones sends everything at once.
set -euo pipefail

store=/cache/git/sdk.git
export GIT_TERMINAL_PROMPT=0 GIT_CONFIG_NOSYSTEM=1 HOME=/root

fetch() {
    local url=$1 commit=$2 batch=$3
    mkdir -p "$store"
    git init --quiet --bare "$store"
    # Git refuses to start with the lock files of a killed one.
    rm -f "$store"/*.lock "$store"/objects/pack/tmp_*
    git -C "$store" config remote.origin.url "$url"
    # The 107,000 files are 54 batches, each a pack; at 50 git would pack the whole store again, in
    # the background of a container that ends.
    git -C "$store" config gc.auto 0
    if [ ! -e "$store/pico-trees-$commit" ]; then
        git -C "$store" fetch --progress --depth=1 --no-tags --no-write-fetch-head \
            --filter=blob:none origin "$commit"
        : >"$store/pico-trees-$commit"
    fi
    missing "$commit" >/tmp/missing
    local total done=0 count
    total=$(wc -l </tmp/missing)
    echo "@files $done $total"
    split -l "$batch" /tmp/missing /tmp/missing.
    for list in /tmp/missing.*; do
        [ -s "$list" ] || continue
        git -C "$store" -c fetch.negotiationAlgorithm=noop fetch --quiet --no-tags \
            --no-write-fetch-head --recurse-submodules=no --filter=blob:none --stdin \
            origin <"$list"
        count=$(wc -l <"$list")
        done=$((done + count))
        echo "@files $done $total"
    done
    if [ -n "$(missing "$commit")" ]; then
        echo "the server did not send all files of commit $commit" >&2
        exit 1
    fi
    # Git has checked the hash of each object while it unpacked it.
    sync -f "$store"
    : >"$store/pico-whole-$commit"
}

missing() {
    git -C "$store" rev-list --objects --missing=print "$1" | sed -n 's/^?//p'
}

tree() {
    local commit=$1
    mkdir -p /build/sdk /build/states
    # Without an index every file is written again, which replaces files that an interrupted run
    # left incomplete.
    rm -f /build/sdk.index /build/sdk.index.lock /build/states/commit
    # The SDK's mcu folder has rules for line ends (`*.c text`) that its own files break: with them
    # git can report unchanged files as changed. This file overrides them.
    mkdir -p "$store/info"
    echo '* -text -ident -filter -working-tree-encoding' >"$store/info/attributes"
    export GIT_INDEX_FILE=/build/sdk.index
    git --git-dir="$store" --work-tree=/build/sdk read-tree --reset -u "$commit"
    # Twins that differ in case only exist in the kernel (net/netfilter/xt_DSCP.c, xt_dscp.c).
    if [ -n "$(git --git-dir="$store" --work-tree=/build/sdk ls-files --deleted --modified)" ]; then
        echo "files differ from the commit right after the checkout" >&2
        exit 4
    fi
    sync -f /build
    echo "$commit" >/build/states/commit
}

need_space() {
    local free
    free=$(df -Pk /build | awk 'NR == 2 { print $4 }')
    if [ "$free" -lt "${PICO_NEED_KB:-0}" ]; then
        echo "@free $free"
        exit 5
    fi
}

commit=$1
need_space
mkdir -p /cache/git
# Builds of several variants share the store.
exec 9>/cache/git/lock
flock 9
if [ ! -e "$store/pico-whole-$commit" ]; then
    [ $# -ge 3 ] || exit 3
    fetch "$2" "$commit" "$3"
fi
tree "$commit"
