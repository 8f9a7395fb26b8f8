#!/usr/bin/env bash
# Moves the volumes that all variants share between the engine and the files volumes/CACHE.tar.
#
# Usage: volumes.sh load|save CACHE...      CACHE: git, dl, ccache
#
# As root, and from where the engine keeps a volume: a container for it would have to be pulled.
set -euo pipefail

action=$1
shift
mkdir -p volumes
for cache in "$@"; do
    # By another name or label a build would refuse the volume.
    docker volume create --label luckfox-pico-npu=volume \
        --label "luckfox-pico-npu.cache=$cache" "luckfox-pico-npu-$cache" >/dev/null
    place=$(docker volume inspect --format '{{.Mountpoint}}' "luckfox-pico-npu-$cache")
    file=volumes/$cache.tar
    case $action in
        load)
            [ -f "$file" ] || continue
            tar xf "$file" -C "$place"
            # A runner has no room for both.
            rm "$file"
            ;;
        save) tar cf "$file" -C "$place" . ;;
        *)
            echo "unknown action $action" >&2
            exit 2
            ;;
    esac
done
