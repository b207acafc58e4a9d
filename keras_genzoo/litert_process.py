"""Runs a LiteRT file on examples, in a process of its own: some of LiteRT's int8 kernels crash the process.

    python -P litert_process.py MODEL FOLDER ENDPOINT...

For each endpoint, in order, FOLDER/NAME.in.npz becomes FOLDER/NAME.out.npz, or FOLDER/NAME.error holds LiteRT's error.
The first line on standard output lists the file's ops, as JSON. -P keeps the modules beside this script from hiding
those of the standard library.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # the runtime of phones, not TensorFlow's own copy


def main(model: str, folder: str, *names: str) -> None:
    """Runs the endpoints of a LiteRT file.

    Args:
        model: Path of the file.
        folder: Folder of the examples, in which the outputs are written.
        *names: Endpoints to run, in order.
    """
    interpreter = Interpreter(model_path=model)
    print(json.dumps(sorted({op["op_name"] for op in interpreter._get_ops_details()} - {"DELEGATE"})), flush=True)
    for name in names:
        with np.load(Path(folder, f"{name}.in.npz")) as stored:
            tensors = dict(stored)
        try:
            outputs = interpreter.get_signature_runner(name)(**tensors)
        except RuntimeError as error:  # the runtime has no kernel for an op in this type
            Path(folder, f"{name}.error").write_text(" ".join(str(error).split()), encoding="utf-8")
        else:
            np.savez(Path(folder, f"{name}.out.npz"), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
