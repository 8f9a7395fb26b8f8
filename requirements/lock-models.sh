#!/bin/sh
# Write requirements/models.txt and rknn.txt from their .in files. Needs uv.
#
# What is left out: sympy, coloredlogs and what they pull are for ONNX Runtime's training tools,
# litert-lm-builder for language models; 90 MB that no code path of ours imports.
# rknn-toolkit2 asks for torch, a multi-gigabyte CUDA build on the Python registry, and uses it
# only for PyTorch models and one quantiser: rknn-overrides.txt drops it, and
# pico_image/models/worker/toolkit.py has a stand-in for the three names that it imports.
set -eu
cd "$(dirname "$0")"
lock() {
	uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-annotate \
		--no-emit-package sympy --no-emit-package mpmath --no-emit-package coloredlogs \
		--no-emit-package humanfriendly --no-emit-package litert-lm-builder \
		--no-emit-package pyreadline3 --no-emit-package tomli --no-emit-package colorama \
		--custom-compile-command requirements/lock-models.sh "$@"
}
lock models.in --output-file models.txt
lock rknn.in --override rknn-overrides.txt --output-file rknn.txt
