#!/bin/bash
# Stand-in (luckfox-sdk.md section 2): thins the oem folder out.
echo "oem-pre ran" >"$RK_PROJECT_PACKAGE_OEM_DIR/oem-pre"
