#!/bin/sh
# The vendor's programs and libraries (an image with a camera) come last, so that none of them is taken
# for one of the system's. (The vendor's file of this name also sets HOME=/oem for every login.)
if [ -d /oem/usr/bin ]; then
    export PATH="$PATH:/oem/usr/bin"
fi
if ls /oem/usr/lib/*.so* >/dev/null 2>&1; then
    export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/lib:/usr/lib:/oem/usr/lib"
fi
