"""Decoding and resizing against Pillow; damaged, odd and huge pictures."""

from __future__ import annotations

import random
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.app.build import kept_build, run
from tests.app.pictures import encoded, expected, photograph, save, scene

Array = np.ndarray[Any, Any]


def prepare(
    host: Path,
    folder: Path,
    paths: list[Path],
    size: tuple[int, int] = (224, 224),
    rule: str = "center-crop",
    decode: str = "exact",
) -> list[tuple[str, Array | None]]:
    """What picture-tool prints about each picture, and its pixels."""
    words: list[str | Path] = [host / "tests/picture-tool", folder, str(size[0]), str(size[1])]
    words += [rule, "0.875", decode, *paths]
    done = run(words)
    assert done.returncode == 0, done.stderr
    results: list[tuple[str, Array | None]] = []
    for number, line in enumerate(done.stdout.splitlines()):
        pixels = None
        if line.startswith("ok"):
            raw = (folder / f"{number}.rgb").read_bytes()
            pixels = np.frombuffer(raw, np.uint8).reshape(size[1], size[0], 3)
        results.append((line, pixels))
    assert len(results) == len(paths)
    return results


def difference(a: Array | None, b: Array) -> int:
    assert a is not None
    return int(np.abs(a.astype(int) - b.astype(int)).max())


SIZES = [(1, 1), (2, 3), (7, 500), (223, 225), (224, 224), (300, 451), (640, 427), (1280, 720)]


@pytest.mark.parametrize("rule", ["center-crop", "stretch"])
def test_png_agrees_with_pillow_within_1(host: Path, tmp_path: Path, rule: str) -> None:
    pictures = [scene(width, height, seed) for seed, (width, height) in enumerate(SIZES)]
    paths = [save(picture, tmp_path / f"{i}.png") for i, picture in enumerate(pictures)]
    for size in [(224, 224), (96, 160), (1, 1)]:
        results = prepare(host, tmp_path, paths, size=size, rule=rule)
        for picture, (line, pixels) in zip(pictures, results, strict=True):
            assert line == f"ok {picture.width} {picture.height} 1"
            assert difference(pixels, expected(picture, size, rule)) <= 1, (picture.size, size)


def test_reduction_by_89_of_noise_agrees_within_1(host: Path, tmp_path: Path) -> None:
    """181 weights to a pixel: rounded weights must not add up to an error."""
    picture = scene(20000, 60)
    path = save(picture, tmp_path / "wide.png")
    ((_, pixels),) = prepare(host, tmp_path, [path], rule="stretch")
    assert difference(pixels, expected(picture, (224, 224), "stretch")) <= 1


def test_every_png_kind(host: Path, tmp_path: Path) -> None:
    base = scene(60, 50)
    alpha = base.convert("RGBA")
    alpha.putalpha(Image.linear_gradient("L").resize(base.size))
    kinds = {
        "grey": base.convert("L"),
        "one-bit": base.convert("1"),
        "palette": base.quantize(31),
        "alpha": alpha,
        "grey-alpha": alpha.convert("LA"),
        "rgb": base,
    }
    paths = [save(picture, tmp_path / f"{name}.png") for name, picture in kinds.items()]
    wide = (np.asarray(base.convert("L")).astype(np.uint16) << 8) | 0x80
    paths.append(save(Image.fromarray(wide), tmp_path / "sixteen.png"))
    kinds["sixteen"] = base.convert("L")
    results = prepare(host, tmp_path, paths)
    for (name, picture), (line, pixels) in zip(kinds.items(), results, strict=True):
        assert line.startswith("ok"), (name, line)
        assert difference(pixels, expected(picture, (224, 224))) <= 1, name


def interlaced(picture: Image.Image) -> bytes:
    """An Adam7 PNG: Pillow does not write them."""
    pixels = np.asarray(picture)
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    raw = b""
    for x, y, dx, dy in passes:
        part = pixels[y::dy, x::dx]
        if part.size:
            raw += b"".join(b"\0" + row.tobytes() for row in part)

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", picture.width, picture.height, 8, 2, 0, 0, 1)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )


def test_interlaced_png_is_read_and_a_large_one_refused(host: Path, tmp_path: Path) -> None:
    small, large = scene(61, 47), Image.new("RGB", (4000, 3000))
    (tmp_path / "small.png").write_bytes(interlaced(small))
    (tmp_path / "large.png").write_bytes(interlaced(large))
    results = prepare(host, tmp_path, [tmp_path / "small.png", tmp_path / "large.png"])
    assert difference(results[0][1], expected(small, (224, 224))) <= 1
    assert results[1][0].startswith("no 2 ") and "interlaced" in results[1][0]


def test_jpeg_agrees_with_pillow(host: Path, tmp_path: Path) -> None:
    """Pillow decodes with the same library, so the same decoding must come out within 1."""
    pictures, paths = [], []
    for number, options in enumerate(
        [
            {"quality": 90},
            {"quality": 75, "subsampling": 2},
            {"quality": 90, "subsampling": 0},
            {"quality": 80, "progressive": True},
            {"quality": 80, "subsampling": 1},
        ]
    ):
        for width, height in [(451, 300), (300, 451), (33, 17), (1280, 720)]:
            path = tmp_path / f"{number}-{width}.jpg"
            save(photograph(width, height, number), path, **options)
            paths.append(path)
            with Image.open(path) as picture:
                pictures.append(picture.convert("RGB"))
    for picture, (line, pixels) in zip(pictures, prepare(host, tmp_path, paths), strict=True):
        assert line == f"ok {picture.width} {picture.height} 1"
        assert difference(pixels, expected(picture, (224, 224))) <= 1, picture.size


def test_scaled_decoding_is_near_the_exact_one(host: Path, tmp_path: Path) -> None:
    path = save(photograph(1280, 960), tmp_path / "p.jpg", quality=90)
    ((exact_line, exact),) = prepare(host, tmp_path, [path])
    ((line, scaled),) = prepare(host, tmp_path, [path], decode="scaled")
    assert exact_line == "ok 1280 960 1" and line == "ok 1280 960 2"
    assert exact is not None and scaled is not None
    assert np.abs(exact.astype(int) - scaled.astype(int)).mean() < 2


def test_grey_and_cmyk_jpeg(host: Path, tmp_path: Path) -> None:
    base = photograph(120, 90)
    grey = save(base.convert("L"), tmp_path / "grey.jpg", quality=95)
    cmyk = save(base.convert("CMYK"), tmp_path / "cmyk.jpg", quality=95)
    with Image.open(cmyk) as picture:
        assert picture.mode == "CMYK"
        truth = expected(picture, (224, 224))
    results = prepare(host, tmp_path, [grey, cmyk])
    with Image.open(grey) as picture:
        assert difference(results[0][1], expected(picture, (224, 224))) <= 1
    assert difference(results[1][1], truth) <= 3  # Pillow's own CMYK arithmetic rounds otherwise


def test_one_pixel_and_very_wide(host: Path, tmp_path: Path) -> None:
    one = save(Image.new("RGB", (1, 1), (10, 200, 30)), tmp_path / "one.png")
    one_jpeg = save(Image.new("RGB", (1, 1), (10, 200, 30)), tmp_path / "one.jpg", quality=100)
    wide = save(photograph(20000, 40), tmp_path / "wide.jpg")
    results = prepare(host, tmp_path, [one, one_jpeg, wide], decode="scaled")
    assert results[0][1] is not None and (results[0][1] == (10, 200, 30)).all()
    assert all(line.startswith("ok") for line, _ in results)


def test_80_million_pixels_need_little_memory(host: Path, tmp_path: Path) -> None:
    """240 MB of RGB in 40 MB of address space, without the sanitizers that take more."""
    plain = kept_build("app-plain", "-DPICO_BENCH=OFF", "-DPICO_TOOLS=ON")
    path = save(Image.new("L", (20000, 4000), 128), tmp_path / "huge.jpg", quality=30)

    done = subprocess.run(
        [
            "prlimit",
            f"--as={40 << 20}",
            plain / "tests/picture-tool",
            tmp_path,
            "224",
            "224",
            "stretch",
            "1",
            "exact",
            path,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ok 20000 4000 1\n", done.stdout + done.stderr


def test_bad_pictures_are_refused_by_name(host: Path, tmp_path: Path) -> None:
    picture = photograph(300, 200)
    jpeg, png = encoded(picture, "JPEG"), encoded(picture, "PNG")
    progressive = encoded(picture, "JPEG", progressive=True)
    bad = {
        "text.jpg": (b"this is no picture\n", "neither JPEG nor PNG"),
        "empty.png": (b"", "is empty"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "damaged JPEG"),
        "cut-progressive.jpg": (progressive[: len(progressive) // 2], "damaged JPEG"),
        "header-only.jpg": (jpeg[:20], "damaged JPEG"),
        "cut.png": (png[: len(png) // 2], "damaged PNG"),
        "header-only.png": (png[:33], "damaged PNG"),
        "broken-crc.png": (png[:40] + bytes([png[40] ^ 1]) + png[41:], "damaged PNG"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in bad] + [tmp_path / "absent.jpg", tmp_path]
    results = prepare(host, tmp_path, paths)
    for (line, _), (name, (_, says)) in zip(results, bad.items(), strict=False):
        assert line.startswith("no 2 ") and name in line and says in line, line
    assert "could not open" in results[-2][0] and "is not a file" in results[-1][0]


def test_large_progressive_jpeg_is_refused(host: Path, tmp_path: Path) -> None:
    path = save(Image.new("RGB", (5000, 4000)), tmp_path / "big.jpg", progressive=True)
    ((line, _),) = prepare(host, tmp_path, [path])
    assert line.startswith("no 2 ") and "progressive" in line and "MB to decode" in line


def test_fuzzed_pictures_never_crash(host: Path, tmp_path: Path) -> None:
    """Bytes changed, cut out and doubled in pictures of every kind, under the sanitizers."""
    base = scene(40, 30)
    seeds = [
        encoded(base, "JPEG", quality=50),
        encoded(base, "JPEG", quality=90, progressive=True),
        encoded(base.convert("L"), "JPEG"),
        encoded(base.convert("CMYK"), "JPEG"),
        encoded(base, "PNG"),
        encoded(base.quantize(16), "PNG"),
        interlaced(base),
    ]
    randomness = random.Random(20261123)
    paths = []
    for number in range(350):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(randomness.randint(1, 6)):
            at = randomness.randrange(len(content))
            action = randomness.randrange(4)
            if action == 0:
                content[at] = randomness.randrange(256)
            elif action == 1:
                content[at] ^= 1 << randomness.randrange(8)
            elif action == 2:
                del content[at : at + randomness.randint(1, 8)]
            else:
                content[at:at] = content[at : at + randomness.randint(1, 8)]
        path = tmp_path / f"f{number}"
        path.write_bytes(content)
        paths.append(path)
    results = prepare(host, tmp_path, paths, size=(32, 32), decode="scaled")
    answers = {line.split()[0] for line, _ in results}
    assert answers == {"ok", "no"}
    assert not [line for line, _ in results if line.startswith("no") and line.split()[1] != "2"]
