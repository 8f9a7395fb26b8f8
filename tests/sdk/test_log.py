"""What the output of a build tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from pico_image.engine.run import Ended
from pico_image.sdk import log
from pico_image.sdk.log import Follower, plain, relevant, timings

FAILED = Ended(2, False)
LOG = """\
1700000000.000000000:start:extract             : zlib
1700000001.500000000:end  :extract             : zlib
1700000001.500000000:start:build               : zlib
1700000011.500000000:end  :build               : zlib
1700000020.000000000:start:build               : host-cmake
1700000320.000000000:end  :build               : host-cmake
1700000320.000000000:start:build               : openssh
"""


def test_timings_as_buildroot_writes_them() -> None:
    assert timings(LOG) == {"zlib": 11.5, "host-cmake": 300.0}
    assert timings("rubbish\n1:start:x\n") == {}


def feed(follower: Follower, *lines: str) -> None:
    for number, line in enumerate(lines):
        follower.feed(line, now=float(number))


def test_downloading_is_not_building() -> None:
    follower = Follower()
    feed(follower, "\x1b[7m>>> zlib 1.2.13 Downloading\x1b[27m")
    assert follower.headline() == "downloading zlib"
    assert follower.done == 0


def test_count_order_and_time_left() -> None:
    follower = Follower({"zlib": 12.0, "openssh": 60.0, "busybox": 30.0})
    feed(follower, *(f"@order {name}" for name in ("busybox", "zlib", "openssl", "openssh")))
    assert follower.total == 4
    feed(follower, ">>> busybox 1.36.1 Extracting", ">>> busybox 1.36.1 Building")
    # 30 s less the one that has passed, zlib, openssl (never timed: 10 s) and openssh.
    assert follower.seconds_left(now=1.0) == 29 + 12 + 10 + 60
    assert follower.headline(now=1.0) == "package 1 of 4, 2 min left: busybox, Building"
    follower.feed(">>> zlib 1.2.13 Extracting", now=30.0)
    assert follower.headline(now=30.0).startswith("package 2 of 4, 82 s left: zlib")
    follower.feed(">>>   Finalizing target directory", now=100.0)
    assert follower.headline() == "Finalizing target directory"


def test_what_earlier_runs_built_is_not_counted() -> None:
    follower = Follower()
    feed(follower, *(f"@order {name}" for name in ("a", "b", "c", "d")), ">>> c 1.0 Building")
    assert (follower.done, follower.total) == (1, 2)
    assert follower.seconds_left() is None


def test_package_that_failed() -> None:
    follower = Follower()
    feed(
        follower,
        "make[2]: *** [package/pkg-generic.mk:293: /b/output/build/openssh-9.1p1/.stamp_built] "
        "Error 2",
        "make[1]: *** [Makefile:82: _all] Error 2",
    )
    assert follower.failed_package == "openssh-9.1p1"


def test_relevant_lines_begin_at_the_first_that_tells() -> None:
    lines = [f"  CC  file{number}.o" for number in range(50)]
    lines += ["x.c:3:1: error: unknown type name 'u33'", "    3 | u33 a;"]
    lines += [f"context {number}" for number in range(30)]
    lines += ["make: *** [all] Error 2"]
    shown = relevant(lines)
    assert len(shown) <= 15
    assert "x.c:3:1: error: unknown type name 'u33'" in shown
    assert shown[-1] == "make: *** [all] Error 2"
    assert relevant(["a", "", "b"]) == ["a", "b"]


#: CMake 3.25 and Buildroot's make, with a probe for each of 12 functions before the error.
CMAKE = [
    "-- The C compiler identification is GNU 8.3.0",
    "-- Looking for pthread.h - not found",
    "-- Could NOT find PkgConfig (missing: PKG_CONFIG_EXECUTABLE)",
    *(f"-- Looking for function_{number} - not found" for number in range(12)),
    "/b/host/bin/arm-gcc -Wall -Werror -c probe.c",
    "-- Performing Test HAVE_ERROR - Failed",
    "CMake Error at CMakeLists.txt:41 (find_package):",
    '  By not providing "FindJPEG.cmake" in CMAKE_MODULE_PATH this project has',
    "  asked CMake to find a package configuration file provided by JPEG.",
    "-- Configuring incomplete, errors occurred!",
    'See also "/b/output/build/image-libraries-1/CMakeFiles/CMakeOutput.log".',
    "make[1]: *** [package/pkg-generic.mk:273: /b/output/build/x-1/.stamp_configured] Error 1",
]


def test_a_probe_that_finds_nothing_is_no_failure() -> None:
    shown = relevant(CMAKE)
    assert "CMake Error at CMakeLists.txt:41 (find_package):" in shown
    assert shown[-1].endswith("Error 1")
    assert "-- Looking for pthread.h - not found" not in shown
    # Without an error of its own, make's last words are what is left.
    assert relevant([*CMAKE[:15], CMAKE[-1]])[-1] == CMAKE[-1]


def test_colours_are_taken_off() -> None:
    assert plain("\x1b[7m>>> a 1 Building\x1b[27m\x1b(B") == ">>> a 1 Building"


#: Ends of logs of builds that really failed, each with a cause that was put there: the scripts of a
#: fork of the SDK (2025-11) and Buildroot 2023.02.6, with paths of the container in place of the
#: machine's. The first telling line, and the failure that is recognised.
REAL = {
    "uboot-no-cc1": ("error trying to exec 'cc1'", None),
    "uboot-werror": ("error: ", None),
    "uboot-no-dtc": ("ERROR: No 'dtc', please", "missing-tool"),
    "uboot-disk-full": ("No space left on device", "disk-full"),
    "uboot-out-of-memory": ("fatal error: Killed signal", "out-of-memory"),
    "kernel-fragment": ("No configuration exists for this target", None),
    "kernel-dts": ("No rule to make target 'arch/arm/boot/dts/rv1103g", None),
    "kernel-header": ("linux/absent_header.h: No such file", None),
    "kernel-forbidden-warning": ("error, forbidden warning:page_alloc.c", None),
    "kernel-no-python": ("No such file or directory", "missing-tool"),
    "media": ("uses VFP register arguments", None),
    "packer": ("Not found image file: /build/parts/download.bin", None),
    "buildroot-compile": ("absent.h: No such file", None),
    "buildroot-patch": ("Hunk #1 FAILED", "patch"),
    "buildroot-hash": ("has wrong sha256 hash", "wrong-hash"),
    "buildroot-download": ("failed: Name or service not known", "download"),
}


@pytest.mark.parametrize("name", sorted(REAL))
def test_logs_of_real_failures(name: str) -> None:
    lines = (Path(__file__).parent / "logs" / f"{name}.txt").read_text().splitlines()
    cause, known = REAL[name]
    shown = relevant(lines)
    assert cause in "\n".join(shown[:4]), shown
    assert len(shown) <= 15
    assert not [line for line in shown if "******" in line or line.startswith(("Check", "Please"))]
    if name != "packer":
        assert shown[-1].startswith("make: *** ["), shown
    found = log.recognise(FAILED, lines)
    assert (found.name if found else None) == known


def test_every_real_log_is_read() -> None:
    assert {path.stem for path in (Path(__file__).parent / "logs").iterdir()} == set(REAL)


#: Lines as they were met: in the SDK's tracker (numbers in log.py), in Buildroot, in GCC.
MET = {
    "disk-full": "tar: ./usr/lib: Cannot write: No space left on device",
    "out-of-memory": "arm-gcc: fatal error: Killed signal terminated program cc1plus",
    "unfit-sdk": "error: this SDK has no driver of the NPU (sysdrv/source/kernel/drivers/rknpu)",
    "missing-tool": "ERROR: No 'dtc', please: apt-get install device-tree-compiler",
    "patch": "1 out of 1 hunk FAILED -- saving rejects to file main.c.rej",
    "dropped-symbol": "configs/variants/mine.yml:4: BR2_PACKAGE_HTOPP was asked to be y, is absent "
    "(Buildroot has no such symbol)",
    "npu-models": "npu-models: /src/models/x/model.rknn is missing; invoke convert-models",
    "wrong-hash": "ERROR: while checking hashes: zlib.tar.xz has wrong sha256 hash:",
    "download": "wget: unable to resolve host address 'sources.buildroot.net'",
    "case-insensitive": "make[3]: *** No rule to make target 'net/netfilter/xt_DSCP.o', needed by",
    "wrong-architecture": "arm-rockchip830-gcc: cannot execute: Exec format error",
}


@pytest.mark.parametrize("name", [failure.name for failure in log.KNOWN])
def test_known_failures(name: str) -> None:
    found = log.recognise(FAILED, ["CC a.o", MET[name], "make: *** [x] Error 1"])
    assert found is not None and found.name == name
    assert len(found.remedy) > 30


def test_nothing_is_recognised_in_a_plain_failure() -> None:
    assert log.recognise(FAILED, ["x.c:1: error: expected ';'", "make: *** [x] Error 1"]) is None
