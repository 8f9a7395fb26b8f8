"""Compare the logits of a converted model with those of the float one."""

from __future__ import annotations

import numpy as np

from pico_image.models.worker.jobs import Agreement, Ranked
from pico_image.models.worker.networks import Array

#: With float logits this close the winner is a coin toss; such pictures are counted in the report.
NEAR_TIE = 0.1


def agreement(reference: Array, other: Array) -> Agreement:
    """How well ``other`` (N, classes) agrees with ``reference``, both logits."""
    best, best_other = reference.argsort(axis=1)[:, ::-1], other.argsort(axis=1)[:, ::-1]
    five = min(5, reference.shape[1])
    top5 = [set(row) for row in best[:, :five].tolist()]
    top5_other = [set(row) for row in best_other[:, :five].tolist()]
    cosine = cosines(reference, other)
    ordered = np.sort(reference, axis=1)
    noise = float(((reference - other).astype(np.float64) ** 2).sum())
    signal = float((reference.astype(np.float64) ** 2).sum())
    return Agreement(
        pictures=len(reference),
        top1=float((best[:, 0] == best_other[:, 0]).mean()),
        top1_in_top5=float(
            np.mean([int(best[i, 0]) in top5_other[i] for i in range(len(reference))])
        ),
        top5_overlap=float(
            np.mean([len(a & b) / five for a, b in zip(top5, top5_other, strict=True)])
        ),
        cosine=float(cosine.mean()),
        cosine_min=float(cosine.min()),
        error_db=float(10 * np.log10(signal / noise)) if noise else None,
        near_ties=int((ordered[:, -1] - ordered[:, -2] < NEAR_TIE).sum()),
    )


def cosines(left: Array, right: Array) -> Array:
    """Cosine similarity row by row, float64; 1 for two rows of zeros."""
    a, b = left.astype(np.float64), right.astype(np.float64)
    norm = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    dot: Array = (a * b).sum(axis=1)
    return np.where(norm > 0, dot / np.where(norm > 0, norm, 1.0), 1.0)


def probabilities(logits: Array) -> Array:
    """Softmax of each row."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: Array = shifted / shifted.sum(axis=1, keepdims=True)
    return result


def ranked(logits: Array) -> list[Ranked]:
    """Of each picture (N, classes): the five best classes, best first, and the first's chance."""
    chances = probabilities(logits)
    rows = []
    for number, values in enumerate(logits):
        order = [int(index) for index in values.argsort()[::-1][:5]]
        rows.append(Ranked(order, float(chances[number, order[0]])))
    return rows
