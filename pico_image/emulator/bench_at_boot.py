"""Boot an image in QEMU, wait for its benchmark, and keep the result."""

from __future__ import annotations

from pathlib import Path

from pico_image.base.console import Console
from pico_image.base.errors import CheckFailed
from pico_image.base.files import scratch_folder
from pico_image.emulator.bootloader import read_partition_file, working_copy
from pico_image.emulator.qemu import boot
from pico_image.results import store

#: The float32 model takes seconds per inference under emulation.
BENCH_SECONDS = 900.0


def bench_at_boot(console: Console, images: Path, *, keep_running: bool = False) -> store.Run:
    """Boot the image in ``images`` (the folder of its parts), which runs its benchmark at boot.

    The result is read from the card's userdata partition after a clean power-off. Raises
    CheckFailed when the benchmark itself reports a failure, UserError for a broken result.
    """
    with scratch_folder("pico-bench-") as folder:
        card = working_copy(images / "sdcard.img", folder)
        with boot(console, card) as machine:
            match = machine.wait_for(store.RESULT_LINE, BENCH_SECONDS, what="the benchmark's end")
            if keep_running:
                machine.interact()
            machine.poweroff()
            printed = machine.transcript()
        if match["reason"]:
            table = store.table_of(printed)
            raise CheckFailed(f"the benchmark failed: {match['reason'].strip()}\n{table}")
        path = match["path"]
        content = read_partition_file(card, "userdata", path.removeprefix("/userdata"))
    result = store.parse(content, f"{path} on the card")
    return store.keep(console, result, printed, images.parent.name, images / "build-info.json")
