"""The one way to write: aside, then renamed, so that a reader sees the old or the new, never a half. Always UTF-8.

What a process writes aside has a name that its next run knows, and a lock that ends with the process: a run removes
what a dead one has left, and nothing of a living one.
"""

import contextlib
import ctypes
import errno
import hashlib
import io
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_genzoo.errors import ZooError
from keras_genzoo.typing import PathLike

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing swept
    fcntl = None

_SLOTS = 8  # number of processes that may write one path at once under names that the next run knows
_STEM = 50  # letters of a path's name in a name beside it: four bytes each leave room in the 255 of a name
_SUFFIX = 16  # letters of a suffix that is kept, for libraries that tell a format by it
_HERE = -100  # AT_FDCWD of Linux: paths are relative to the working directory
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux


class _NoLocksError(Exception):
    """Neither the system nor the file system of a path knows locks."""


class _CannotWriteError(ZooError):
    """The error of `cannot_write`, which keeps the system's words."""

    def __init__(self, path, reason):
        super().__init__(f"Cannot write {path}: {reason}")
        self.reason = reason


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
            _make_folders(self.path.parent)
            self.temporary, self._lock = _claimed(self.path.parent, self.path.name, suffix=self.path.suffix[:_SUFFIX])
        except (OSError, ValueError) as error:
            raise cannot_write(self.path, error) from None
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: Any) -> None:
        stands = False
        try:
            if kind is None:
                self.temporary.chmod(0o644)
                _sync(self.temporary)
                os.replace(self.temporary, self.path)
                stands = True
        except OSError as failure:
            kind, error = type(failure), failure
        finally:
            if not stands:  # else the name is free, and may be another process's by now
                self.temporary.unlink(missing_ok=True)
            _release(self._lock)
        if error is not None and _is_of_the_system(kind):
            raise cannot_write(self.path, error) from error


class folder_aside:
    """Context: a temporary folder that takes the place of `path` when the block ends well, else disappears.

    Args:
        path: Folder to write; its parent is made.

    Raises:
        ZooError: The parent cannot be written, or the block ended in an OSError such as a full disk.
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)

    def __enter__(self) -> Path:
        try:
            _make_folders(self.path.parent)
            self._around, self._lock = _claimed(self.path.parent, self.path.name)
            # Inside a folder that stays locked, as the old one is that comes in its place.
            self.temporary = self._around / "new"
            self.temporary.mkdir(mode=0o755)
        except (OSError, ValueError) as error:
            raise cannot_write(self.path, error) from None
        return self.temporary

    def __exit__(self, kind, error, _) -> None:
        try:
            if kind is None:
                _sync(self.temporary)
                put_in_place(self.temporary, self.path)
        except OSError as failure:
            raise cannot_write(self.path, failure) from failure
        finally:
            shutil.rmtree(self._around, ignore_errors=True)
            _release(self._lock)
        _name(self.path, error)


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
            _make_folders(self.path)
            self.temporary, self._lock = _claimed(self.path, "within")
        except (OSError, ValueError) as error:
            raise cannot_write(self.path, error) from None
        return self.temporary

    def __exit__(self, kind, error, _) -> None:
        shutil.rmtree(self.temporary, ignore_errors=True)
        _release(self._lock)
        _name(self.path, error)


class MemoryFile(io.BytesIO):
    """A file in memory whose text is a name: Keras, which reads the format off the name, takes it for a path.

    Args:
        name: Name of the file, such as "model.weights.h5".
    """

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


class in_memory:
    """Context: a file in memory, which is written to `path`, aside first, when the block ends well.

    For what must not meet a full disk itself: HDF5 ends the process by a segmentation fault.

    Args:
        path: File to write; its folder is made.

    Raises:
        ZooError: The file cannot be written.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp(), "note.bin")
        >>> with in_memory(path) as file:
        ...     _ = file.write(b"whole")
        >>> path.read_bytes()
        b'whole'
    """

    def __init__(self, path: PathLike):
        self.path = Path(path)

    def __enter__(self) -> MemoryFile:
        self.file = MemoryFile(self.path.name)
        return self.file

    def __exit__(self, kind, error, _) -> None:
        if kind is None:
            write_bytes(self.path, self.file.getbuffer())


@contextlib.contextmanager
def lock(path: PathLike) -> Iterator[None]:
    """Context: the one run that writes `path`. The lock is a file beside it, and ends with the process.

    Args:
        path: File or folder to write later; the folders above it are made, and removed again if they stay empty.

    Raises:
        ZooError: Another process has the lock, or the folder cannot be written.
    """
    path = Path(path)
    file = path.with_name(f".{path.name}.lock")
    with _folders_above(path):
        try:
            handle = _locked(file)
        except _NoLocksError:
            try_to_write(path)
            yield
            return
        except BlockingIOError:
            raise ZooError(
                f"{path} is being written by another process; wait for its end, or give another path"
            ) from None
        except (OSError, ValueError) as error:
            raise cannot_write(path, error) from None
        try:
            _fill(file, path)
            yield
        finally:
            file.unlink(missing_ok=True)
            _release(handle)


def try_to_write(path: PathLike) -> None:
    """Finds out before hours of work whether a path can be written: its folder is made and tried, and left as it was.

    Args:
        path: File or folder to write later.

    Raises:
        ZooError: It cannot be written.
    """
    path = Path(path).expanduser()
    with _folders_above(path):
        try:
            with contextlib.suppress(FileNotFoundError):
                os.lstat(path)  # raises where the name is too long
            temporary, handle = _claimed(path.parent, path.name)
        except (OSError, ValueError) as error:
            raise cannot_write(path, error) from None
        try:
            _fill(temporary / "tried", path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            _release(handle)


def try_to_write_file(path: PathLike) -> None:
    """`try_to_write` of a file, whose path must be no folder.

    Args:
        path: File to write later.

    Raises:
        ZooError: It cannot be written.
    """
    path = Path(path).expanduser()
    if os.path.isdir(path):
        raise ZooError(f"Cannot write {path}: it is a folder; give the path of a file")
    try_to_write(path)


def put_in_place(new: Path, target: Path) -> None:
    """Moves a finished file or folder to `target`; the old one goes only once the new one stands.

    Linux exchanges the two in one step. Elsewhere there is a moment between two renames, in which the old one is
    `.NAME.replaced`; `healed` puts it back where a process was killed just then.

    Args:
        new: File or folder, on the same file system as `target`.
        target: Path to take.

    Raises:
        OSError: The move failed; the old one is in its place.
    """
    old = _replaced(target)
    if os.path.lexists(target):
        if old.exists():
            _remove(old)  # left by a process that was killed just before it removed this
        if not (new.is_dir() or target.is_dir()):
            os.replace(new, target)
            return
        if _exchanged(new, target):
            _remove(new)
            return
    try:
        if os.path.lexists(target):
            os.rename(target, old)
        os.rename(new, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.rename(old, target)
        raise
    _remove(old)


def healed(path: PathLike) -> Path:
    """The path, after what a killed process had moved out of the way is back there; see `put_in_place`.

    Args:
        path: File or folder.

    Returns:
        The path.
    """
    path = Path(path)
    with contextlib.suppress(OSError, ValueError):
        if not os.path.lexists(path) and os.path.lexists(_replaced(path)):
            os.rename(_replaced(path), path)
    return path


def write_bytes(path: PathLike, content: Any) -> Path:
    """Writes a file, aside first.

    Args:
        path: File to write; its folder is made.
        content: Bytes, or a view of them.

    Returns:
        The path.

    Raises:
        ZooError: The file cannot be written.
    """
    with aside(path) as temporary:
        written = temporary.write_bytes(content)
        if written != memoryview(content).nbytes or temporary.stat().st_size != written:
            raise OSError(f"{temporary.stat().st_size} of {memoryview(content).nbytes} bytes were written")
    return Path(path)


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


def cache() -> Path:
    """The user's folder for what can be made again, which need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras_genzoo"


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


def cannot_write(path: PathLike, error: BaseException | str) -> ZooError:
    """The one-line error of a path that the system refuses to write.

    Args:
        path: Path of the file or folder.
        error: The system's error, or its words.

    Returns:
        The error to raise.
    """
    return _CannotWriteError(path, getattr(error, "strerror", None) or str(error))


def _name(path, error):
    """Raises an error of writing below a temporary folder as one of writing the path that the user has given."""
    if isinstance(error, _CannotWriteError):
        raise cannot_write(path, error.reason) from error
    if error is not None and _is_of_the_system(type(error)):
        raise cannot_write(path, error) from error


def _is_of_the_system(kind):
    """Whether an exception type is the system's; a ZooError that is an OSError as well has a better message."""
    return kind is not None and issubclass(kind, OSError) and not issubclass(kind, ZooError)


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _replaced(path):
    """The name of what is moved out of a path's way for a moment."""
    return path.with_name(f".{path.name}.replaced")


def _exchanged(first, second):
    """Exchanges two paths in one step; False where the system or the file system cannot."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    return rename(_HERE, os.fsencode(first), _HERE, os.fsencode(second), _EXCHANGE) == 0


def _sync(path):
    """Has a file, or all files of a folder, reach the disk: some disks tell only then that they are full."""
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file():
            handle = os.open(file, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


@contextlib.contextmanager
def _folders_above(path):
    """Context in which the folders above a path exist; those that it has made go if they are empty at its end."""
    missing = []
    try:
        for folder in path.parents:
            if folder.is_dir():
                break
            missing.append(folder)
        _make_folders(path.parent)
    except (OSError, ValueError) as error:
        raise cannot_write(path, error) from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            for folder in missing:
                folder.rmdir()


def _make_folders(folder):
    """Makes a folder and those above it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None


def _fill(file, path):
    """Writes a block into a file: a full disk takes its name, but no content."""
    try:
        file.write_bytes(bytes(4096))
    except OSError as error:
        raise cannot_write(path, error) from None


def _claimed(parent, name, *, suffix=None):
    """An empty temporary folder in `parent`, or a file of a suffix; and its lock, or None where nothing locks.

    What dead processes have left under the same name goes.
    """
    taken = None
    with contextlib.suppress(_NoLocksError):
        for i in range(_SLOTS):
            path = parent / f".{name[:_STEM]}.{i}.aside{suffix or ''}"
            if taken and not os.path.lexists(path):
                continue
            try:
                handle = _locked(path, is_folder=suffix is None)
            except BlockingIOError:  # of a living process
                continue
            if taken:
                _remove(path)
                _release(handle)
                continue
            for left in path.iterdir() if suffix is None else ():
                _remove(left)
            if suffix is not None:
                os.truncate(path, 0)
            taken = path, handle
    if taken:
        return taken
    if suffix is None:
        return Path(tempfile.mkdtemp(prefix=f".{name[:_STEM]}.", dir=parent)), None
    handle, path = tempfile.mkstemp(prefix=f".{name[:_STEM]}.", suffix=suffix, dir=parent)
    os.close(handle)
    return Path(path), None


def _locked(path, *, is_folder=False):
    """A handle that holds the lock of a file or folder, which is made; BlockingIOError: another process has it."""
    if fcntl is None:
        raise _NoLocksError
    while True:
        try:
            if is_folder:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)
            handle = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            if path.parent.is_dir() and is_folder:  # its owner has just removed it
                continue
            raise
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise
        except OSError:
            os.close(handle)
            _remove(path)  # where nothing is locked, no living process has this name either
            raise _NoLocksError from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        os.close(handle)  # its owner has just renamed or removed it


def _release(handle):
    if handle is not None:
        os.close(handle)
