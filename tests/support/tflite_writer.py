"""Small TensorFlow Lite models, written by hand so that the tests need no converter.

A FlatBuffers writer of the least size: tables and vectors are laid out parent first, offsets are
filled in as children follow. Numbers of fields, operators and types are those of TensorFlow
Lite's schema.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOAT32, INT32, UINT8, INT8 = 0, 2, 3, 9
TYPES = {"float32": FLOAT32, "int32": INT32, "uint8": UINT8, "int8": INT8}
ADD, AVERAGE_POOL_2D, FULLY_CONNECTED, SUM, REDUCE_MAX = 0, 1, 9, 74, 82
POOL_OPTIONS, DENSE_OPTIONS, ADD_OPTIONS, REDUCER_OPTIONS = 5, 8, 11, 27


@dataclass
class Table:
    """Fields by number: (struct format, value), or a Table, Vector or bytes to point to."""

    fields: dict[int, Any]


@dataclass
class Vector:
    """Of scalars (format, values), of tables, or of raw bytes."""

    items: Sequence[Any]
    format: str | None = None


class Writer:
    """Lays objects out in one growing buffer."""

    def __init__(self) -> None:
        self.out = bytearray()

    def _align(self, multiple: int, rest: int = 0) -> None:
        while len(self.out) % multiple != rest:
            self.out.append(0)

    def _point(self, at: int, child: Any) -> None:
        position = self.write(child)
        struct.pack_into("<I", self.out, at, position - at)

    def write(self, item: Any) -> int:
        if isinstance(item, Table):
            return self._table(item)
        if isinstance(item, bytes):
            self._align(16, 12)  # the data of a buffer is 16-byte aligned
            start = len(self.out)
            self.out += struct.pack("<I", len(item)) + item + b"\0"
            return start
        return self._vector(item)

    def _vector(self, vector: Vector) -> int:
        if vector.format is not None:
            self._align(8, 4)
            start = len(self.out)
            self.out += struct.pack("<I", len(vector.items))
            for value in vector.items:
                self.out += struct.pack("<" + vector.format, value)
            return start
        self._align(4)
        start = len(self.out)
        self.out += struct.pack("<I", len(vector.items)) + bytes(4 * len(vector.items))
        for number, child in enumerate(vector.items):
            self._point(start + 4 + 4 * number, child)
        return start

    def _table(self, table: Table) -> int:
        def width(value: Any) -> int:
            return struct.calcsize("<" + value[0]) if isinstance(value, tuple) else 4

        order = sorted(table.fields, key=lambda number: -width(table.fields[number]))
        slots = [0] * (max(table.fields, default=-1) + 1)
        size = 4
        for number in order:
            slots[number] = size
            size += width(table.fields[number])
        head = 4 + 2 * len(slots)
        self._align(2)
        while (len(self.out) + head) % 8 != 4:
            self._align(1)
            self.out += b"\0\0"
        vtable = len(self.out)
        self.out += struct.pack(f"<HH{len(slots)}H", head, size, *slots)
        start = len(self.out)
        self.out += struct.pack("<i", start - vtable) + bytes(size - 4)
        for number in order:
            value = table.fields[number]
            if isinstance(value, tuple):
                struct.pack_into("<" + value[0], self.out, start + slots[number], value[1])
            else:
                self._point(start + slots[number], value)
        return start


def flatbuffer(root: Table, identifier: bytes) -> bytes:
    writer = Writer()
    writer.out += bytes(4) + identifier
    writer._point(0, root)
    return bytes(writer.out)


@dataclass
class Model:
    """One subgraph. Tensors and operators are added in order."""

    tensors: list[Table] = field(default_factory=list)
    buffers: list[Table] = field(default_factory=lambda: [Table({})])
    codes: list[Table] = field(default_factory=list)
    operators: list[Table] = field(default_factory=list)

    def tensor(
        self,
        name: str,
        kind: str,
        shape: Sequence[int],
        scale: float | None = None,
        zero_point: int = 0,
        value: Array | None = None,
    ) -> int:
        buffer = 0
        if value is not None:
            content = np.ascontiguousarray(value, np.dtype(kind)).tobytes()
            self.buffers.append(Table({0: content}))
            buffer = len(self.buffers) - 1
        fields: dict[int, Any] = {
            0: Vector(shape, "i"),
            1: ("b", TYPES[kind]),
            2: ("I", buffer),
            3: name.encode(),
        }
        if scale is not None:
            fields[4] = Table({2: Vector([scale], "f"), 3: Vector([zero_point], "q")})
        self.tensors.append(Table(fields))
        return len(self.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: Sequence[int],
        outputs: Sequence[int],
        kind: int,
        options: Table,
        version: int = 1,
    ) -> None:
        self.codes.append(Table({0: ("b", code), 2: ("i", version), 3: ("i", code)}))
        self.operators.append(
            Table(
                {
                    0: ("I", len(self.codes) - 1),
                    1: Vector(inputs, "i"),
                    2: Vector(outputs, "i"),
                    3: ("B", kind),
                    4: options,
                }
            )
        )

    def write(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        graph = Table(
            {
                0: Vector(self.tensors),
                1: Vector(inputs, "i"),
                2: Vector(outputs, "i"),
                3: Vector(self.operators),
                4: b"main",
            }
        )
        root = Table(
            {
                0: ("I", 3),
                1: Vector(self.codes),
                2: Vector([graph]),
                3: b"made by tests/app/tflite_writer.py",
                4: Vector(self.buffers),
            }
        )
        return flatbuffer(root, b"TFL3")


#: (scale, zero point) of what goes in, what comes out of the pooling, the weights and the scores.
QUANTIZATION = {"int8": (1 / 128, -1), "uint8": (1 / 128, 127)}
WEIGHT_SCALE = 1 / 64
SCORE_SCALE = 1 / 16


def weights(classes: int) -> Array:
    """Class c likes one of the three colours: [classes, 3]."""
    table = np.zeros((classes, 3))
    for c in range(classes):
        table[c, c % 3] = 1.5 - c / classes
        table[c, (c + 1) % 3] = -0.5
    return table


def classifier(kind: str = "float32", size: int = 16, classes: int = 12) -> bytes:
    """Mean colour times a matrix: an average pooling and a fully connected layer."""
    model = Model()
    matrix = weights(classes)
    shape = [1, size, size, 3]
    pool = Table({0: ("b", 1), 1: ("i", 1), 2: ("i", 1), 3: ("i", size), 4: ("i", size)})
    if kind == "float32":
        picture = model.tensor("picture", kind, shape)
        pooled = model.tensor("pooled", kind, [1, 1, 1, 3])
        matrix_at = model.tensor("matrix", kind, [classes, 3], value=matrix)
        bias = model.tensor("bias", kind, [classes], value=np.zeros(classes))
        scores = model.tensor("scores", kind, [1, classes])
        version = 1
    else:
        scale, zero = QUANTIZATION[kind]
        center = 0 if kind == "int8" else 128
        codes = np.round(matrix / WEIGHT_SCALE) + center
        picture = model.tensor("picture", kind, shape, scale, zero)
        pooled = model.tensor("pooled", kind, [1, 1, 1, 3], scale, zero)
        matrix_at = model.tensor("matrix", kind, [classes, 3], WEIGHT_SCALE, center, codes)
        bias = model.tensor("bias", "int32", [classes], scale * WEIGHT_SCALE, 0, np.zeros(classes))
        scores = model.tensor("scores", kind, [1, classes], SCORE_SCALE, center)
        version = 4 if kind == "int8" else 1
    model.operator(
        AVERAGE_POOL_2D, [picture], [pooled], POOL_OPTIONS, pool, 2 if kind == "int8" else 1
    )
    dense = Table({0: ("b", 0)})
    model.operator(
        FULLY_CONNECTED, [pooled, matrix_at, bias], [scores], DENSE_OPTIONS, dense, version
    )
    return model.write([picture], [scores])


def two_inputs() -> bytes:
    model = Model()
    a, b, c = (model.tensor(name, "float32", [1, 4, 4, 3]) for name in "abc")
    model.operator(ADD, [a, b], [c], ADD_OPTIONS, Table({0: ("b", 0)}))
    return model.write([a, b], [c])


def picture_to_picture() -> bytes:
    model = Model()
    a, b = (model.tensor(name, "float32", [1, 4, 4, 3]) for name in "ab")
    model.operator(ADD, [a, a], [b], ADD_OPTIONS, Table({0: ("b", 0)}))
    return model.write([a], [b])


def grey_input() -> bytes:
    model = Model()
    a = model.tensor("a", "float32", [1, 4, 4, 1])
    axes = model.tensor("axes", "int32", [2], value=np.array([1, 2]))
    b = model.tensor("b", "float32", [1, 1])
    model.operator(SUM, [a, axes], [b], REDUCER_OPTIONS, Table({0: ("B", 0)}))
    return model.write([a], [b])


def row_input() -> bytes:
    model = Model()
    a, b = (model.tensor(name, "float32", [1, 3]) for name in "ab")
    model.operator(ADD, [a, a], [b], ADD_OPTIONS, Table({0: ("b", 0)}))
    return model.write([a], [b])


def integer_input() -> bytes:
    model = Model()
    a, b = (model.tensor(name, "int32", [1, 4, 4, 3]) for name in "ab")
    model.operator(ADD, [a, a], [b], ADD_OPTIONS, Table({0: ("b", 0)}))
    return model.write([a], [b])


def without_xnnpack_operators() -> bytes:
    """The maximum over height and width: XNNPACK's delegate of 2.14.1 does not take it."""
    model = Model()
    a = model.tensor("a", "float32", [1, 4, 4, 3])
    axes = model.tensor("axes", "int32", [2], value=np.array([1, 2]))
    b = model.tensor("b", "float32", [1, 3])
    model.operator(REDUCE_MAX, [a, axes], [b], REDUCER_OPTIONS, Table({0: ("B", 0)}))
    return model.write([a], [b])


def unknown_operator() -> bytes:
    model = Model()
    a = model.tensor("a", "float32", [1, 4, 4, 3])
    b = model.tensor("b", "float32", [1, 3])
    model.operator(126, [a], [b], ADD_OPTIONS, Table({0: ("b", 0)}), version=99)
    return model.write([a], [b])


def weights_outside() -> bytes:
    """As ai-edge-quantizer 0.10 writes above 256 kB: Buffer.offset and .size instead of data."""
    model = Model()
    a = model.tensor("a", "float32", [1, 4, 4, 3])
    b = model.tensor("b", "float32", [1, 4, 4, 3], value=np.zeros((1, 4, 4, 3)))
    c = model.tensor("c", "float32", [1, 4, 4, 3])
    model.buffers[1] = Table({1: ("Q", 4096), 2: ("Q", 192)})
    model.operator(ADD, [a, b], [c], ADD_OPTIONS, Table({0: ("b", 0)}))
    return model.write([a], [c])
