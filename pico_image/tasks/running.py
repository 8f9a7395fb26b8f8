"""Run an image, in the emulator or on a board: boot, benchmark, deploy."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.tasks import task

from pico_image.base.console import Console
from pico_image.base.errors import UserError
from pico_image.base.files import output_dir, scratch_folder
from pico_image.config import configuration
from pico_image.config.target import Target
from pico_image.tasks.common import (
    JSON,
    VERBOSE,
    BoardFlags,
    BoardTask,
    guarded,
    optional_path,
    show,
    whole,
)


@task(name="try", help=VERBOSE | {"keep_running": "leave the machine running after the benchmark"})
@guarded
def try_(_: Context, keep_running: bool = False, verbose: bool = False) -> None:
    """Build the emulator image, boot it, run its benchmark, show the table."""
    from pico_image.emulator.bench_at_boot import bench_at_boot
    from pico_image.image import build

    console = Console(verbose=verbose)
    with console.logging_to(output_dir() / "emulator" / "logs", "try"):
        images = build.build_image(console, Target.of(configuration.load(), "emulator")).folder
        with console.step("Boot it in QEMU and run its benchmark"):
            run = bench_at_boot(console, images, keep_running=keep_running)
    print(run.table)
    print(f"image:   {images / 'sdcard.img'}")
    print(f"results: {run.folder}")


@task(
    help=VERBOSE
    | {
        "image": "the SD image to boot (default: that of the variant)",
        "variant": "which image (default: emulator); of a board's its root file system, with the "
        "emulator's kernel",
        "rootfs": "a rootfs.tar of Buildroot or a rootfs.img to boot in the variant's layout",
        "ssh-port": "port of this machine that leads to the image's SSH server",
    }
)
@guarded
def emulate(
    _: Context,
    image: str = "",
    variant: str = "",
    rootfs: str = "",
    ssh_port: str = "",
    verbose: bool = False,
) -> None:
    """Boot an image, or a board's root file system, with an interactive console."""
    from pico_image.emulator import board_card
    from pico_image.emulator.qemu import interactive
    from pico_image.image import build

    # A wrong flag is reported before a missing image.
    forward = [(whole("ssh-port", ssh_port), 22)] if ssh_port else []
    if image and (variant or rootfs):
        raise UserError(
            "--image is a whole card; --variant and --rootfs name what to make one of",
            hint="give one of them",
        )
    console = Console(verbose=verbose)
    target = Target.of(configuration.load(), variant or "emulator")
    if image or (target.emulated and not rootfs):
        path = Path(image) if image else build.existing_images(target.name) / "sdcard.img"
        raise SystemExit(interactive(console, path, forward=forward))
    path = Path(rootfs) if rootfs else build.existing_images(target.name) / "rootfs.img"
    with scratch_folder("pico-rootfs-") as folder:
        card = board_card.make(console, target, path, folder)
        password = path.with_name("root-password.txt")
        if password.is_file():
            console.info(f"root's password is in {password}")
        status = interactive(console, card, forward=forward, ethernet=target.board.ethernet)
    raise SystemExit(status)


@task(
    klass=BoardTask,
    help=VERBOSE
    | JSON
    | {
        "suite": "quick: every picture once; full: with statistics (default); mlperf: single "
        "stream. The emulator runs quick at boot, others only with --host",
        "last": "fetch the newest result of the board instead of running",
    },
)
@guarded
def bench(
    _: Context,
    board: BoardFlags,
    suite: str = "",
    last: bool = False,
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Run the benchmark on a board or in the emulator; fetch and keep its result."""
    from pico_image.board import bench as board_bench
    from pico_image.emulator.bench_at_boot import bench_at_boot
    from pico_image.image import build
    from pico_image.results import history as past

    options = board_bench.options_of(suite or "full")
    if not board.host and (board.is_given or last or suite not in ("", "quick")):
        raise UserError(
            "without --host the emulator's image is booted, which runs the quick suite by itself",
            hint="give --host for a board, or for what `invoke emulate --ssh-port 2222` booted",
        )
    console = Console(verbose=verbose)
    if board.host:
        connection = board.connection(console)
        with console.logging_to(output_dir() / "board" / "logs", "bench"):
            run = board_bench.bench(connection, options=options, last=last)
    else:
        images = build.existing_images("emulator")
        with console.logging_to(output_dir() / "emulator" / "logs", "bench"):
            run = bench_at_boot(console, images)
    if json:
        show(run.result.raw)
    else:
        print(run.table if run.table.strip() else past.of(run.result).table())
        print(f"results: {run.folder}")
        print(f"page:    invoke report {run.folder.name}")


@task(
    klass=BoardTask,
    iterable=["model"],
    help=VERBOSE
    | {
        "model": "model to convert and send, or one of your own in out/models; repeatable",
        "programs": "send the runners and the benchmark, newly compiled",
        "undo": "put back what the last deploy replaced",
    },
)
@guarded
def deploy(
    _: Context,
    board: BoardFlags,
    model: list[str],
    programs: bool = False,
    undo: bool = False,
    verbose: bool = False,
) -> None:
    """Update programs or models on a running board without a new image."""
    from pico_image.board import deploy as deployment

    if not board.host:
        raise UserError(
            "--host is missing: where to deploy to",
            hint="--host 172.32.0.93 is the board on its USB cable, --host pico.local its name",
        )
    if undo and (model or programs):
        raise UserError(
            "--undo restores the old files; --model and --programs send new ones",
            hint="make two calls, one after the other",
        )
    console = Console(verbose=verbose)
    connection = board.connection(console)
    with console.logging_to(output_dir() / "board" / "logs", "deploy"):
        if undo:
            print("\n".join(deployment.undo(connection)))
            return
        sent = deployment.make_and_deploy(
            connection, configuration.load(), model, programs=programs
        )
    for path in sent.files:
        print(path)
    print(f"sent {len(sent.files)} files, {sent.sent} bytes; {len(sent.unchanged)} were the same")
    if sent.files:
        print(f"back: invoke deploy {connection.flags} --undo")


@task(
    klass=BoardTask,
    iterable=["model"],
    help=VERBOSE
    | JSON
    | {
        "model": "model to verify, repeatable (default: all that the board has for its NPU)",
        "bisect": "name of a model: find the first layer that the board computes wrongly",
    },
)
@guarded
def verify_board(
    _: Context,
    board: BoardFlags,
    model: list[str],
    bisect: str = "",
    json: bool = False,
    verbose: bool = False,
) -> None:
    """Hold the answers of a board's NPU against those of the PC."""
    from pico_image.board import bisection, golden

    if not board.host:
        raise UserError(
            "--host is missing: which board to verify",
            hint="--host 172.32.0.93 is the board on its USB cable, --host pico.local its name; "
            "a card image is verified by `invoke verify IMAGE`",
        )
    if bisect and model:
        raise UserError(
            "--bisect names the one model to look into; --model names models to verify",
            hint=f"leave out --model, or leave out --bisect {bisect}",
        )
    config = configuration.load()
    if bisect:
        config.model(bisect)  # an unknown name is told before the board is asked
    console = Console(verbose=verbose)
    connection = board.connection(console)
    found: list[str] = []
    with console.logging_to(output_dir() / "board" / "logs", "verify-board"):
        outcome = golden.verify(connection, [bisect] if bisect else model)
        if bisect and outcome.verifications:
            whole = outcome.verifications[0]
            if whole.right:
                found = [f"no bad layer: {bisect} answers as on the PC ({whole.summary})"]
            else:
                found = bisection.bisect(connection, config, bisect, simulated=whole.simulated)
    if json:
        show({"models": {each.model: each.raw for each in outcome.verifications}, "bisect": found})
    else:
        print("\n".join([*([outcome.table()] if outcome.verifications else []), *found]))
        if outcome.folder is not None:
            print(f"results: {outcome.folder}")
        for each in outcome.verifications:
            if not each.right and not bisect:
                print(f"layer:   invoke verify-board {connection.flags} --bisect {each.model}")
    for name, error in outcome.problems.items():
        console.error(f"{name}: {error}")
    outcome.check()


@task(
    klass=BoardTask,
    help=VERBOSE | JSON | {"output": "the file (default: a new one in out/board/collected)"},
)
@guarded
def collect(
    _: Context, board: BoardFlags, output: str = "", json: bool = False, verbose: bool = False
) -> None:
    """Find what is wrong with a board; keep all facts in one file that can be posted."""
    from pico_image.board import collect as collecting

    if not board.host:
        raise UserError(
            "--host is missing: which board to look at",
            hint="--host 172.32.0.93 is the board on its USB cable, --host pico.local its name",
        )
    console = Console(verbose=verbose)
    connection = board.connection(console)
    with console.logging_to(output_dir() / "board" / "logs", "collect"):
        path, found = collecting.collect(connection, optional_path(output))
    if json:
        show(found.raw)
        return
    print(found.text())
    print(f"file: {path} can be posted: addresses, serial numbers, names and keys are masked")
    print(f"page: invoke report {path}")
