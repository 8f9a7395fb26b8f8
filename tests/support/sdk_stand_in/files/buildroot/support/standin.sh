#!/bin/bash
# Stand-in for Buildroot: packages in order, stamps, what it never rebuilds, finalisation.
set -eE

# The external tree is remembered: later runs without the variable keep it (section 3).
sticky=$O/.br2-external.mk
mkdir -p "$O"
if [ -n "${BR2_EXTERNAL:-}" ]; then
    echo "BR2_EXTERNAL ?= $BR2_EXTERNAL" >"$sticky"
elif [ -f "$sticky" ]; then
    BR2_EXTERNAL=$(sed 's/.*= //' "$sticky")
fi
export BR2_EXTERNAL_LUCKFOX_NPU_PATH=${BR2_EXTERNAL:-}
dl=${BR2_DL_DIR:-$PWD/dl}

value() { # value SYMBOL, without quotes and with make's variable in it replaced
    sed -n "s/^$1=\"\\?\\([^\"]*\\)\"\\?\$/\\1/p" "$CONFIG" |
        sed "s|\$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)|$BR2_EXTERNAL|g"
}

knob() { # knob NAME: does what a test asked for at this point, as in the stand-in's build.sh
    local what
    what=$(sed -n "s/^\([a-z]*\) $1\$/\1/p" /cache/dl/stand-in 2>/dev/null || true)
    case $what in
        fail)
            echo "error: $1: told to fail" >&2
            exit 1
            ;;
        hang)
            echo "hanging in $1"
            sleep 600
            ;;
        slow) sleep "$(cat /cache/dl/stand-in-seconds)" ;;
        full)
            echo "cp: error writing '$1': No space left on device" >&2
            exit 1
            ;;
    esac
}

# What our packages' makefiles say, read once and without starting programs.
declare -A VERSION SITE DEPENDS
read_packages() {
    local file name prefix line
    for file in "$BR2_EXTERNAL"/../package/*/*.mk; do
        name=${file##*/}
        name=${name%.mk}
        prefix=${name^^}
        prefix=${prefix//-/_}
        VERSION[$name]=1.0
        while read -r line; do
            case $line in
                "${prefix}_VERSION = "*) VERSION[$name]=${line#* = } ;;
                "${prefix}_DEPENDENCIES = "*) DEPENDS[$name]=${line#* = } ;;
                "${prefix}_SITE = \$(BR2_EXTERNAL_LUCKFOX_NPU_PATH)"*)
                    SITE[$name]=$BR2_EXTERNAL${line#*_PATH)}
                    ;;
            esac
        done <"$file"
    done
}

version() { VERSION_OF=${VERSION[$1]:-1.0}; }

# Selected packages, each after those of ours that it is built on.
order() {
    local line name
    declare -A listed=()
    ORDER=(busybox)
    while read -r line; do
        case $line in
            BR2_PACKAGE_*=y)
                name=${line#BR2_PACKAGE_}
                name=${name%=y}
                name=${name,,}
                name=${name//_/-}
                if known "$name"; then with_dependencies "$name"; fi
                ;;
        esac
    done < <(sort "$CONFIG")
}

known() {
    [ -n "${VERSION[$1]:-}" ] && return 0
    case $1 in busybox | openssh | e2fsprogs | htop | nano) return 0 ;; esac
    return 1
}

with_dependencies() {
    local other
    for other in ${DEPENDS[$1]:-}; do
        if [ -n "${VERSION[$other]:-}" ]; then with_dependencies "$other"; fi
    done
    if [ -z "${listed[$1]:-}" ]; then
        listed[$1]=y
        ORDER+=("$1")
    fi
}

message() { printf '\033[7m>>> %s %s %s\033[27m\n' "$1" "$VERSION_OF" "$2"; }

timed() { # timed start|end STEP PACKAGE: one line of build-time.log, in Buildroot's format
    printf '%s:%-5.5s:%-20.20s: %s\n' "${EPOCHREALTIME/,/.}" "$1" "$2" "$3" >>"$O/build/build-time.log"
}

download() {
    local name=$1 file folder
    version "$name"
    file=$dl/$name/$name-$VERSION_OF.tar.gz
    folder=$O/build/$name-$VERSION_OF
    [ -z "${SITE[$name]:-}" ] || return 0
    [ ! -f "$folder/.stamp_downloaded" ] || return 0
    message "$name" Downloading
    if [ ! -f "$file" ]; then
        if [ ! -e /sys/class/net/eth0 ]; then
            echo "wget: unable to resolve host address 'sources.buildroot.net'" >&2
            exit 1
        fi
        mkdir -p "$dl/$name"
        echo "source of $name" >"$file.part"
        mv "$file.part" "$file"
    fi
    mkdir -p "$folder"
    : >"$folder/.stamp_downloaded"
}

package() {
    local name=$1 folder source
    version "$name"
    folder=$O/build/$name-$VERSION_OF
    mkdir -p "$folder" "$O/target/usr/bin"
    # A local source is copied once; a change of it is not noticed (Buildroot's manual).
    if [ ! -e "$folder/.stamp_extracted" ]; then
        message "$name" Extracting
        source=${SITE[$name]:-}
        if [ -n "$source" ]; then
            rsync -a "$source/" "$folder/src/"
        fi
        touch "$folder/.stamp_extracted"
    fi
    if [ ! -e "$folder/.stamp_built" ]; then
        message "$name" Building
        timed start build "$name"
        # As a compiler's output under make: what exists is taken for whole.
        if [ ! -e "$folder/program" ]; then
            echo "first half of $name" >"$folder/program"
            (knob "$name") || { rm -f "$folder/program" && stop "$name" built; }
            {
                echo "$name $VERSION_OF, $(grep ^BR2_ARM_FPU_ "$CONFIG")"
                [ ! -d "$folder/src" ] || (cd "$folder/src" && find . -type f | sort | xargs sha256sum)
            } >>"$folder/program"
        fi
        timed end build "$name"
        touch "$folder/.stamp_built"
    fi
    if [ ! -e "$folder/.stamp_target_installed" ]; then
        message "$name" "Installing to target"
        timed start install-target "$name"
        mkdir -p "$O/target/usr/bin"
        cp "$folder/program" "$O/target/usr/bin/$name"
        echo "$name,./usr/bin/$name" >"$folder/.files-list.txt"
        # BUSYBOX_INSTALL_TELNET_SCRIPT of package/busybox/busybox.mk, after the fragments are merged.
        if [ "$name" = busybox ] && busybox_has FEATURE_TELNETD_STANDALONE; then
            mkdir -p "$O/target/etc/init.d"
            echo "start telnetd" >"$O/target/etc/init.d/S50telnet"
            echo "$name,./etc/init.d/S50telnet" >>"$folder/.files-list.txt"
        fi
        if [ "$name" = npu-module ] && [ -n "${PICO_KERNEL_MODULES:-}" ]; then
            source=lib/modules/$(cat "$PICO_KERNEL_MODULES/release")/rknpu.ko
            mkdir -p "$O/target/${source%/*}"
            cp "$PICO_KERNEL_MODULES/rknpu.ko" "$O/target/$source"
            echo "$name,./$source" >>"$folder/.files-list.txt"
        fi
        if [ "$name" = npu-models ]; then
            mkdir -p "$O/target/usr/share/npu-models"
            cp -rL "${PICO_MODELS_DIR:?}"/* "$O/target/usr/share/npu-models/"
            (cd "$O/target" && find ./usr/share/npu-models -type f) | sed 's/^/npu-models,/' \
                >>"$folder/.files-list.txt"
        fi
        timed end install-target "$name"
        touch "$folder/.stamp_target_installed" "$folder/.stamp_installed"
    fi
}

busybox_has() { # the last line wins, as with support/kconfig/merge_config.sh
    local line
    # shellcheck disable=SC2046 # a list of files
    line=$(cat package/busybox/busybox.config $(value BR2_PACKAGE_BUSYBOX_CONFIG_FRAGMENT_FILES) |
        grep -E "CONFIG_$1[= ]" | tail -n 1)
    [ "$line" = "CONFIG_$1=y" ]
}

stop() { # as pkg-generic.mk is named by make when a step fails
    echo "make[2]: *** [package/pkg-generic.mk:293: $O/build/$1-$VERSION_OF/.stamp_$2] Error 1" >&2
    exit 1
}

finalise() {
    local overlay script
    printf '\033[7m>>>   Finalizing target directory\033[27m\n'
    mkdir -p "$O/target/etc" "$O/images"
    value BR2_TARGET_GENERIC_HOSTNAME >"$O/target/etc/hostname"
    value BR2_PRIMARY_SITE >"$O/target/etc/primary-site"
    printf 'root:*:::::::\npico:*:::::::\n' >"$O/target/etc/shadow"
    printf 'root:x:0:0:root:/root:/bin/sh\npico:x:1000:1000::/home/pico:/bin/sh\n' >"$O/target/etc/passwd"
    printf 'root:x:0:\npico:x:1000:\n' >"$O/target/etc/group"
    for overlay in $(value BR2_ROOTFS_OVERLAY); do
        rsync -a "$overlay/" "$O/target/"
    done
    for script in $(value BR2_ROOTFS_POST_BUILD_SCRIPT); do
        # The words go through make's shell (target-finalize in Buildroot's Makefile).
        eval "$script $O/target $(value BR2_ROOTFS_POST_SCRIPT_ARGS)"
    done
    # As the users table says, under fakeroot; numeric owners (fs/tar/tar.mk).
    mkdir -p "$O/target/home/pico"
    chown -R 1000:1000 "$O/target/home/pico"
    tar cf "$O/images/rootfs.tar" --sort=name --numeric-owner -C "$O/target" .
}

case $1 in
    defconfig)
        # A defconfig of the external tree shadows one of the same name (section 3).
        file=$PWD/configs/$2
        [ ! -f "${BR2_EXTERNAL:-}/configs/$2" ] || file=$BR2_EXTERNAL/configs/$2
        [ -f "$file" ] || { echo "Can't find $2" >&2 && exit 1; }
        { echo 'BR2_PRIMARY_SITE="http://sources.buildroot.net"' && cat "$file"; } >"$CONFIG"
        ;;
    order)
        read_packages
        order
        printf '%s\n' "${ORDER[@]}"
        ;;
    info)
        # The keys are those that _json-info of package/pkg-utils.mk writes.
        read_packages
        order
        printf '{"host-fakeroot": {"type": "host", "name": "fakeroot", "virtual": false, '
        printf '"version": "1.30", "licenses": "GPL-3.0+"}'
        for name in "${ORDER[@]}"; do
            version "$name"
            printf ', "%s": {"type": "target", "name": "%s", "virtual": false, ' "$name" "$name"
            printf '"version": "%s", "licenses": "GPL-2.0, bzip2-1.0.4"}' "$VERSION_OF"
        done
        echo '}'
        ;;
    source)
        read_packages
        order
        for name in "${ORDER[@]}"; do download "$name"; done
        ;;
    build)
        read_packages
        order
        for name in "${ORDER[@]}"; do
            download "$name"
            package "$name"
        done
        finalise
        cat "$O"/build/*/.files-list.txt >"$O/build/packages-file-list.txt"
        ;;
    legal) # the columns of Buildroot's legal-info-prepare
        read_packages
        order
        rm -rf "$O/legal-info"
        mkdir -p "$O/legal-info/sources"
        {
            echo '"PACKAGE","VERSION","LICENSE","LICENSE FILES","SOURCE ARCHIVE","SOURCE SITE","DEPENDENCIES WITH LICENSES"'
            for name in "${ORDER[@]}"; do
                version "$name"
                mkdir -p "$O/legal-info/licenses/$name-$VERSION_OF"
                echo "licence of $name" >"$O/legal-info/licenses/$name-$VERSION_OF/LICENSE"
                echo "source" >"$O/legal-info/sources/$name.tar.gz"
                licence=$(sed -n "s/^[A-Z_]*_LICENSE = //p" "$BR2_EXTERNAL/../package/$name/$name.mk" 2>/dev/null | head -n 1)
                echo "\"$name\",\"$VERSION_OF\",\"${licence:-GPL-2.0}\",\"LICENSE\",\"\",\"not saved\",\"\""
            done
        } >"$O/legal-info/manifest.csv"
        ;;
esac
