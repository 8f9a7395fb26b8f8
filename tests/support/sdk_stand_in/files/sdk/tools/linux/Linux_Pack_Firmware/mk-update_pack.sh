#!/bin/bash
# Stand-in for the packer of update.img: `-id CHIP -i FOLDER`, as read in a fork of 2025-11. A part
# that it does not find is left out, and it still ends with 0.
chip='' folder=''
while [ $# -gt 0 ]; do
    case $1 in
        -id) chip=$2 ;;
        -i) folder=$2 ;;
    esac
    shift
done
[ -n "$chip" ] || exit 255
[ -f "$folder/env.img" ] || { echo "Not found file named  in the dir $folder" && exit 255; }
found=()
for name in download.bin {env,idblock,uboot,boot,oem,userdata,rootfs}.img; do
    if [ -f "$folder/$name" ]; then
        found+=("$folder/$name")
    else
        echo "Not found image file: $folder/$name"
        [ "$name" != download.bin ] || exit 255
    fi
done
cat "${found[@]}" | sha256sum >"$folder/update.img"
