# Keras' own types say that half of `keras.ops` returns None: for the checker everything of Keras is Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
