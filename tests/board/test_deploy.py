"""Deploy and undo on a booted emulator image; what is refused before a byte goes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.board import compatibility, deploy
from pico_image.board.ssh import Connection
from tests.board.boards import Board
from tests.support import rknn_writer
from tests.support.model_cards import CLASSES, add_golden, model_folder


@pytest.mark.qemu
@pytest.mark.slow
def test_deploy_and_undo(board: Board, tmp_path: Path) -> None:
    models = {
        "colours": model_folder(tmp_path / "colours", title="Colours, newer"),
        "more": model_folder(tmp_path / "more"),
    }
    before = board.sh("find /usr/share/npu-models -type f | sort | xargs sha256sum")
    done = deploy.deploy(board.connection, models=models)
    assert "/usr/share/npu-models/colours/model.json" in done.files
    assert "/usr/share/npu-models/colours/int8.tflite" in done.unchanged
    assert "newer" in board.sh("cat /usr/share/npu-models/colours/model.json")
    sums = board.sh("sha256sum /usr/share/npu-models/more/*.tflite")
    assert hashlib.sha256((models["more"] / "int8.tflite").read_bytes()).hexdigest() in sums
    again = deploy.deploy(board.connection, models=models)
    assert again.files == []
    restored = deploy.undo(board.connection)
    assert "restored /usr/share/npu-models/colours/model.json" in restored
    assert "removed /usr/share/npu-models/more/model.json" in restored
    after = board.sh("find /usr/share/npu-models -type f | sort | xargs sha256sum")
    assert after == before
    with pytest.raises(UserError, match="no deploy to undo"):
        deploy.undo(board.connection)


@pytest.mark.qemu
@pytest.mark.slow
def test_deployed_programs_run(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(board.programs / "npu-bench", folder)
    with (folder / "npu-bench").open("ab") as stream:
        stream.write(b"another build")
    shutil.copy(board.programs / "npu-bench", folder / "not-there")
    done = deploy.deploy(board.connection, programs=folder)
    assert done.files == ["/usr/bin/npu-bench"]
    assert board.sh("npu-bench --version").startswith("npu-bench ")
    deploy.undo(board.connection)
    size = (board.programs / "npu-bench").stat().st_size
    assert board.sh("stat -c %s /usr/bin/npu-bench").strip() == str(size)


@pytest.mark.qemu
@pytest.mark.slow
def test_a_program_that_does_not_start_replaces_none(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    source = tmp_path / "main.c"
    source.write_text(
        '#include <stdio.h>\nint main(void) { fputs("no luck", stderr); return 3; }\n'
    )
    words = ["-static", str(source), "-o", str(folder / "npu-bench")]
    subprocess.run(["arm-linux-gnueabihf-gcc", *words], check=True)
    before = board.sh("sha256sum /usr/bin/npu-bench; ls /usr/share/pico-deploy; true")
    with pytest.raises(UserError, match=r"does not start on .* \(status 3\): no luck"):
        deploy.deploy(board.connection, programs=folder)
    assert board.sh("sha256sum /usr/bin/npu-bench; ls /usr/share/pico-deploy; true") == before


@pytest.mark.qemu
@pytest.mark.slow
def test_deploy_half_committed_is_undone(board: Board, tmp_path: Path) -> None:
    """As when the power goes between two renames."""
    folder = model_folder(tmp_path / "colours", title="Half")
    (folder / "filler").write_bytes(b"x")
    state = "find /usr/share/npu-models -type f | sort | xargs sha256sum"
    before = board.sh(state)
    with pytest.MonkeyPatch.context() as patch:
        dying = deploy.COMMIT.replace(
            '    mv -f "', '    [ ! -e died ] || exit 9; touch died\n    mv -f "'
        )
        patch.setattr(deploy, "COMMIT", dying)
        with pytest.raises(UserError, match="put the files in place"):
            deploy.deploy(board.connection, models={"colours": folder})
    board.sh("rm -f /usr/share/pico-deploy/died")
    assert board.sh(state) != before
    deploy.undo(board.connection)
    assert board.sh(state) == before


@pytest.mark.qemu
@pytest.mark.slow
def test_deploy_needs_space(board: Board, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "colours")
    with (folder / "fp32.tflite").open("ab") as stream:
        stream.truncate(2 << 30)
    card = json.loads((folder / "model.json").read_text())
    del card["files"]["fp32"]
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "free_kib", lambda self, path: 100)
        (folder / "fp32.tflite").write_bytes(b"x" * 500_000)
        with pytest.raises(UserError, match="100 KiB left and"):
            deploy.deploy(board.connection, models={"colours": folder})


@pytest.mark.qemu
@pytest.mark.slow
def test_nothing_while_a_benchmark_runs(board: Board, tmp_path: Path) -> None:
    board.sh(
        "printf '#!/bin/sh\\n>/tmp/runs\\nsleep 600\\n' >/tmp/npu-bench; "
        "chmod +x /tmp/npu-bench; setsid /tmp/npu-bench >/dev/null 2>&1 </dev/null & "
        "until [ -e /tmp/runs ]; do sleep 1; done"
    )
    try:
        with pytest.raises(UserError, match="a benchmark runs"):
            deploy.deploy(board.connection, models={"c": model_folder(tmp_path / "c")})
    finally:
        board.sh("killall npu-bench sleep; rm -f /tmp/runs")


@pytest.mark.qemu
@pytest.mark.slow
def test_a_model_for_the_npu(board: Board, tmp_path: Path) -> None:
    """The emulator's simulator has a version, too; what only the host needs is not sent.

    The vectors' answers are no model's: the benchmark says so, and measures nevertheless.
    """
    folder = model_folder(tmp_path / "fresh", npu=True)
    pixels, answer = bytes(3 * 16 * 16), bytes(range(0, 10 * CLASSES, 10))
    add_golden(folder, {"000": (pixels, answer)})
    (folder / "report.json").write_text("{}")
    there = "/usr/share/npu-models/fresh"
    models = {"fresh": folder}
    # A stock /oem has an older runtime, which npu-runner never loads; no model was let onto the
    # board for its sake.
    old = "/oem/usr/lib/librknnmrt.so"
    board.sh("mount -o remount,rw /oem 2>/dev/null; mkdir -p /oem/usr/lib")
    board.sh(f"echo 'librknnmrt version: 1.4.1b9 (09eb4be80@2022-10-19T09:51:39)' >{old}")
    try:
        done = deploy.deploy(board.connection, models=models)
    finally:
        board.sh(f"rm {old}")
    assert f"{there}/model.rknn" in done.files
    golden = {path.rpartition("/")[2] for path in done.files if "/golden/" in path}
    assert golden == {"golden.json", "000.u8", "000.i8"}
    assert not [path for path in done.files if "report.json" in path]
    note = board.sh("cat /etc/pico-deployed")
    assert note.startswith("fresh: commit ") and note.endswith("Z\n")
    try:
        text = board.sh("npu-bench --quick --model fresh --pictures 1 --output /tmp/fresh")
        assert "SIMULATED NPU = PC: WRONG, largest step " in text
        assert "NPU int8 against CPU int8: top-1 equal" in text
        assert f"deployed {note}" in text
        text = board.sh("npu-runner --probe 2>&1; echo status $?; ls /etc/npu-runtime 2>&1; true")
        assert "SIMULATED NPU: the verdict is about the model and the programs" in text
        assert "driver SIMULATED: simulated wrong" in text and "\nstatus 1\n" in text
        assert "/etc/npu-runtime: No such file" in text
    finally:
        board.sh("rm -rf /tmp/fresh")
        deploy.undo(board.connection)
    assert board.sh("ls /usr/share/npu-models").split() == ["colours"], "no empty folder stays"
    assert board.sh("ls /etc/pico-deployed 2>/dev/null; true") == ""


@pytest.mark.qemu
@pytest.mark.slow
def test_without_npu_runner_no_file_for_it_is_sent(board: Board, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "fresh", npu=True)
    board.sh("mv /usr/bin/npu-runner /usr/bin/away")
    try:
        done = deploy.deploy(board.connection, models={"fresh": folder})
        assert done.files and not [path for path in done.files if "rknn" in path]
        deploy.undo(board.connection)
    finally:
        board.sh("mv /usr/bin/away /usr/bin/npu-runner")


@pytest.mark.qemu
@pytest.mark.slow
def test_a_model_of_a_newer_toolkit_is_refused(board: Board, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "newer", npu=True)
    path = rknn_writer.add_npu_model(folder, 16, 12, toolkit="9.0.0")
    card = json.loads((folder / "model.json").read_text())
    card["files"]["npu"]["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(UserError, match=r"toolkit 9\.0\.0, newer than the runtime 2\.3\.2"):
        deploy.deploy(board.connection, models={"newer": folder})
    assert board.sh("ls /usr/share/npu-models").split() == ["colours"]


@pytest.mark.qemu
@pytest.mark.slow
def test_a_simulator_never_replaces_a_boards_runtime(
    board: Board, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("npu-bench", "npu-runner"):
        shutil.copy(board.programs / name, folder)
        with (folder / name).open("ab") as stream:
            stream.write(b"another build")
    board.sh("mv /usr/bin/npu-runner /usr/bin/away")
    board.sh("echo 'librknnmrt version: 2.3.2' >/usr/bin/npu-runner; chmod +x /usr/bin/npu-runner")
    try:
        heard = replace(board.connection, console=Console())
        done = deploy.deploy(heard, programs=folder)
        assert done.files == ["/usr/bin/npu-bench"]
        assert "npu-runner on 127.0.0.1 is kept" in capsys.readouterr().err
        deploy.undo(board.connection)
    finally:
        board.sh("mv -f /usr/bin/away /usr/bin/npu-runner")
    done = deploy.deploy(board.connection, programs=folder)
    assert done.files == ["/usr/bin/npu-bench", "/usr/bin/npu-runner"], "a simulator by another"
    deploy.undo(board.connection)


def test_programs_of_other_machines_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 32-bit ARM program"):
        compatibility.check_program(Path("/bin/sh"), "armv7l")
    text = tmp_path / "npu-bench"
    text.write_text("#!/bin/sh\n")
    with pytest.raises(UserError, match="no 32-bit ARM program"):
        compatibility.check_program(text, "armv7l")


@pytest.mark.parametrize(("flags", "message"), [(["-static"], None), ([], "is not static")])
def test_only_static_programs_are_sent(
    tmp_path: Path, flags: list[str], message: str | None
) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    program = tmp_path / "program"
    subprocess.run(["arm-linux-gnueabihf-gcc", *flags, source, "-o", program], check=True)
    if message is None:
        compatibility.check_program(program, "armv7l")
        with pytest.raises(UserError, match="processor is aarch64"):
            compatibility.check_program(program, "aarch64")
    else:
        with pytest.raises(UserError, match=message):
            compatibility.check_program(program, "armv7l")


def test_cards_that_do_not_fit(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "colours")
    compatibility.check_card(folder)
    (folder / "int8.tflite").write_bytes(b"other")
    with pytest.raises(UserError, match="SHA-256 differs"):
        compatibility.check_card(folder)
    (folder / "int8.tflite").unlink()
    with pytest.raises(UserError, match="not beside it"):
        compatibility.check_card(folder)
    with pytest.raises(UserError, match="has schema 9"):
        compatibility.check_card(model_folder(tmp_path / "nine", schema=9))
    (folder / "model.json").write_text("{")
    with pytest.raises(UserError, match="no model card"):
        compatibility.check_card(folder)
