"""The modules that each stage's worker runs: a change in one makes that stage's results anew.

tests/models/test_conversion.py holds the lists against the imports.
"""

PREPARE = (
    "archives",
    "calibration",
    "job_prepare",
    "networks",
    "onnx_graph",
    "pictures",
    "random_networks",
    "weights",
    "worker",
)
SHOWN = ("archives", "job_pictures", "pictures", "worker")
TFLITE = (
    "accuracy",
    "job_tflite",
    "onnx_to_tflite",
    "pictures",
    "quantize",
    "rounding",
    "tflite_file",
    "tflite_operators",
    "tflite_writer",
    "worker",
)
PHOTOGRAPHS = (
    "accuracy",
    "job_photographs",
    "pictures",
    "quantize",
    "tflite_file",
    "tflite_writer",
    "worker",
)
DESCRIBE = (
    "job_describe",
    "networks",
    "onnx_graph",
    "onnx_to_tflite",
    "tflite_file",
    "tflite_operators",
    "tflite_writer",
    "worker",
)
RKNN = (
    "accuracy",
    "job_rknn",
    "measured_scales",
    "rknn_file",
    "rounding",
    "toolkit",
    "torch_stand_in",
    "worker",
)
GOLDEN = ("accuracy", "job_golden", "toolkit", "torch_stand_in", "worker")
