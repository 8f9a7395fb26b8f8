"""Changed bytes for tests that feed damaged files to parsers."""

from __future__ import annotations

from hypothesis import strategies as st

#: Where, how many bytes to take out, and what to put in their place.
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 9), st.binary(max_size=9)),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    for where, length, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + length :]
    return data


def damaged(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Like edited(), of the same length: offsets in the rest stay right."""
    for where, _, new in edits:
        at = int(where * (len(data) - len(new)))
        data = data[:at] + new + data[at + len(new) :]
    return data
