"""The partition string: what the kernel reads, no more and no less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pico_image.base.errors import UserError
from pico_image.config.partitions import Part, PartitionTable, format_size, parse_size

STOCK = "32K(env),512K@32K(idblock),256K(uboot),32M(boot),512M(oem),256M(userdata),6G(rootfs)"

#: Offsets that a third party verified on a real card (facts/luckfox-sdk.md, section 7).
STOCK_OFFSETS = {
    "env": 0,
    "idblock": 32768,
    "uboot": 557056,
    "boot": 819200,
    "oem": 34373632,
    "userdata": 571244544,
    "rootfs": 839680000,
}


def test_the_stock_layout_has_the_offsets_of_real_cards() -> None:
    table = PartitionTable.parse(f"mmcblk1:{STOCK}")
    assert {part.name: part.offset for part in table} == STOCK_OFFSETS
    assert table["rootfs"].end == 7282130944
    assert table.node("rootfs") == "/dev/mmcblk1p7"
    assert str(PartitionTable.parse(str(table))) == str(table)


def test_hexadecimal_lower_case_and_flags_are_read_as_the_kernel_reads_them() -> None:
    table = PartitionTable.parse("0x8000(env)ro,512k@0x8000(idblock)lk,1m(x)rolk,-(rest)")
    assert table.parts == (
        Part("env", 0, 32768, "ro"),
        Part("idblock", 32768, 524288, "lk"),
        Part("x", 557056, 1 << 20, "rolk"),
        Part("rest", 557056 + (1 << 20), None),
    )


def test_a_hexadecimal_size_is_not_cut_at_its_first_digits() -> None:
    """The capacity check read 0x10000000 as 10 MiB."""
    table = PartitionTable.parse("mmcblk1:0x8000(env),0X100k@0x8000(boot),0x10000000(rootfs)")
    assert [part.size for part in table] == [32768, 256 << 10, 256 << 20]
    assert str(table.resized({"rootfs": "0x20000000"})).endswith(",256K@32K(boot),512M(rootfs)")
    assert parse_size("0x10000000") == 256 << 20


def test_slots_may_be_out_of_order_and_leave_gaps() -> None:
    table = PartitionTable.parse("1M@8M(b),1M@1M(a)")
    assert [part.offset for part in table] == [8 << 20, 1 << 20]
    assert PartitionTable.parse(str(table)) == table


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 1, "no partition"),
        ("mmcblk1:", 9, "no partition"),
        ("32K", 4, "parentheses"),
        ("32K(env", 8, "closing parenthesis"),
        ("32K()", 5, "name is missing"),
        ("32K(env),", 10, "size is missing"),
        ("32K(env) ,1M(a)", 9, "comma"),
        ("32K(env);1M(a)", 9, "comma"),
        ("32Q(env)", 3, "suffix 'Q'"),
        ("32KB(env)", 3, "suffix 'KB'"),
        ("-32K(env)", 2, "parentheses"),
        ("0(env)", 1, "0 bytes"),
        ("0K(env)", 1, "0 bytes"),
        ("512(env)", 1, "4096 is the least"),
        ("010K(env)", 1, "octal"),
        ("4097(env)", 1, "multiple"),
        ("32K@100(env)", 5, "multiple"),
        ("32K@(env)", 5, "offset is missing"),
        ("32K(env),1M(env)", 13, "second partition"),
        ("32K(env),1M@16K(b)", 10, "overlap"),
        ("1M@1M(b),2M@0(a)", 10, "overlap"),
        ("-(all),1M(b)", 8, "nothing is left"),
        ("-(all),1M@8M(b)", 8, "overlap"),
        ("9223372036854775808(a)", 1, "2^63"),
        ("9999999999999999T(a)", 1, "2^63"),
        ("1M@9223372036854775296(a)", 1, "2^63"),
        (f"1M({'n' * 32})", 4, "31"),
        ("9" * 5000 + "(a)", 1, "2^63"),
    ],
)
def test_a_bad_string_is_refused_with_the_place(text: str, position: int, words: str) -> None:
    with pytest.raises(UserError) as caught:
        PartitionTable.parse(text)
    assert f"character {position}:" in caught.value.message
    assert words in caught.value.message
    assert caught.value.exit_code == 2


def test_the_error_points_below_the_character() -> None:
    with pytest.raises(UserError) as caught:
        PartitionTable.parse("32K(env),1M@16K(b)")
    shown, marker = caught.value.message.splitlines()[1:3]
    assert shown[marker.index("^") :].startswith("1M@16K")


def test_resizing_moves_what_follows_and_keeps_what_was_placed() -> None:
    table = PartitionTable.parse(f"mmcblk1:{STOCK}").resized({"oem": "64M", "rootfs": "1G"})
    assert table["userdata"].offset == 34373632 + (64 << 20)
    assert table["rootfs"].size == 1 << 30
    placed = PartitionTable.parse("1M(a),1M@4M(b)")
    assert placed.resized({"a": "2M"})["b"].offset == 4 << 20
    with pytest.raises(UserError, match="overlap"):
        placed.resized({"a": "8M"})
    with pytest.raises(UserError, match="no partition 'c'"):
        placed.resized({"c": "8M"})


@st.composite
def tables(draw: st.DrawFn) -> PartitionTable:
    """Any table that the kernel would take."""
    names = draw(
        st.lists(
            st.text("abcdefgh-_.0123456789", min_size=1, max_size=31),
            min_size=1,
            max_size=9,
            unique=True,
        )
    )
    parts: list[Part] = []
    cursor = 0
    for index, name in enumerate(names):
        offset = cursor + 512 * draw(st.sampled_from([0, 0, 0, 1, 7, 4096]))
        size: int | None = 512 * draw(st.integers(8, 1 << 24))
        if index == len(names) - 1 and draw(st.booleans()):
            size = None
        parts.append(Part(name, offset, size, draw(st.sampled_from(["", "ro", "lk", "rolk"]))))
        cursor = offset + (size or 0)
    device = draw(st.sampled_from([None, "mmcblk0", "mmcblk1"]))
    return PartitionTable(tuple(parts), device)


@given(tables())
def test_every_table_survives_being_written_and_read(table: PartitionTable) -> None:
    assert PartitionTable.parse(str(table)) == table


@given(st.text() | st.text("0123456789KMGx-@(),:ab \n"))
def test_any_text_is_a_table_or_a_clear_error(text: str) -> None:
    try:
        table = PartitionTable.parse(text)
    except UserError as error:
        assert "partition string, character" in error.message
    else:
        assert PartitionTable.parse(str(table)) == table


@given(st.integers(1, 1 << 60))
def test_a_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("text", ["", "8X", "-1", "eight", "1.5M", "0x"])
def test_a_bad_size_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="not a number of bytes"):
        parse_size(text)


def test_a_size_of_more_digits_than_int_reads() -> None:
    with pytest.raises(UserError, match="not a number of bytes"):
        parse_size("1" * 5000)
