#!/bin/bash
# Stand-in (luckfox-sdk.md section 2): removes scripts and pictures from userdata.
rm -f "$RK_PROJECT_PACKAGE_USERDATA_DIR"/*.sh "$RK_PROJECT_PACKAGE_USERDATA_DIR"/*.bmp
echo "userdata-pre ran" >"$RK_PROJECT_PACKAGE_USERDATA_DIR/userdata-pre"
