#!/bin/sh
# Buildroot calls this when its images are written: post-image.sh IMAGES
# Prints the size of the root file system, before it is packed into its partition.
set -eu

images=${1:?usage: post-image.sh IMAGES_FOLDER}
if [ -f "$images/rootfs.tar" ]; then
	bytes=$(tar -tvf "$images/rootfs.tar" | awk '{ sum += $3 } END { printf "%d", sum }')
	echo "post-image: rootfs.tar holds $bytes bytes"
fi
