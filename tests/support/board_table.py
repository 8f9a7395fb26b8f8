"""The table of boards in docs/building.md, written from configs/.

Run it to write the document: ``python -m tests.support.board_table``.
"""

from __future__ import annotations

from pico_image.base.files import ROOT, write_text
from pico_image.config import configuration
from pico_image.config.configuration import Config
from pico_image.config.schema import EVIDENCE

DOCUMENT = ROOT / "docs/building.md"
BEGIN = "<!-- begin: written by `python -m tests.support.board_table`, do not edit -->"
END = "<!-- end -->"
MEDIA = {"sd_card": "microSD card", "emmc": "eMMC"}


def block(config: Config) -> str:
    """The generated part: a row for each board of the SDK, and what the last column means."""
    lines = [BEGIN, "", "| board | variants | chip | boots from | network | evidence |"]
    lines.append("|---|---|---|---|---|---|")
    for board in config.boards.values():
        if board.soc is None:
            continue
        variants = [name for name, each in config.variants.items() if each.board == board.name]
        network = ["USB", *["Ethernet"] * board.ethernet]
        if board.wifi:
            network.append(f"Wi-Fi ({board.wifi}) not set up")
        lines.append(
            f"| {board.title} | {', '.join(f'`{name}`' for name in variants)} | "
            f"{board.soc.upper()} | {MEDIA[board.medium]} | {', '.join(network)} | "
            f"{board.evidence} |"
        )
    known = [f"`{name}`: {meaning}." for name, meaning in EVIDENCE.items() if name != "tests"]
    return "\n".join([*lines, "", " ".join(known), "", END])


def with_block(text: str, config: Config) -> str:
    """The document with its generated part as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + block(config) + after


if __name__ == "__main__":
    write_text(DOCUMENT, with_block(DOCUMENT.read_text(encoding="utf-8"), configuration.load()))
