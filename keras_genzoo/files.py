"""The one way to write: aside, then renamed, so that a reader sees the old or the new, never a half. Always UTF-8."""

import hashlib
import json
import math
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import PathLike


class aside:
    """Context: a temporary file name beside `path` that takes its place when the block ends well, else disappears.

    Args:
        path: File to write; its folder is made.

    Raises:
        ZooError: The folder cannot be written, or the block ended in an OSError such as a full disk.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp(), "note.txt")
        >>> with aside(path) as temporary:
        ...     _ = temporary.write_text("whole", encoding="utf-8")
        >>> path.read_text(encoding="utf-8")
        'whole'
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=".", suffix=self.path.suffix, dir=self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from None
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        try:
            if kind is None:
                self.temporary.chmod(0o644)
                os.replace(self.temporary, self.path)
        except OSError as failure:
            kind, error = type(failure), failure
        finally:
            self.temporary.unlink(missing_ok=True)
        if error is not None and _is_of_the_system(kind):
            raise cannot_write(self.path, error) from error


class folder_aside:
    """Context: a temporary folder beside `path` that takes its place when the block ends well, else disappears.

    Args:
        path: Folder to write; its parent is made.

    Raises:
        ZooError: The parent cannot be written, or the block ended in an OSError such as a full disk.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.", dir=self.path.parent))
        except OSError as error:
            raise cannot_write(self.path, error) from None
        self.temporary.chmod(0o755)
        return self.temporary

    def __exit__(self, kind, error, _) -> None:
        try:
            if kind is None:
                put_in_place(self.temporary, self.path)
            elif _is_of_the_system(kind):
                raise error
        except OSError as failure:
            if isinstance(failure, ZooError):
                raise
            raise cannot_write(self.path, failure) from failure
        finally:
            shutil.rmtree(self.temporary, ignore_errors=True)


class folder_within:
    """Context: a temporary folder inside the folder `path`, for files that take their places beside it one by one.

    Args:
        path: Folder, which is made.

    Raises:
        ZooError: The folder cannot be written, or the block ended in an OSError such as a full disk.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.temporary = Path(tempfile.mkdtemp(prefix=".aside.", dir=self.path))
        except OSError as error:
            raise cannot_write(self.path, error) from None
        return self.temporary

    def __exit__(self, kind, error, _) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        if _is_of_the_system(kind):
            raise cannot_write(self.path, error) from error


def put_in_place(new: Path, target: Path) -> None:
    """Moves a finished file or folder to `target`; the old one goes only once the new one stands.

    Args:
        new: File or folder, on the same file system as `target`.
        target: Path to take.

    Raises:
        OSError: The move failed; the old one is back in its place.
    """
    old = target.with_name(f".{target.name}.replaced")
    if old.exists() and target.exists():
        _remove(old)  # left by a process that was killed just before it removed this
    try:
        if target.exists():
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    _remove(old)


def write_text(path: PathLike, text: str) -> Path:
    """Writes a text file, aside first.

    Args:
        path: File to write; its folder is made.
        text: Content.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Path(path)


def write_json(path: PathLike, content: Any, *, indent: int | None = 1) -> Path:
    """Writes a JSON file, aside first.

    Args:
        path: File to write; its folder is made.
        content: Dicts, lists, text and numbers.
        indent: Spaces per level; None: one line.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    return write_text(path, json_text(content, indent=indent) + "\n")


def json_text(content: Any, *, indent: int | None = 1) -> str:
    """Content as JSON: a number that is not finite is null, for JSON has no word for it.

    Args:
        content: Dicts, lists, text and numbers.
        indent: Spaces per level; None: one line.

    Returns:
        The text.
    """

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(finite(content), indent=indent, allow_nan=False)


def read_json(path: PathLike, *, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
        path: File to read.
        remedy: Advice about a damaged file, the end of the error's line.

    Returns:
        Dicts, lists, text and numbers.

    Raises:
        ZooError: The file is not JSON.
        FileNotFoundError: No such file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ZooError(f"{path} is not JSON ({error}); {remedy}") from None


def sha256(path: PathLike) -> str:
    """Hex SHA-256 of a file, or of a folder: over the sorted names and hashes of its files."""
    path = Path(path)
    if path.is_dir():
        parts = [f"{file.relative_to(path)} {sha256(file)}" for file in sorted(path.rglob("*")) if file.is_file()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size(path: PathLike) -> int:
    """Bytes of a file, or of all files in a folder."""
    path = Path(path)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def cannot_write(path: PathLike, error: BaseException) -> ZooError:
    """The one-line error of a path that the system refuses to write.

    Args:
        path: Path of the file or folder.
        error: The system's error.

    Returns:
        The error to raise.
    """
    return ZooError(f"Cannot write {path}: {getattr(error, 'strerror', None) or error}")


def _is_of_the_system(kind):
    """Whether an exception type is the system's; a ZooError that is an OSError as well has a better message."""
    return kind is not None and issubclass(kind, OSError) and not issubclass(kind, ZooError)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
