"""Runs a LiteRT file on examples, in a process of its own: some of LiteRT's kernels crash the process.

    python -P litert_process.py MODEL FOLDER RUNTIME BATCH ENDPOINT...

RUNTIME is "Interpreter" or "CompiledModel"; BATCH the batch of the file, 0 for any. For each endpoint, in order,
FOLDER/NAME.in.npz becomes FOLDER/NAME.RUNTIME.npz, or FOLDER/NAME.RUNTIME.error holds LiteRT's error. A line on
standard output says that the file is loaded. -P keeps the modules beside this script from hiding those of the standard
library.
"""

import sys
from pathlib import Path

import numpy as np


def main(model: str, folder: str, runtime: str, batch: str, *names: str) -> None:
    """Runs the endpoints of a LiteRT file.

    Args:
        model: Path of the file.
        folder: Folder of the examples, in which the outputs are written.
        runtime: "Interpreter" or "CompiledModel".
        batch: Batch of the file as text; "0": any.
        *names: Endpoints to run, in order.
    """
    load = {"Interpreter": _interpreter, "CompiledModel": _compiled_model}[runtime]
    run = load(model)
    print(f"loaded {model}", flush=True)
    for name in names:
        with np.load(Path(folder, f"{name}.in.npz")) as stored:
            tensors = dict(stored)
        try:
            outputs = _in_batches(lambda part, name=name: run(name, part), tensors, int(batch))
        except Exception as error:  # the runtime has no kernel for an op in this type; its errors are of all types
            Path(folder, f"{name}.{runtime}.error").write_text(" ".join(str(error).split())[:300], encoding="utf-8")
        else:
            np.savez(Path(folder, f"{name}.{runtime}.npz"), **outputs)  # pyright: ignore[reportArgumentType]


def _in_batches(run, tensors, batch):
    """The outputs of all examples. The first batch is run once more at the end: what a runtime keeps between two calls
    must not change them, and NaN in place of outputs that differ fails every comparison.
    """
    n = len(next(iter(tensors.values())))
    parts = []
    for start in range(0, n, batch or n):
        rows = np.arange(start, start + (batch or n)) % n  # the last batch is filled up
        parts.append(run({key: value[rows] for key, value in tensors.items()}))
    again = run({key: value[np.arange(batch or n) % n] for key, value in tensors.items()})
    outputs = {key: np.concatenate([part[key] for part in parts])[:n] for key in parts[0]}
    for key, value in again.items():
        if not np.allclose(value, parts[0][key], rtol=1e-5, atol=1e-6):
            outputs[key] = np.full_like(outputs[key], np.nan)
    return outputs


def _interpreter(model):
    from ai_edge_litert.interpreter import Interpreter  # the runtime of phones, not TensorFlow's own copy

    interpreter = Interpreter(model_path=model)
    runners = {name: interpreter.get_signature_runner(name) for name in interpreter.get_signature_list()}
    return lambda name, tensors: {key: np.array(value) for key, value in runners[name](**tensors).items()}


def _compiled_model(model):
    from ai_edge_litert.compiled_model import CompiledModel

    compiled = CompiledModel.from_file(model)
    buffers = {}

    def run(name, tensors):
        if name not in buffers:
            io = compiled.get_signature_list()[name]
            buffers[name] = (
                {key: compiled.create_input_buffer_by_name(name, key) for key in io["inputs"]},
                {key: compiled.create_output_buffer_by_name(name, key) for key in io["outputs"]},
                compiled.get_output_tensor_details(name),
            )
        inputs, outputs, details = buffers[name]
        for key, buffer in inputs.items():
            buffer.write(np.ascontiguousarray(tensors[key]).ravel())
        compiled.run_by_name(name, inputs, outputs)
        found = {}
        for key, buffer in outputs.items():
            shape = tuple(details[key]["shape"])
            found[key] = np.array(buffer.read(int(np.prod(shape)), details[key]["dtype"])).reshape(shape)
        return found

    return run


if __name__ == "__main__":
    main(*sys.argv[1:])
