"""Run a model N times with the tflite-runtime wheel. Runs inside the emulated Python 3.11.

Usage: wheel_runner.py WHEEL_FOLDER NUMPY_FOLDER MODEL RUNS
"""

import sys

wheel, numpy_folder, model, runs = sys.argv[1:]
sys.path[:0] = [wheel, numpy_folder]

import numpy  # noqa: E402
from tflite_runtime.interpreter import Interpreter  # type: ignore[import-not-found]  # noqa: E402

interpreter = Interpreter(model_path=model, num_threads=1)
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
values = numpy.arange(numpy.prod(details["shape"])).reshape(details["shape"]) % 255
if details["dtype"] == numpy.float32:
    values = values / 128 - 1
elif details["dtype"] == numpy.int8:
    values = values - 128
interpreter.set_tensor(details["index"], values.astype(details["dtype"]))
for _ in range(int(runs)):
    interpreter.invoke()
output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
print("ran", runs, "top", int(output.argmax()))
