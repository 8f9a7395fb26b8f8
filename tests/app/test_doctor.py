"""npu-doctor, built for this machine under the sanitizers, on folders that stand for boards."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pico_image.board import privacy
from pico_image.board.privacy import Masker
from tests.app.build import APP, run
from tests.support import board_root, other_user
from tests.support.board_root import change, healthy, put
from tests.support.result_schema import validated


@dataclass(frozen=True)
class Seen:
    """What npu-doctor printed and wrote."""

    status: int
    printed: str
    document: dict[str, Any]

    def level(self, name: str) -> str:
        """The worst level of the findings of that name; "" when there is none."""
        levels = [f["level"] for f in self.document["findings"] if f["name"] == name]
        return next((word for word in ("problem", "note", "ok") if word in levels), "")

    def text(self, name: str) -> str:
        return "\n".join(
            f"{f['text']} -> {f['remedy']}" for f in self.document["findings"] if f["name"] == name
        )

    @property
    def faults(self) -> set[str]:
        return {f["name"] for f in self.document["findings"] if f["level"] != "ok"}


def doctor(host: Path, root: Path, *words: str | Path) -> Seen:
    output = root.parent / "doctor.json"
    done = run([host / "doctor/npu-doctor", "--root", root, "--output", output, *words])
    assert done.stderr == ""
    document = validated(output.read_text(encoding="utf-8"))
    output.unlink()
    return Seen(done.returncode, done.stdout, document)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return healthy(tmp_path / "board")


def test_nothing_is_wrong(host: Path, root: Path) -> None:
    seen = doctor(host, root)
    assert (seen.status, seen.faults) == (0, set()), seen.printed
    assert seen.document["not_read"] == []
    assert seen.printed.splitlines()[-1] == (
        f"npu-doctor: 0 problems; {root.parent}/doctor.json can be posted"
    )
    # What is put together, and where it came from.
    assert seen.document["recorded"] and not seen.document["emulated"]
    assert seen.document["facts"]["system"]["npu_driver"] == "RKNPU driver: v0.9.2"
    assert seen.document["facts"]["npu"]["freq"] == "420000000"
    assert seen.document["texts"]["mounts"] == board_root.FILES["proc/mounts"].splitlines()
    assert seen.document["texts"]["modules"] == ["rknpu 49152 0 - Live 0xbf000000"]
    newest = seen.document["result"]
    assert newest["file"] == "20260101T000000Z-001.json"
    assert newest["content"]["models"][0]["name"] == "mobilenet-v2"
    assert any("kernel oops" in line for line in seen.document["known_wrong"])
    assert seen.text("verification").startswith("mobilenet-v2 on the NPU: exact ->")


def test_a_simulators_answers_prove_nothing(host: Path, root: Path) -> None:
    simulated = {"verdict": "exact", "simulated": True}
    in_result(lambda result: npu_of(result).update(verification=simulated))(root)
    assert "exact, of a simulator: no proof for a board" in doctor(host, root).text("verification")


def test_the_runtime_that_was_chosen(host: Path, root: Path) -> None:
    put(root, "etc/npu-runtime", "1.6.0\n")
    assert doctor(host, root).document["texts"]["npu_runtime"] == ["1.6.0"]


def gone(name: str) -> Callable[[Path], None]:
    def remove(root: Path) -> None:
        path = root / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def changed(name: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda root: change(root, name, old, new)


def added(name: str, text: str) -> Callable[[Path], None]:
    def add(root: Path) -> None:
        before = (root / name).read_text() if (root / name).exists() else ""
        put(root, name, before + text)

    return add


def all_of(*faults: Callable[[Path], None]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for fault in faults:
            fault(root)

    return plant


def in_result(edit: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        path = root / "userdata/bench/20260101T000000Z-001.json"
        result = json.loads(path.read_text())
        edit(result)
        path.write_text(json.dumps(result))

    return plant


def npu_of(result: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = result["models"][0]["configurations"][2]
    assert found["engine"] == "npu"
    return found


NO_DRIVER = all_of(gone("proc/rknpu"), gone("dev/rknpu"), gone("proc/modules"))
CPUFREQ = "sys/devices/system/cpu/cpu0/cpufreq"
TCP = board_root.FILES["proc/net/tcp"].splitlines()[1] + "\n"
#: Name: the fault, the findings that it makes (no others), and words of the text or its remedy.
FAULTS: dict[str, tuple[Callable[[Path], None], dict[str, str], str]] = {
    "no driver": (NO_DRIVER, {"driver": "problem", "device": "problem"}, "S21appinit start"),
    "no node": (gone("dev/rknpu"), {"device": "problem"}, "there is no /dev/rknpu"),
    "driver too old": (
        changed("proc/rknpu/version", "0.9.2", "0.2.0"),
        {"driver-version": "problem"},
        "needs 0.2.1",
    ),
    "unknown driver": (
        changed("proc/rknpu/version", "0.9.2", "0.9.8"),
        {"driver-version": "note"},
        "nobody has reported driver 0.9.8 with kernel 5.10.160",
    ),
    "driver of the other kernel": (
        changed("proc/rknpu/version", "0.9.2", "0.8.2"),
        {"driver-version": "note"},
        "0.8.2 with 5.10.110",
    ),
    "driver that is not understood": (
        changed("proc/rknpu/version", "v0.9.2", "?"),
        {"driver-version": "note"},
        "not understood",
    ),
    "reported pair, not verified": (
        in_result(lambda result: npu_of(result).update(verification=None)),
        {"verification": "note", "runtime": "note"},
        "three threads report wrong or zero outputs",
    ),
    "CMA of 1 MB": (
        all_of(
            changed("proc/meminfo", "CmaTotal:          24576", "CmaTotal:           1024"),
            changed("proc/meminfo", "CmaReleased:       24564", "CmaReleased:        1012"),
        ),
        {"cma": "problem"},
        "invoke repack --cma 6M",
    ),
    "no CMA": (
        changed("proc/meminfo", "CmaTotal", "Other"),
        {"cma": "problem"},
        "keeps no contiguous memory",
    ),
    "CMA in use": (
        changed("proc/meminfo", "CmaReleased:       24564", "CmaReleased:           0"),
        {"cma": "problem"},
        "0 of 24576 KiB of contiguous memory are free",
    ),
    "CMA of an unknown rest": (
        all_of(
            changed("proc/meminfo", "CmaReleased", "Other"),
            changed("proc/meminfo", "CmaAllocated", "Another"),
        ),
        {"cma": "note"},
        "how much is free is not known",
    ),
    "rkipc": (added("proc/77/comm", "rkipc\n"), {"camera": "problem"}, "RkLunch-stop.sh"),
    "another chip": (
        changed("proc/device-tree/compatible", "rockchip,rv1103\0", "rockchip,rv1126\0"),
        {"chip": "problem"},
        "rockchip,rv1126, not an RV1103",
    ),
    "a -b chip": (
        changed("proc/device-tree/compatible", "rockchip,rv1103\0", "rockchip,rv1103b\0"),
        {"chip": "problem"},
        "an rv1103b: its NPU runs none of the models",
    ),
    "NPU disabled": (
        changed("proc/device-tree/npu@ff660000/status", "okay", "disabled"),
        {"device-tree": "problem"},
        'npu@ff660000 is "disabled"',
    ),
    "no node in the device tree": (
        all_of(NO_DRIVER, gone("proc/device-tree/npu@ff660000")),
        {"device-tree": "problem", "driver": "problem", "device": "problem"},
        "no node of the NPU",
    ),
    "NPU at another clock": (
        changed("proc/rknpu/freq", "420", "300"),
        {"npu-clock": "note"},
        "300 MHz instead of 420",
    ),
    "NPU too fast": (
        changed("proc/rknpu/freq", "420", "700"),
        {"npu-clock": "problem"},
        "700 MHz instead of 420",
    ),
    "CPU held down": (
        all_of(
            changed(f"{CPUFREQ}/scaling_max_freq", "1104", "816"),
            changed(f"{CPUFREQ}/scaling_cur_freq", "1104", "816"),
        ),
        {"cpu-clock": "problem"},
        "816 MHz at most, its limit is 1104",
    ),
    "CPU below the device tree": (
        all_of(
            *(
                changed(f"{CPUFREQ}/{name}", "1104", "816")
                for name in ("scaling_max_freq", "scaling_cur_freq", "cpuinfo_max_freq")
            )
        ),
        {"cpu-clock": "note"},
        "limit is 816 MHz; the device tree has up to 1104",
    ),
    "CPU slowed": (
        changed(f"{CPUFREQ}/scaling_cur_freq", "1104", "600"),
        {"cpu-clock": "note"},
        "runs at 600 MHz, below",
    ),
    "governor": (
        changed(f"{CPUFREQ}/scaling_governor", "performance", "ondemand"),
        {"governor": "note"},
        "ondemand",
    ),
    "little memory": (
        changed("proc/meminfo", "MemAvailable:      25000", "MemAvailable:      12000"),
        {"memory": "note"},
        "12000 of 34304",
    ),
    "hardly any memory": (
        changed("proc/meminfo", "MemAvailable:      25000", "MemAvailable:       5000"),
        {"memory": "problem"},
        "5000 of 34304",
    ),
    "root on another card": (
        changed("proc/cmdline", "root=/dev/mmcblk1p7", "root=/dev/mmcblk0p7"),
        {"root": "problem"},
        "on /dev/mmcblk0p7, not on the card",
    ),
    "another root than asked for": (
        changed("proc/mounts", "/dev/root", "/dev/mmcblk0p3"),
        {"root": "problem"},
        "on /dev/mmcblk0p3, not on the card",
    ),
    "started from the flash": (
        lambda root: put(
            root, "proc/cmdline", "storagemedia=mtd root=ubi0:rootfs rootfstype=ubifs\n"
        ),
        {"root": "problem"},
        "did not start from our card",
    ),
    "root read-only": (
        changed("proc/mounts", "/ ext4 rw", "/ ext4 ro"),
        {"root": "problem"},
        "mounted read-only",
    ),
    "oem not mounted": (
        changed("proc/mounts", "/dev/mmcblk1p5 /oem", "/dev/mmcblk1p5 /mnt/sdcard"),
        {"oem": "problem"},
        "S20linkmount",
    ),
    "userdata not mounted": (
        changed("proc/mounts", " /userdata", " /mnt/sdcard"),
        {"userdata": "problem"},
        "/userdata is not mounted",
    ),
    "userdata in memory": (
        changed("proc/mounts", "/dev/mmcblk1p6 /userdata ext4", "tmpfs /userdata tmpfs"),
        {"userdata": "problem"},
        "lost at power-off",
    ),
    "userdata read-only": (
        changed("proc/mounts", "/userdata ext4 rw", "/userdata ext4 ro"),
        {"userdata": "problem"},
        "mounted read-only",
    ),
    "file system error": (
        added("dmesg.txt", "<2>[ 9.1] EXT4-fs error (device mmcblk1p6): ext4_lookup:1700\n"),
        {"file-systems": "problem"},
        "EXT4-fs error (device mmcblk1p6)",
    ),
    "oops": (
        added(
            "dmesg.txt",
            "<1>[ 9.1] 8<--- cut here ---\n<1>[ 9.1] Unable to handle kernel NULL pointer "
            "dereference at virtual address 00000000\n<0>[ 9.2] Internal error: Oops: 5 [#1] ARM\n",
        ),
        {"kernel-oops": "problem"},
        "Internal error: Oops: 5",
    ),
    "out of memory": (
        added("dmesg.txt", "<3>[ 9.1] Out of memory: Killed process 300 (neon-runner)\n"),
        {"out-of-memory": "problem"},
        "Killed process 300",
    ),
    "NPU timeout": (
        added(
            "dmesg.txt",
            "<3>[ 9.1] RKNPU ff660000.npu: RKNPU: job timeout, flags: 0x0, irq status: 0x0\n",
        ),
        {"npu-timeout": "problem"},
        "job timeout, flags",
    ),
    "clock not set": (
        changed("proc/stat", "btime 1767225600", "btime 0"),
        {"clock": "note"},
        "clock is not set",
    ),
    "telnetd": (added("proc/78/comm", "telnetd\n"), {"telnet": "problem"}, "killall telnetd"),
    "port 23": (
        added("proc/net/tcp6", TCP.replace("00000000:0016", "0" * 32 + ":0017")),
        {"telnet": "problem"},
        "port 23",
    ),
    "adbd": (added("proc/79/comm", "adbd\n"), {"adb": "problem"}, "killall adbd"),
    "port 5555": (
        added("proc/net/tcp", TCP.replace(":0016", ":15B3")),
        {"adb": "problem"},
        "root shell without a password",
    ),
    "wrong answers": (
        in_result(lambda result: npu_of(result).update(verification={"verdict": "wrong"})),
        {"verification": "problem"},
        "computes mobilenet-v2 wrong",
    ),
    "failed benchmark": (
        in_result(lambda result: result.update(outcome="failed", failures=["no picture"])),
        {"result": "problem"},
        "no picture",
    ),
    "broken result": (
        lambda root: put(root, "userdata/bench/20260102T000000Z-001.json", '{"schema": '),
        {"result": "problem", "verification": "note"},
        "20260102T000000Z-001.json, cannot be used",
    ),
    "no result": (
        gone("userdata/bench"),
        {"result": "note", "verification": "note"},
        "no benchmark result yet",
    ),
    "model file missing": (
        gone("usr/share/npu-models/colours/int8.tflite"),
        {"models": "problem"},
        "colours lacks int8.tflite",
    ),
    "picture missing": (
        gone("usr/share/npu-models/colours/images/red.png"),
        {"models": "problem"},
        "colours lacks images/red.png",
    ),
    "broken card": (
        lambda root: put(root, "usr/share/npu-models/colours/model.json", "{"),
        {"models": "problem"},
        "invoke deploy --model",
    ),
    "no model": (gone("usr/share/npu-models"), {"models": "note"}, "no model is installed"),
    "no program": (gone("usr/bin/npu-runner"), {"programs": "note"}, "npu-runner is not installed"),
    "none of our images": (gone("etc/pico-image-release"), {"image": "note"}, "none of our images"),
    "no kernel log": (gone("dmesg.txt"), {"kernel-log": "note"}, "run npu-doctor as root"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_with_its_remedy(host: Path, root: Path, name: str) -> None:
    fault, expected, words = FAULTS[name]
    fault(root)
    seen = doctor(host, root)
    assert {name: seen.level(name) for name in seen.faults} == expected, seen.printed
    assert words in "\n".join(seen.text(name) for name in expected), seen.printed
    assert seen.status == (1 if "problem" in expected.values() else 0)
    for finding in seen.document["findings"]:
        assert (finding["remedy"] is None) == (finding["level"] == "ok"), finding


def test_a_board_that_is_the_vendors(host: Path, root: Path) -> None:
    """Everything at once: each finding is there, none hides another."""
    for fault, _, _ in (FAULTS[name] for name in ("rkipc", "telnetd", "adbd", "oops", "governor")):
        fault(root)
    seen = doctor(host, root)
    assert seen.faults == {"camera", "telnet", "adb", "kernel-oops", "governor"}
    assert seen.printed.splitlines()[-1].startswith("npu-doctor: 4 problems; ")
    assert any("camera" in line for line in seen.document["known_wrong"])


def test_an_emulator_has_no_npu_to_complain_about(host: Path, root: Path) -> None:
    NO_DRIVER(root)
    change(root, "proc/cmdline", "rootfstype", "pico.emulated=1 rootfstype")
    put(root, "proc/device-tree/compatible", "linux,dummy-virt\0")
    shutil.rmtree(root / "sys")
    seen = doctor(host, root)
    assert (seen.status, seen.faults) == (0, {"chip"}), seen.printed
    assert seen.document["emulated"]


def test_a_user_without_access_to_the_device(host: Path, root: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    plain = ["setpriv", f"--reuid={other_user.NOBODY}", f"--regid={other_user.NOBODY}",
             "--clear-groups"]  # fmt: skip
    # Others may enter neither the folders that pytest makes nor the cache.
    with tempfile.TemporaryDirectory(prefix="pico-doctor-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        board = shutil.copytree(root, folder / "board", symlinks=True)
        (board / "dev/rknpu").chmod(0o600)
        program = shutil.copy(host / "doctor/npu-doctor", folder)
        output = folder / "doctor.json"
        run([*plain, program, "--root", board, "--output", output])
        text = output.read_text()
    findings = {f["name"]: f for f in json.loads(text)["findings"]}
    assert findings["device"]["level"] == "problem"
    assert "cannot be used by user 65534 (mode 0600, owner 0" in findings["device"]["text"]
    assert "run as root" in findings["device"]["remedy"]


def test_a_file_that_never_answers_costs_itself_alone(host: Path, root: Path) -> None:
    """A reader that hangs in a driver (here: a pipe that nobody writes to) is given up."""
    for name in ("rknpu/power", "modules"):
        (root / "proc" / name).unlink()
        os.mkfifo(root / "proc" / name)
    seen = doctor(host, root)
    assert seen.document["not_read"] == [
        f"{path} could not be read: no answer" for path in ("/proc/rknpu/power", "/proc/modules")
    ]
    assert seen.document["facts"]["npu"]["power"] is None
    assert seen.document["facts"]["npu"]["freq"] == "420000000"
    assert seen.document["texts"]["modules"] is None
    assert seen.document["texts"]["kernel_log"] and seen.document["texts"]["partitions"]
    assert seen.faults == set()


def test_forbidden_files_are_not_opened(host: Path, root: Path) -> None:
    """The trap: opening this one would hang until the group is given up, which would be seen."""
    os.mkfifo(root / "proc/rknpu/volt")
    seen = doctor(host, root)
    assert (seen.status, seen.document["not_read"]) == (0, [])


def test_the_default_is_a_new_file_beside_the_results(host: Path, root: Path) -> None:
    done = [run([host / "doctor/npu-doctor", "--root", root]) for _ in range(2)]
    names = sorted(path.name for path in (root / "userdata/bench").glob("doctor-*.json"))
    assert len(names) == 2
    assert re.fullmatch(r"doctor-\d{8}T\d{6}Z-001.json", names[0])
    for each in done:
        path = Path(each.stdout.splitlines()[-1].split("; ")[1].removesuffix(" can be posted"))
        # A doctor's file is no result, though it is the newest.
        newest = json.loads(path.read_text())["result"]
        assert newest["file"] == "20260101T000000Z-001.json"


def test_json_alone_on_stdout(host: Path, root: Path) -> None:
    put(root, "proc/78/comm", "telnetd\n")
    done = run([host / "doctor/npu-doctor", "--root", root, "--output", "-"])
    assert done.returncode == 1
    assert json.loads(done.stdout)["kind"] == "doctor"
    assert "telnet is open" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--root", "/no/such"], "--root /no/such: there is no such folder"),
        (["--output"], "--output needs a value"),
        (["--min-runs", "3"], "unknown option --min-runs"),
        (["now"], "unexpected argument now"),
    ],
)
def test_bad_input(host: Path, words: list[str], message: str) -> None:
    done = run([host / "doctor/npu-doctor", *words])
    assert done.returncode == 2
    assert f"npu-doctor: error: {message}" in done.stderr


def test_findings_are_printed_even_where_nothing_can_be_written(host: Path, root: Path) -> None:
    put(root, "proc/78/comm", "telnetd\n")
    done = run([host / "doctor/npu-doctor", "--root", root, "--output", root / "no/such/x.json"])
    assert done.returncode == 2
    assert "telnet is open" in done.stdout
    assert "could not write" in done.stderr and "--output names another file" in done.stderr


def test_bytes_that_are_no_text(host: Path, root: Path) -> None:
    junk = bytes(range(1, 256)) + b"\xc3\xa9 \xf0\x9f\x98\x80 \xed\xa0\x80 \xc0\x80\n\0after\n"
    (root / "dmesg.txt").write_bytes(junk + b"job timeout\n")
    seen = doctor(host, root)
    log = "\n".join(seen.document["texts"]["kernel_log"])
    assert "\u00e9 \U0001f600 ??? ??" in log and "after" in log
    assert seen.level("npu-timeout") == "problem"


# -- what must not be in a file that is posted

HEX = "0123456789abcdef"
#: Texts that look like something private and are useful as they are.
HARMLESS = (
    "mmc@ffa90000 npu@ff660000 cpu@f00 32K@32K(env),512K@32K(idblock)",
    "2.3.2 (429f97ae6b@2025-04-09T09:09:27) v1.2.3.4",
    "12:34:56 0000:00:00.0 0x1f:2 std::face",
    "sp : c1a2be10  ip : c0a80001  fp : 00000000 user_id=0 pc : [<bf000000>]",
    "440795202592 ns 0xc0008000 " + "5dcaf620" * 8 + " " + "c" * 40,
    "ff4c0000.serial: ttyFIQ0 at MMIO Serial: 8250/16550 driver SerialNumber=3",
    "/home/pico/x /sys/devices/platform/ff2a0000.Mmc0/mmc_host/mmc1/block9",
    "root=/dev/mmcblk1p7 luckfox2.grow=no luckfox-pico-mini",
    "Key type dns_resolver registered; pass 3 of 4",
)


def secrets(generator: random.Random) -> list[tuple[str, str]]:
    """Texts with a value that identifies somebody, and the value."""

    def digits(count: int, letters: str = HEX) -> str:
        return "".join(generator.choice(letters) for _ in range(count))

    def name() -> str:
        return generator.choice("qxzvw") + digits(generator.randint(4, 9), "abcdefghijklmnopqrstu")

    octets = [digits(2) for _ in range(6)]
    octets[0] = "a" + octets[0][1]
    address = str(generator.choice([10, 192, 172, 8])) + "".join(
        f".{generator.randint(0, 255)}" for _ in range(3)
    )
    groups = [digits(generator.randint(1, 4)) for _ in range(8)]
    cut, resume = sorted((generator.randint(2, 4), generator.randint(5, 8)))
    six = generator.choice(
        [":".join(groups), ":".join(groups[:cut]) + "::" + ":".join(groups[resume:])]
    )
    uuid = "-".join(digits(count) for count in (8, 4, 4, 4, 12))
    around = generator.choice(
        ["{}", "={}", "({})", "[{}]", "{},x", '"{}"', "at {}.", "<{}>", "{};"]
    )
    free = [
        *(sign.join(octets) for sign in ":-"),
        ":".join(octets).upper(),
        "".join(octets),
        ".".join("".join(octets[i : i + 2]) for i in (0, 2, 4)),
        *(address, f"{address}"),
        six,
        uuid,
    ]
    found = [(f"[ 1.0] eth0: word {around.format(value)}", value) for value in free]
    found += [(f"x{':'.join(octets)}{after}", ":".join(octets)) for after in ("", "z", "45")]
    found += [(f"inet6 addr:{six}/64", six), (f"inet addr:{address}/24", address)]
    found += [(f"from {address}:8080 to [{six}]:22", value) for value in (address, six)]
    serial, key, user, host, network = (
        digits(16, HEX + "ABCDEF"),
        digits(14),
        name(),
        name(),
        name(),
    )
    network = f"{network} {name()}"
    found += [
        (text.format(serial), serial)
        for text in (
            "usb 1-1: SerialNumber: {}", "Serial\t\t: {}", "androidboot.serialno={} x", "serial={}",
        )
    ]  # fmt: skip
    found += [
        (text.format(key), key)
        for text in (
            "wifi_psk={} x", "password: {}", 'psk="{}"', "my.token={}", "passwd={},x",
            "root:$6$salt${}longer:1:",
        )
    ]  # fmt: skip
    found += [
        (text.format(user), user)
        for text in (
            "Linux version 5.10 ({}@beef) (gcc)", "mail {}@example.org now", "/home/{}/x",
            "user={} x", "ftp://{}:pw@example.org/x",
        )
    ]  # fmt: skip
    found += [
        (text.format(host), host)
        for text in (
            "Linux version 5.10 (me@{}) (gcc)", "hostname={} x", "http://{}.lan:80/x", "bob@{}.lan",
            f"ip={address}::{address}:255.255.255.0:{{}}:eth0:off", "nfsroot={}:/srv",
        )
    ]  # fmt: skip
    found += [
        (text.format(network), network)
        for text in ('ssid="{}" x', "wlan0: SSID: {}, ch 6", "ssid {};", "essid={}")
    ]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_no_private_value_survives(host: Path, root: Path, seed: int) -> None:
    """Kernel log and command line full of them, in every notation: on the board and on the desk."""
    generator = random.Random(seed)
    found = [pair for _ in range(30) for pair in secrets(generator)]
    generator.shuffle(found)
    log = "\n".join([*HARMLESS, *(text for text, _ in found)])
    put(root, "dmesg.txt", log + "\n")
    line = " ".join(text.replace("\n", " ") for text, _ in found[:60])
    put(root, "proc/cmdline", board_root.FILES["proc/cmdline"].strip() + f" {line}\n")
    seen = doctor(host, root)
    once = Masker().text(log)
    for masked in (json.dumps(seen.document), once):
        left = [(text, value) for text, value in found if value.lower() in masked.lower()]
        assert left == []
    assert Masker().text(once) == once
    for lines in (seen.document["texts"]["kernel_log"], once.split("\n")):
        assert lines[: len(HARMLESS)] == list(HARMLESS)
    assert Masker().document(seen.document) == seen.document


def test_names_of_this_board_are_masked_wherever_they_stand(host: Path, root: Path) -> None:
    """Names have no form: they come from the board's own files."""
    put(root, "proc/sys/kernel/hostname", "kitchen\n")
    put(root, "etc/passwd", board_root.FILES["etc/passwd"] + "alice:x:1001:1001::/srv:/bin/sh\n")
    put(
        root, "etc/wpa_supplicant.conf", 'network={\n  ssid="Green House"\n  psk="tell-nobody"\n}\n'
    )
    put(root, "sys/class/net/eth0/address", "02:11:22:33:44:55\n")
    change(root, "proc/cpuinfo", "0123456789abcdef", "1122334455667788")
    log = (
        "kitchen login: alice, on KITCHEN.lan; kitchenette; joined green house with tell-nobody\n"
        "mac 021122334455 and 02:11:22:33:44:55, chip 1122334455667788, kitchen.grow=no\n"
    )
    put(root, "dmesg.txt", log)
    document = doctor(host, root).document
    masked = json.dumps(document).lower()
    for value in ("alice", "green house", "tell-nobody", "021122334455", "1122334455667788"):
        assert value not in masked
    first, second = document["texts"]["kernel_log"]
    assert first.startswith(
        "<host-1> login: <user-1>, on <host-1>.lan; kitchenette; joined <ssid-1>"
    )
    assert second == "mac <mac-1> and <mac-1>, chip <serial-1>, kitchen.grow=no"
    assert document["facts"]["system"]["image"]["VARIANT"] == "luckfox-pico-mini"


def test_board_and_desk_know_the_same_words() -> None:
    text = (APP / "doctor/mask.c").read_text()
    table = text.partition("secret_names[] = {")[2].partition("};")[0]
    names = dict(re.findall(r'\{"([^"]+)", "([^"]+)"\}', table))
    words = text.partition("common_words[] = {")[2].partition("};")[0]
    assert names == privacy.KIND_OF
    assert set(re.findall(r'"([^"]+)"', words)) == privacy.COMMON
