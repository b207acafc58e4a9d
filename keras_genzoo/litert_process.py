"""A LiteRT file on examples, in a process of its own: some of LiteRT's int8 kernels take their process down.

    python litert_process.py MODEL FOLDER ENDPOINT...

For each endpoint, in order, FOLDER/NAME.in.npz becomes FOLDER/NAME.out.npz, or FOLDER/NAME.error says what LiteRT says.
The first line on standard output is the file's ops, as JSON.
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # the runtime phones have, not TensorFlow's own copy


def main(model, folder, *names):
    interpreter = Interpreter(model_path=model)
    print(json.dumps(sorted({op["op_name"] for op in interpreter._get_ops_details()} - {"DELEGATE"})), flush=True)
    for name in names:
        with np.load(Path(folder, f"{name}.in.npz")) as stored:
            tensors = dict(stored)
        try:
            outputs = interpreter.get_signature_runner(name)(**tensors)
        except RuntimeError as error:  # an op that the runtime's own kernels do not have in this type
            Path(folder, f"{name}.error").write_text(" ".join(str(error).split()))
        else:
            np.savez(Path(folder, f"{name}.out.npz"), **outputs)


if __name__ == "__main__":
    main(*sys.argv[1:])
