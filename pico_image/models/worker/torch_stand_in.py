"""What rknn-toolkit2 needs of PyTorch to convert an ONNX model: that it can be imported. (Worker.)

On the Python registry torch is a CUDA build of several gigabytes. rknn-toolkit2 2.3.2 imports it
when it starts, for PyTorch models and the quantiser "gdq", which this chip does not have: of
all its names the decorator ``no_grad`` and the base class ``nn.Module`` are touched, seen by
running it with a module that reports every access. With these two, conversion, simulator and
accuracy analysis give the same NPU payload as with torch 2.13.0. Any other access fails by name.
"""

from __future__ import annotations

import importlib.machinery
import sys
import types
from collections.abc import Callable
from typing import Any


class _Module:
    """In the place of ``torch.nn.Module`` and ``torch.Tensor``: can be named, never made."""

    def __init__(self, *_: object, **__: object) -> None:
        raise RuntimeError("this part of rknn-toolkit2 needs PyTorch, which is not installed")


def _no_grad() -> Callable[[Any], Any]:
    return lambda function: function


def install() -> None:
    """Put the stand-in into ``sys.modules``, unless the real one is there."""
    if "torch" in sys.modules:
        return
    torch, nn = types.ModuleType("torch"), types.ModuleType("torch.nn")
    torch.__version__ = "2.4.0"  # type: ignore[attr-defined]
    torch.no_grad = _no_grad  # type: ignore[attr-defined]
    torch.Tensor = _Module  # type: ignore[attr-defined]
    torch.nn = nn  # type: ignore[attr-defined]
    nn.Module = _Module  # type: ignore[attr-defined]
    for module in (torch, nn):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
    sys.modules["torch"], sys.modules["torch.nn"] = torch, nn
