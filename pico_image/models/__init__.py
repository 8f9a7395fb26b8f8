"""Models: published weights to ONNX, ``.tflite`` and ``.rknn``, with the accuracy told.

Two kinds of module live here. The *host* side (``convert``, ``environment``, ``inspection``,
``rknn_file``) runs with the orchestration. Everything else is *worker* code: it runs in a
subprocess inside a hash-locked environment of its own (``requirements/models.txt`` or
``requirements/rknn.txt``) and imports numpy, onnx and the converters, which the orchestration
does not have.
"""
