"""Folders that a program takes for a board (``--root``): nothing is wrong with the one made here.

Texts are those that the vendor's kernel 5.10.160 prints (drivers/rknpu, mm/cma.c, the device tree
of the Pico Mini); numbers are those of boot logs that owners of boards published.
"""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import synthetic_results
from tests.support.model_cards import model_folder

FILES = {
    "proc/cmdline": "user_debug=31 storagemedia=sd androidboot.storagemedia=sd "
    "blkdevparts=mmcblk1:32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),"
    "256M(userdata),6G(rootfs) root=/dev/mmcblk1p7 rootfstype=ext4 rk_dma_heap_cma=24M\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: ARMv7 Processor rev 5 (v7l)\n"
    "CPU part\t: 0xc07\n\nHardware\t: Generic DT based system\nSerial\t\t: 0123456789abcdef\n",
    "proc/meminfo": "MemTotal:          34304 kB\nMemFree:           21000 kB\n"
    "MemAvailable:      25000 kB\nSwapTotal:             0 kB\nSwapFree:              0 kB\n"
    "CmaTotal:          24576 kB\nCmaAllocated:         12 kB\nCmaReleased:       24564 kB\n"
    "CmaFree:               0 kB\n",
    "proc/loadavg": "0.31 0.12 0.05 1/60 400\n",
    "proc/uptime": "33.00 20.00\n",
    "proc/stat": "cpu  1 2 3 4\nbtime 1767225600\n",
    "proc/version": "Linux version 5.10.160 (builder@yard) "
    "(arm-rockchip830-linux-uclibcgnueabihf-gcc 8.3.0) #1 Thu Jan 1 00:00:00 UTC 2026\n",
    "proc/mounts": "/dev/root / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n"
    "/dev/mmcblk1p5 /oem ext4 rw,nosuid,nodev,noatime 0 0\n"
    "/dev/mmcblk1p6 /userdata ext4 rw,nosuid,nodev,noatime 0 0\n",
    "proc/modules": "rknpu 49152 0 - Live 0xbf000000\n",
    "proc/partitions": "major minor  #blocks  name\n\n 179        0   31166976 mmcblk1\n",
    "proc/net/tcp": "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n"
    "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n",
    "proc/sys/kernel/hostname": "luckfox\n",
    "proc/device-tree/model": "Luckfox Pico Mini B\0",
    "proc/device-tree/compatible": "rockchip,rv1103g-38x38-ipc-v10\0rockchip,rv1103\0",
    "proc/device-tree/npu@ff660000/status": "okay\0",
    "proc/device-tree/cpu0-opp-table/opp-408000000/opp-hz": "\0\0\0\0\x18\x51\x96\0",
    "proc/device-tree/cpu0-opp-table/opp-1104000000/opp-hz": "\0\0\0\0\x41\xcd\xb4\0",
    "proc/rknpu/version": "RKNPU driver: v0.9.2\n",
    "proc/rknpu/freq": "420000000\n",
    "proc/rknpu/load": "NPU load:  0%\n",
    "proc/rknpu/power": "on\n",
    "proc/1/comm": "init\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1104000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq": "1104000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1104000\n",
    "sys/class/thermal/thermal_zone0/temp": "41200\n",
    "dev/rknpu": "",
    "etc/pico-image-release": "VARIANT=luckfox-pico-mini\nVERSION=0.1.0\nCOMMIT=" + "c" * 40 + "\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npico:x:1000:1000::/home/pico:/bin/sh\n",
    "usr/bin/npu-bench": "",
    "usr/bin/npu-runner": "",
    "usr/bin/neon-runner": "",
    "usr/bin/npu-doctor": "",
    "dmesg.txt": "<6>[    0.000000] Booting Linux on physical CPU 0x0\n"
    "<6>[    1.500000] RKNPU ff660000.npu: RKNPU: rknpu iommu is disabled, using non-iommu mode\n"
    "<6>[    1.600000] [drm] Initialized rknpu 0.9.2 20230825 for ff660000.npu on minor 0\n",
}


def healthy(root: Path) -> Path:
    """A board with a model, a result that was verified, and no fault."""
    for name, text in FILES.items():
        put(root, name, text)
    model_folder(root / "usr/share/npu-models/colours", npu=True)
    result = synthetic_results.result()
    for configuration in result["models"][0]["configurations"]:
        exact = {"verdict": "exact"} if configuration["engine"] == "npu" else None
        configuration["verification"] = exact
    put(root, "userdata/bench/20260101T000000Z-001.json", json.dumps(result))
    return root


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("latin-1"))


def change(root: Path, name: str, old: str, new: str) -> None:
    """Replace a part of a file, which must be there."""
    text = (root / name).read_bytes().decode("latin-1")
    assert old in text, (name, old)
    put(root, name, text.replace(old, new))
