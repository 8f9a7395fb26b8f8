"""The booted image: what its console, its kernel and its init scripts say."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pico_image.base.errors import UserError
from pico_image.base.files import sha256_file
from pico_image.card.env import env_image, read_env
from pico_image.card.verify import read_sums
from pico_image.config.partitions import PartitionTable
from pico_image.emulator import bootloader, qemu
from pico_image.emulator.bootloader import read_partition_file
from pico_image.emulator.qemu import Machine, boot
from tests.support.emulated import Kit

pytestmark = pytest.mark.qemu

#: Available before any model is loaded; the int8 model needs about 7 MB and must leave 20.
LEAST_AVAILABLE_KB = 30_000


def output_of(machine: Machine, command: str) -> str:
    status, text = machine.run(command)
    assert status == 0, f"{command}: {status}\n{text}"
    return text


def test_the_machine_is_the_one_that_was_promised(machine: Machine) -> None:
    cpu = output_of(machine, "cat /proc/cpuinfo")
    assert "0xc07" in cpu, "not a Cortex-A7"
    assert cpu.count("processor") == 1
    memory = dict(re.findall(r"(\w+):\s+(\d+) kB", output_of(machine, "cat /proc/meminfo")))
    assert int(memory["MemTotal"]) < 64 * 1024
    assert int(memory["MemAvailable"]) > LEAST_AVAILABLE_KB
    assert " pico.emulated=1 " in output_of(machine, "cat /proc/cmdline")


def test_partitions_come_from_the_string_alone(machine: Machine, kit: Kit) -> None:
    table = PartitionTable.parse(kit.config.board("emulator").partitions)
    assert "CONFIG_CMDLINE_PARTITION is not set" in (kit.materials["kernel"] / "config").read_text()
    shown = output_of(
        machine,
        "cd /sys/class/block; for p in mmcblk0p*; do echo $p $(cat $p/start) $(cat $p/size); done",
    )
    assert shown.split("\n")[:-1] == [
        f"mmcblk0p{number} {part.offset // 512} {(part.size or 0) // 512}"
        for number, part in enumerate(table, 1)
    ]
    for number, part in enumerate(table, 1):
        link = output_of(machine, f"readlink /dev/block/by-name/{part.name}").strip()
        assert link == f"/dev/mmcblk0p{number}"


def test_file_systems_are_mounted_as_they_should_be_and_have_grown(machine: Machine) -> None:
    mounts = {
        fields[1]: (fields[0], set(fields[3].split(",")))
        for line in output_of(machine, "cat /proc/mounts").splitlines()
        if len(fields := line.split()) > 3
    }
    assert mounts["/"][0] == "/dev/mmcblk0p7" and "rw" in mounts["/"][1]
    assert mounts["/oem"][0] == "/dev/mmcblk0p5"
    assert mounts["/userdata"][0] == "/dev/mmcblk0p6"
    for place in ("/oem", "/userdata", "/tmp", "/run", "/proc", "/sys"):
        assert {"nosuid", "nodev"} <= mounts[place][1], place
    kib = int(output_of(machine, "df -k / | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2"))
    assert kib > 480 * 1024, "rootfs did not grow to its 512 MiB slot"


def test_the_shell_greets_with_how_to_run_the_benchmark(machine: Machine) -> None:
    said = machine.transcript().replace("\r", "")
    greeting, _, after = said.partition("root@pico-test:")
    assert after
    assert "npu-bench" in greeting and "/userdata/bench/" in greeting


def test_the_boot_is_free_of_complaints(machine: Machine) -> None:
    before_shell = machine.transcript().partition("root@pico-test:")[0]
    for word in ("can't", "not found", "No such", "rror", "FAILED", "panic", "could not"):
        assert word not in before_shell, before_shell
    assert "no rknpu.ko for Linux " in before_shell


def test_nothing_listens_and_nobody_can_log_in_with_a_password(machine: Machine) -> None:
    listening = output_of(machine, "netstat -ltun | tail -n +3")
    assert listening.strip() == ""
    assert "root:*:" in output_of(machine, "cat /etc/shadow")
    setuid = output_of(machine, "find / -xdev -perm -4000 -type f")
    assert setuid.strip() == ""


def test_every_init_script_passes_the_shell_that_runs_it(machine: Machine) -> None:
    scripts = output_of(machine, "ls /etc/init.d").split()
    assert {"rcS", "S20linkmount", "S21appinit", "S50usbdevice", "S95npu-bench"} <= set(scripts)
    for script in scripts:
        assert output_of(machine, f"ash -n /etc/init.d/{script}") == ""
        if script.startswith("S"):
            status, text = machine.run(f"/etc/init.d/{script} dance")
            assert status == 2 and "usage:" in text, script


def test_what_a_board_has_of_its_own_is_made_by_the_images_busybox(machine: Machine) -> None:
    """QEMU's processor has no serial number and no NPU: a root folder stands for a board."""
    assert output_of(machine, "echo $HOME; cd; pwd").split() == ["/root", "/root"]
    status, text = machine.run("mac-address eth0")
    assert status == 1 and "no serial number" in text
    board = "/tmp/board"
    try:
        output_of(machine, f"mkdir -p {board}/proc {board}/dev && >{board}/dev/rknpu")
        output_of(machine, f"printf 'Serial\\t\\t: 8bdeb3dd1eb63bc8\\n' >{board}/proc/cpuinfo")
        for role in ("eth0", "usb", "usb-host"):
            digest = hashlib.sha256(f"8bdeb3dd1eb63bc8 {role}".encode()).hexdigest()
            expected = ":".join(["02", *(digest[place : place + 2] for place in range(0, 10, 2))])
            said = output_of(machine, f"MAC_ROOT={board} mac-address {role}")
            assert said == f"{expected}\n"
        output_of(machine, f"chmod 0600 {board}/dev/rknpu")
        assert "already loaded" in output_of(
            machine, f"APPINIT_ROOT={board} /etc/init.d/S21appinit start"
        )
        assert output_of(machine, f"ls -l {board}/dev/rknpu").split()[::3][:2] == [
            "-rw-rw----",
            "npu",
        ]
    finally:
        machine.run(f"rm -rf {board}")


def test_programs_of_the_image_run(machine: Machine) -> None:
    for program in ("npu-bench", "neon-runner", "npu-runner", "npu-doctor"):
        assert program in output_of(machine, f"{program} --version")
    assert re.search(r"e2fsck \d", output_of(machine, "e2fsck -V 2>&1"))


def test_the_doctor_finds_nothing_wrong_but_no_npu(machine: Machine) -> None:
    try:
        status, text = machine.run("npu-doctor --output /tmp/doctor.json")
        assert status == 0, text
        text = text.replace("\r", "")
        assert re.search(r"^note +chip: this is an emulator", text, re.MULTILINE)
        for name in ("memory", "root", "oem", "userdata", "kernel-oops", "file-systems", "telnet"):
            assert re.search(rf"^ok +{name}: ", text, re.MULTILINE), text
        assert text.splitlines()[-1] == "npu-doctor: 0 problems; /tmp/doctor.json can be posted"
        document = json.loads(output_of(machine, "cat /tmp/doctor.json"))
    finally:
        machine.run("rm -f /tmp/doctor.json")
    assert document["emulated"] and not document["recorded"] and document["not_read"] == []
    assert document["facts"]["programs"]["npu-runner"]["version"].startswith("npu-runner ")
    assert any("Linux version" in line for line in document["texts"]["kernel_log"])
    assert "pico-test" not in json.dumps(document), "the host's name"


def test_the_benchmark_at_boot_obeys_its_settings(machine: Machine) -> None:
    output_of(machine, "cp /etc/npu-bench.conf /tmp/conf")
    try:
        output_of(
            machine,
            "mount -t tmpfs none /mnt && printf '#!/bin/sh\\n"
            # With its own line break in the same write: the prompt may come just before it.
            'echo "\\nran with $*"\\n>/tmp/ran\\nsleep 600\\n\' >/mnt/npu-bench && '
            "chmod +x /mnt/npu-bench",
        )
        output_of(machine, "printf 'AT_BOOT=no\\n' >/etc/npu-bench.conf")
        assert "ran" not in output_of(machine, "PATH=/mnt:$PATH /etc/init.d/S95npu-bench start")
        output_of(
            machine, "printf 'AT_BOOT=yes\\nOPTIONS=\"--quick --json -\"\\n' >/etc/npu-bench.conf"
        )
        # It returns at once though the program sleeps: a login never waits for the benchmark.
        output_of(machine, "(PATH=/mnt:$PATH; /etc/init.d/S95npu-bench start)")
        output_of(machine, "until [ -e /tmp/ran ]; do sleep 1; done")
        assert re.search(r"^ran with --quick --json -\r?$", machine.transcript(), re.MULTILINE)
        assert output_of(machine, "ps | grep -c '[n]pu-bench --quick'").strip() == "1"
        output_of(machine, "/etc/init.d/S95npu-bench stop")
        output_of(machine, "while ps | grep '[n]pu-bench --quick'; do sleep 1; done")
        output_of(machine, "mv /usr/bin/npu-bench /usr/bin/away")
        status, text = machine.run("/etc/init.d/S95npu-bench start")
        assert status == 1 and "not installed" in text
    finally:
        machine.run("mv /usr/bin/away /usr/bin/npu-bench; umount /mnt; rm -f /tmp/ran")
        machine.run("cp /tmp/conf /etc/npu-bench.conf")


def test_waiting_in_vain_ends_with_what_the_console_said(machine: Machine) -> None:
    with pytest.raises(qemu.MachineEnded, match=r"the moon: nothing of it in 1 s") as error:
        machine.wait_for("cheese", 1, what="the moon")
    assert "root@pico-test" in str(error.value) and str(machine.log) in str(error.value)


def test_half_a_line_is_not_taken_for_the_line(machine: Machine) -> None:
    """The console is read in pieces: "result /u" was once read as the name of a result."""
    machine.send("printf 'found /half-'; sleep 3; echo 'of it'; echo whole")
    assert machine.wait_for(r"^found (/.*?)\r?$")[1] == "/half-of it"
    machine.wait_for(r"^whole\r?$")
    machine.wait_for_shell()


def test_ctrl_c_goes_to_the_program_on_the_console(machine: Machine) -> None:
    # The program says itself that it has begun: between two commands, Ctrl-C would meet neither.
    machine.send("sh -c 'echo sleeping; exec sleep 600'")
    machine.wait_for(r"^sleeping\r?$")
    machine.write(b"\x03")
    # What is typed before the prompt may be thrown away with the line that Ctrl-C ends.
    machine.wait_for_shell()
    assert machine.run("true") == (0, "")


def test_what_was_written_survives_a_power_cut_and_a_clean_end(
    kit: Kit, own_card: Callable[[], Path]
) -> None:
    card = own_card()
    with boot(kit.console, card) as machine:
        machine.wait_for_shell()
        assert machine.run("echo whole >/userdata/bench/a && fsync /userdata/bench/a")[0] == 0
        machine.run("mkdir /userdata/d && fsync /userdata/bench && sync")
        machine.kill()
        assert not machine.running
    with boot(kit.console, card) as machine:
        machine.wait_for_shell()
        assert machine.run("cat /userdata/bench/a") == (0, "whole\n")
        machine.run("echo later >/userdata/b")
        machine.poweroff()
        assert not machine.running
        with pytest.raises(qemu.MachineEnded, match="it stopped"):
            machine.wait_for("anything", 5)
    read = read_partition_file
    assert read(card, "userdata", "/bench/a") == b"whole\n"
    assert read(card, "userdata", "/b") == b"later\n"
    with pytest.raises(UserError, match="no partition 'data'"):
        read(card, "data", "/b")


def test_damaged_userdata_is_repaired_or_replaced_in_memory_and_the_boot_goes_on(
    kit: Kit, own_card: Callable[[], Path]
) -> None:
    card = own_card()
    table = bootloader.read_card(card).table
    with card.open("r+b") as stream:
        stream.seek(table["oem"].offset + 1024)
        stream.write(bytes(1024))  # the first superblock: repaired from the second
        stream.seek(table["userdata"].offset)
        stream.write(b"\xff" * (table["userdata"].size or 0))  # nothing left to repair
    with boot(kit.console, card) as machine:
        machine.wait_for(r"mounts: oem repaired")
        machine.wait_for(r"mounts: userdata could not be repaired")
        machine.wait_for(r"userdata is in memory for now: ")
        machine.wait_for_shell()
        assert "/dev/mmcblk0p5 /oem ext4" in machine.run("cat /proc/mounts")[1]
        assert machine.run("mkdir /userdata/bench && echo x >/userdata/bench/x")[0] == 0
        machine.poweroff()


def test_a_partition_that_something_mounted_before_is_released_and_checked(
    machine: Machine,
) -> None:
    """As udev of the vendor's system does: every file system of the card on one folder."""
    mount = "mount -t ext4 /dev/mmcblk0p"
    state = "dd if=/dev/mmcblk0p5 bs=1 skip=1082 count=1 2>/dev/null | od -An -tu1"

    def start() -> list[str]:
        # Its messages go to the console, where a command's own output goes as well.
        text = output_of(machine, "/etc/init.d/S20linkmount start")
        return [line for line in text.splitlines() if line.startswith("mounts:")]

    try:
        # An error that only a check clears from s_state (byte 58 of the superblock).
        output_of(machine, "echo here >/sys/fs/ext4/mmcblk0p5/trigger_fs_error && umount /oem")
        assert output_of(machine, state).split() == ["3"]
        output_of(machine, f"{mount}5 /mnt && {mount}6 /mnt && {mount}7 /mnt")
        assert start() == [], "nothing to complain about"
        assert output_of(machine, state).split() == ["1"]
        mounts = output_of(machine, "grep -c '^/dev/mmcblk0p[56] ' /proc/mounts; cat /proc/mounts")
        assert mounts.startswith("2\n"), mounts
        assert "/dev/mmcblk0p5 /oem ext4 rw,nosuid,nodev" in mounts
        assert "/dev/mmcblk0p6 /userdata ext4 rw,nosuid,nodev" in mounts

        output_of(machine, f"umount /oem && {mount}5 /mnt")
        output_of(machine, "(cd /mnt && echo there >/tmp/there && exec sleep 600) & true")
        output_of(machine, "until [ -e /tmp/there ]; do sleep 1; done")
        assert start() == ["mounts: oem is in use on /mnt, so it is not checked"]
        assert "/dev/mmcblk0p5 /oem ext4 rw,nosuid,nodev" in output_of(machine, "cat /proc/mounts")
    finally:
        machine.run("kill $(pgrep -f 'sleep 600'); while pgrep -f 'sleep 600'; do sleep 1; done")
        machine.run("umount /mnt; mountpoint -q /oem || /etc/init.d/S20linkmount start")
        machine.run("rm -f /tmp/there")


def test_a_card_without_its_string_or_root_says_so_and_stops(
    kit: Kit, own_card: Callable[[], Path], images: Path
) -> None:
    card = own_card()
    variables = read_env((images / "env.img").read_bytes())
    with boot(kit.console, card, append="root=/dev/mmcblk0p9") as machine:
        with pytest.raises(qemu.MachineEnded, match="could not mount /dev/mmcblk0p9"):
            machine.wait_for_shell()
        machine.close()
    del variables["blkdevparts"]
    with card.open("r+b") as stream:
        stream.write(env_image(variables))
    with (
        pytest.raises(UserError, match="has no blkdevparts"),
        boot(kit.console, card),
    ):
        pytest.fail("booted without a layout")
    with card.open("r+b") as stream:
        stream.write(struct.pack("<I", 1))
    with pytest.raises(UserError, match="cannot be booted"):
        bootloader.read_card(card)


def test_the_built_image_is_not_written_to(images: Path, machine: Machine) -> None:
    assert machine.running
    sums = read_sums(images / "SHA256SUMS")
    assert sha256_file(images / "sdcard.img") == sums["sdcard.img"]
