"""Models: published weights to ONNX, ``.tflite`` and ``.rknn``, with a report on their accuracy.

The modules here are the host's side. ``worker`` runs in a subprocess inside a hash-locked
environment of its own (``requirements/models.txt`` or ``requirements/rknn.txt``) and imports numpy,
onnx and the converters, which the host does not have.
"""
