"""Real builds by Buildroot 2023.02.6 of all packages into a rootfs, and the runners run from it.

Which builds there are is told in tests/buildroot/building.py, where each source comes from in
tests/buildroot/offline.py and internal.py. BUILDROOT_DIR names Buildroot, VENDOR_TOOLCHAIN_DIR the
compiler of the SDK or one close to it. About nine minutes of two idle cores for each, the one with
Buildroot's own compiler thirty; PICO_BUILDROOT_OUTPUT keeps the folders, and another run goes on
from there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import counting
from pico_image.base.console import Console
from pico_image.base.files import ROOT
from pico_image.card import allowed
from pico_image.card.parts import listed_components
from pico_image.compile import programs
from pico_image.config.configuration import load
from pico_image.config.target import Target
from pico_image.image import sizes as size_report
from tests.buildroot import building, mdns, toolchain
from tests.buildroot.building import MODEL, Built
from tests.support import arm, booted_rootfs
from tests.support.version import PROJECT_VERSION

pytestmark = [pytest.mark.external, pytest.mark.slow, pytest.mark.qemu, pytest.mark.timeout(14400)]

#: Without npu-models: a package without a source is no part of Buildroot's legal-info, and the
#: licences of the models come from their cards (pico_image/image/licences.py).
OURS = (*building.RUNNERS, "npu-module", "tensorflow-lite-static")
FEW = ("--min-runs", "1", "--min-secs", "0", "--warmup-runs", "0")


@pytest.fixture(scope="module", params=building.BUILDS)
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Built]:
    buildroot = os.environ.get("BUILDROOT_DIR")
    if not buildroot:
        pytest.skip("BUILDROOT_DIR does not name a Buildroot tree")
    if arm.qemu() is None or shutil.which(f"{toolchain.TRIPLET}-g++") is None:
        pytest.skip("qemu-arm or the ARM cross compiler is not installed")
    name: str = request.param
    if name == "vendor" and not os.environ.get(building.VENDOR_VARIABLE):
        pytest.skip(f"{building.VENDOR_VARIABLE} does not name the SDK's toolchain or one like it")
    kept = os.environ.get("PICO_BUILDROOT_OUTPUT")
    folder = Path(kept) / name if kept else tmp_path_factory.mktemp(name)
    folder.mkdir(parents=True, exist_ok=True)
    runtime = os.environ.get("RKNN_RUNTIME_DIR")
    yield building.build(name, folder, Path(buildroot), Path(runtime) if runtime else None)


@pytest.fixture(scope="module")
def rootfs(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked root file system: users, modes and owners as on the board."""
    folder = tmp_path_factory.mktemp("rootfs")
    with tarfile.open(built.output / "images/rootfs.tar") as archive:
        archive.extractall(folder, filter="fully_trusted")
    return folder


def test_programs_are_static_and_for_neon(built: Built) -> None:
    for program in built.runners:
        path = built.target / "usr/bin" / program
        header = subprocess.run(
            ["readelf", "-lA", str(path)], capture_output=True, text=True, check=True
        ).stdout
        assert "INTERP" not in header, f"{program} is not static"
        assert re.search(r"Tag_Advanced_SIMD_arch: NEON", header)
        answer = built.run(program, "--version")
        assert answer.returncode == 0 and program in answer.stdout, answer.stderr
    with tarfile.open(built.output / "images/rootfs.tar") as rootfs:
        names = set(rootfs.getnames())
    assert {f"./usr/bin/{program}" for program in built.runners} <= names
    # Without an init Buildroot installs no package's script.
    assert ("./etc/init.d/S21appinit" in names) == built.is_system


@pytest.mark.parametrize("file", ["fp32.tflite", "int8.tflite"])
def test_neon_runner_of_the_rootfs_is_right(built: Built, file: str) -> None:
    """On every labelled photograph, with XNNPACK's NEON kernels for this core."""
    pictures = sorted((built.model / "images").iterdir())
    words = [word for picture in pictures for word in ("--image", picture)]
    done = built.run("neon-runner", "--model", built.model / file, *words, *FEW)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("top-1      right") == len(pictures) == 5
    # Of the int8 network one node, the last, is TensorFlow Lite's own.
    ran = re.search(r"XNNPACK runs (\d+) of (\d+) nodes in 1 part", done.stdout)
    assert ran and int(ran[1]) >= int(ran[2]) - 1 >= 60


def test_nothing_is_in_the_rootfs_that_an_image_may_not_have(built: Built) -> None:
    """Owners, modes and accounts as fakeroot packed them; post-build.sh has passed the rest."""
    target = Target.of(load(), "luckfox-pico-plus")
    private = built.output.parent / "private"
    allowed.check_archive(target, built.output / "images/rootfs.tar", private)


def test_the_build_is_what_it_says(built: Built) -> None:
    """Buildroot's own GCC for uClibc; or a program that another compiler made for glibc."""
    config = set((built.output / ".config").read_text().splitlines())
    assert ("BR2_TOOLCHAIN_USES_UCLIBC=y" in config) == (built.name != "glibc")
    program = (built.target / "usr/bin/neon-runner").read_bytes()
    assert (b"Fatal glibc error" in program) == (built.name in ("glibc", "prebuilt"))
    if built.name == "buildroot-uclibc":
        gcc = built.output / "host/bin/arm-buildroot-linux-uclibcgnueabihf-gcc"
        told = subprocess.run([gcc, "-v"], capture_output=True, text=True, check=True).stderr
        assert "Buildroot 2023.02.6" in told
        for option in ("--with-cpu=cortex-a7", "--with-fpu=neon-vfpv4", "--with-float=hard"):
            assert option in told
        assert (built.target / "lib/libuClibc-1.0.35.so").is_file()
    if built.name == "vendor":
        gcc = built.output / f"host/bin/{building.VENDOR_PREFIX}-gcc"
        version = subprocess.run([gcc, "-dumpversion"], capture_output=True, text=True, check=True)
        assert version.stdout.startswith("8.")
    if built.name == "prebuilt":
        assert not any("TENSORFLOW_LITE_STATIC=y" in line for line in config)
        outside = usual_neon_runner()
        one, two = (arm.run_arm([path, "--version"]) for path in (outside, built.neon_runner))
        assert one.stdout == two.stdout and outside.stat().st_size >= len(program)


def usual_neon_runner() -> Path:
    """Compiled by the distribution's newest cross compiler for glibc, as the emulator's is."""
    return programs.app(Console(), load()) / "bin/neon-runner"


@pytest.mark.parametrize("file", ["fp32.tflite", "int8.tflite"])
def test_scores_are_those_of_the_usual_build(built: Built, file: str) -> None:
    """Not the classes alone: every score, bit for bit, whatever compiled the network's kernels."""
    if built.name == "prebuilt":
        pytest.skip("this build has the usual program itself")
    pictures = sorted((built.model / "images").iterdir())
    words = [word for picture in pictures for word in ("--image", picture)]
    command = ["--model", built.model / file, *words, *FEW, "--json", "-", "--logits"]
    found = []
    for program in (built.neon_runner, usual_neon_runner()):
        done = arm.run_arm([program, *command], timeout=600)
        assert done.returncode == 0, done.stderr
        pictures_of = json.loads(done.stdout)["pictures"]
        # A score is a float32; the digits after it are those of the C library that printed it.
        found.append([np.float32(picture["logits"]) for picture in pictures_of])
    ours, usual = np.array(found[0]), np.array(found[1])
    assert ours.shape == (len(pictures), 1000)
    apart = np.abs(ours - usual).max()
    assert ours.tobytes() == usual.tobytes(), f"scores differ by up to {apart}"


@pytest.mark.parametrize("file", ["fp32.tflite", "int8.tflite"])
def test_an_older_compiler_costs_few_instructions(built: Built, file: str) -> None:
    """Of one inference, against the usual build; the steps around it are in neither count."""
    if built.name != "vendor":
        pytest.skip("the others have the usual build's compiler")
    counter = counting.plugin(Console())
    image = built.model / "images/coffee.png"
    counts = []
    for program in (built.neon_runner, usual_neon_runner()):
        words = (program, "--model", built.model / file, "--image", image)
        command = [*map(str, words), "--warmup-runs", "0", "--min-secs", "0", "--min-runs"]
        long, short = (counting.count(counter, [*command, runs]).total for runs in ("3", "1"))
        counts.append((long - short) / 2)
    print(f"{file}: {counts[0] / 1e6:.1f} M, usual build {counts[1] / 1e6:.1f} M")
    assert 0.9 < counts[0] / counts[1] < 1.05


def test_our_programs_compile_without_a_warning(built: Built) -> None:
    """With a compiler below 10 app/CMakeLists.txt does not make warnings errors."""
    for program in built.runners if built.name != "prebuilt" else ():
        done = built.make(f"{program}-dirclean", program)
        said = done.stdout + done.stderr
        assert re.search(rf"Linking C(XX)? executable .*{program}", said), said[-2000:]
        warnings = re.findall(r"^.*warning: .*$", said, re.M)
        assert not warnings, "\n".join(warnings)


def test_every_program_is_for_the_boards_libraries(built: Built) -> None:
    """The loader of uClibc, hard float, and each library that a program names is there."""
    if built.name != "vendor":
        pytest.skip("the boards' system is built with the vendor's libraries alone")
    programs_seen = 0
    libraries = {path.name for folder in ("lib", "usr/lib")
                 for path in (built.target / folder).glob("*.so*")}  # fmt: skip
    for path in sorted(built.target.rglob("*")):
        if path.is_symlink() or not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        said = subprocess.run(["readelf", "-hldA", str(path)], capture_output=True, text=True,
                              check=True).stdout  # fmt: skip
        name = path.relative_to(built.target)
        assert "hard-float ABI" in said, name
        loader = re.search(r"interpreter: (.*)\]", said)
        assert loader is None or loader[1].startswith("/lib/ld-uClibc.so."), f"{name}: {loader[1]}"
        needed = set(re.findall(r"Shared library: \[(.*)\]", said))
        assert needed <= libraries, f"{name} needs {needed - libraries}"
        programs_seen += loader is not None
    assert programs_seen >= 20


@pytest.mark.parametrize(
    ("program", "words", "says"),
    [
        ("usr/sbin/sshd", ["-V"], "OpenSSH_"),
        ("usr/bin/ssh-keygen", ["-A", "-f", "{folder}"], "generating new host keys"),
        ("sbin/e2fsck", ["-V"], "e2fsck 1."),
        ("sbin/resize2fs", ["-h"], "Usage: "),
        ("usr/sbin/avahi-daemon", ["--version"], "avahi-daemon 0.8"),
    ],
)
def test_what_else_the_board_gets_starts(
    built: Built, tmp_path: Path, program: str, words: list[str], says: str
) -> None:
    if built.name != "vendor":
        pytest.skip("the other builds have no OpenSSH and no e2fsprogs")
    (tmp_path / "etc/ssh").mkdir(parents=True)
    words = [word.format(folder=tmp_path) for word in words]
    done = arm.run_arm([built.target / program, *words], sysroot=built.target)
    assert says in done.stdout + done.stderr, done.stderr


def test_the_boards_root_file_system_boots(built: Built, tmp_path: Path) -> None:
    if built.name != "vendor":
        pytest.skip("the other builds have no OpenSSH and no e2fsprogs")
    password = (built.output.parent / "root-password.txt").read_text().strip()
    rootfs = built.output / "images/rootfs.tar"
    booted_rootfs.check_all(Target.of(load(), building.VARIANT), rootfs, password, tmp_path)


def test_npu_runner_of_the_rootfs(built: Built) -> None:
    if "npu-runner" not in built.runners:
        pytest.skip("this build has the prebuilt program alone")
    image = built.model / "images/coffee.png"
    done = built.run("npu-runner", "--model", built.model / "model.rknn", "--image", image, *FEW)
    program = (built.target / "usr/bin/npu-runner").read_bytes()
    if built.vendor:
        # Rockchip's library is in it and is asked; there is no NPU below this machine's kernel.
        assert done.returncode == 2
        assert "/dev/rknpu" in done.stderr, done.stderr
        assert b"librknnmrt version: 2.3.2" in program and b"(rknn-sim)" not in program
        folder = built.target / "usr/lib/npu-runner"
        versions = ["1.6.0", "2.3.2"] if built.legacy else []
        assert sorted(path.name for path in folder.glob("*")) == versions
        for version in versions:
            other = (folder / version / "npu-runner").read_bytes()
            assert f"librknnmrt version: {version} (".encode() in other
    else:
        assert b"(rknn-sim)" in program
        assert done.returncode == 0, done.stderr
        assert "SIMULATED NPU" in done.stderr
        assert "top-1      right (expected 967 espresso)" in done.stdout


def test_npu_bench_of_the_rootfs(built: Built, tmp_path: Path) -> None:
    """The benchmark starts the runners beside it; scripts stand before them for user-mode QEMU."""
    if "npu-bench" not in built.runners:
        pytest.skip("this build has the prebuilt program alone")
    for program in ("neon-runner", "npu-runner"):
        script = tmp_path / "programs" / program
        script.parent.mkdir(exist_ok=True)
        real = built.target / "usr/bin" / program
        script.write_text(f'#!/bin/sh\nexec {arm.qemu()} -cpu cortex-a7 {real} "$@"\n')
        script.chmod(0o755)
    done = built.run(
        "npu-bench", "--quick", "--programs", tmp_path / "programs",
        "--models", built.target / "usr/share/npu-models", "--output", tmp_path / "results",
    )  # fmt: skip
    found = list((tmp_path / "results").glob("*.json"))
    assert len(found) == 1, done.stdout + done.stderr
    assert json.loads(found[0].read_text())["schema"]
    assert "EfficientNet-Lite0" in done.stdout or MODEL in done.stdout


def test_system_of_the_rootfs(built: Built) -> None:
    """Users, init scripts, message of the day, access: what the board's files made of it."""
    if not built.is_system:
        pytest.skip("this build has programs alone")
    assert "npu-bench" in (built.target / "etc/motd").read_text()
    init = built.target / "etc/init.d"
    assert (init / "S95npu-bench").stat().st_mode & 0o111
    ours = ROOT / "board/luckfox-pico/overlay/etc/init.d/S21appinit"
    assert (init / "S21appinit").read_bytes() == ours.read_bytes()
    assert f"VARIANT={built.name}\n" in (built.target / "etc/pico-image-release").read_text()
    with tarfile.open(built.output / "images/rootfs.tar") as rootfs:
        shadow = rootfs.extractfile("./etc/shadow")
        assert shadow is not None
        lines = dict(line.split(":", 2)[:2] for line in shadow.read().decode().splitlines())
        home = rootfs.getmember("./home/pico")
    # The vendor's C library refuses a $6$ password; post-build.sh sees that in its headers.
    assert lines["root"].startswith("$1$" if built.name == "vendor" else "$6$")
    assert lines["pico"] in ("*", "!*", "!")
    assert (home.uid, home.gid) == (1000, 1000)
    shell = arm.run_arm(
        [built.target / "bin/busybox", "sh", "-n", init / "S20linkmount"], sysroot=built.target
    )
    assert shell.returncode == 0, shell.stderr
    applets = arm.run_arm([built.target / "bin/busybox", "--list"], sysroot=built.target)
    assert {"udhcpd", "timeout"} <= set(applets.stdout.split()), "init scripts run them"


def test_avahi_answers_to_the_boards_name(built: Built, rootfs: Path, tmp_path: Path) -> None:
    """pico.local: configuration, init script and daemon, which a PC at the other end asks."""
    if not built.is_system:
        pytest.skip("this build has programs alone")
    assert (rootfs / "etc/hostname").read_text() == "pico\n"
    script = rootfs / "etc/init.d/S50avahi-daemon"
    assert script.stat().st_mode & 0o111
    assert "$DAEMON -D" in script.read_text(), "mdns.py starts it the same way"
    settings = (rootfs / "etc/avahi/avahi-daemon.conf").read_text()
    assert "use-ipv4=yes" in settings and "#host-name=" in settings
    assert "avahi:" in (rootfs / "etc/passwd").read_text()
    if os.geteuid() != 0:
        pytest.skip("needs root for network namespaces")
    said = mdns.ask(rootfs, tmp_path)
    assert said["answer"] == f"{mdns.BOARD} from {mdns.BOARD}", said
    uid = next(line.split(":")[2] for line in (rootfs / "etc/passwd").read_text().splitlines()
               if line.startswith("avahi:"))  # fmt: skip
    assert said["user"] in ("avahi", uid), "root is dropped"


#: What was handed over for them has another licence text, or none.
OUR_LICENCE = (ROOT / "LICENSE").read_bytes()
OTHER_TEXT = {"host-fakeroot", "jpeg-turbo", "jpeg", "linux-headers"}


def test_legal_info_and_bill(built: Built) -> None:
    targets = built.make("-s", "show-targets").stdout.split()
    names = {name for name in targets if "rootfs" not in name}
    assert "neon-runner" in names and ("jpeg-turbo" in names) == (built.name != "prebuilt")
    wanted = sorted(names - OTHER_TEXT)
    built.make("legal-info-clean", "legal-info-prepare", *(f"{n}-legal-info" for n in wanted))
    components = {
        component.name for component in listed_components(built.output / "legal-info/manifest.csv")
    }
    expected = {*OURS, "cjson", "libpng", "libzlib"} | ({"rknn-runtime"} if built.vendor else set())
    if built.legacy:
        expected.add("rknn-runtime-legacy")
    if built.name == "prebuilt":
        expected = {"neon-runner"}
    if built.is_system:
        expected |= {"avahi", "busybox", "expat", "libdaemon"}
    if built.name == "vendor":
        expected |= {"e2fsprogs", "libopenssl", "openssh", "util-linux"}
    assert expected <= components
    licences = built.output / "legal-info/licenses"
    if built.name == "prebuilt":
        assert (licences / f"neon-runner-{PROJECT_VERSION}/LICENSE").read_bytes() == OUR_LICENCE
        return
    assert (licences / "tensorflow-lite-static-2.14.1/parts/xnnpack/LICENSE").is_file()
    assert (licences / f"npu-runner-{PROJECT_VERSION}/LICENSE").read_bytes() == OUR_LICENCE
    sources = {path.name for path in (built.output / "legal-info/sources").iterdir()}
    assert not any("rknn" in name for name in sources), "the vendor's library is not passed on"


def test_sizes_by_package(built: Built) -> None:
    sizes = size_report.measure(
        built.output / "images/rootfs.tar",
        built.output / "build/packages-file-list.txt",
    )
    assert {"npu-models", *built.runners} - {"npu-bench"} <= set(sizes.by_package)
    assert 2_000_000 < sizes.by_package["neon-runner"] < 4_800_000
