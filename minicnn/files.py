"""Writing a file so that nobody ever sees half of it, and saying what is the matter with one that cannot be read.

The bytes that are written go to a temporary file in the same folder; when all of them have reached the disk, the
temporary file is renamed to the wanted name, which the operating system does in one step. A full
disk, an error or a killed program thus leaves the old file as it was.
"""

import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

SHOWN = 3
"""How many files that may have been meant a message names."""


@contextmanager
def replace_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` when the `with` block ends well.

    If the block raises, the temporary file is removed and `path` is not touched. A symbolic link
    stays one; the file that it points to is replaced. Permissions stay as they were.

    Args:
        path: the file to write. Its folder must exist.

    Yields:
        The open file, whose `name` is that of the temporary file.

    Raises:
        OSError: the folder is missing or not writable, the disk is full, or `path` is a folder, a
            device or a pipe.
    """
    target = Path(os.path.realpath(path))
    replaces = target.exists()
    if replaces and not target.is_file():
        raise FileExistsError(f"{path}: exists and is no regular file, so it cannot be replaced")
    temporary = target.with_name(f".minicnn-{secrets.token_hex(8)}.tmp")
    file = _create(temporary, path)
    try:
        with file:
            if replaces:
                shutil.copymode(target, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _create(temporary: Path, path: str | os.PathLike) -> BinaryIO:
    """Open a new file that will become `path`, which is the name that an error shows."""
    try:
        return open(temporary, "xb")
    except OSError as error:
        reason = error.strerror
        if not os.path.exists(temporary.parent):
            reason = f"the folder {temporary.parent} does not exist; make it first"
        raise OSError(error.errno, reason, os.fspath(path)) from None


def open_to_read(path: str | os.PathLike, argument: str, endings: Sequence[str]) -> BinaryIO:
    """Open a file that somebody has named.

    Args:
        path: the file.
        argument: which argument it was, for messages.
        endings: what the names of such files usually end in.

    Raises:
        FileNotFoundError: it does not exist; the message names similar files in its folder.
        IsADirectoryError: it is a folder; the message names files in it.
        OSError: the system's own words, for any other reason.
    """
    name = os.fspath(path)  # no number of an open file, which open takes too
    kinds = f"{argument} names a file ({', '.join(endings)})"
    if os.path.isdir(name):
        raise IsADirectoryError(f"{name}: is a folder; {kinds}{_files_in(name, endings)}")
    try:
        return open(name, "rb")
    except FileNotFoundError as error:
        folder, last = os.path.split(name)
        raise FileNotFoundError(
            f"{name}: does not exist; {kinds}{_files_in(folder or os.curdir, endings, last)}"
        ) from error


def _files_in(folder: str, endings: Sequence[str], like: str = "") -> str:
    """Tell which files of a folder may have been meant, those with names like `like` first."""
    place = os.path.abspath(folder)
    if not os.path.isdir(place):
        return f", but there is no folder {place}"
    try:
        names = sorted(name for name in os.listdir(place) if name.lower().endswith(tuple(endings)))
    except OSError:  # a folder that may be passed through, but not be read
        return ""
    if not names:
        return f", and {place} has none"
    similar = get_close_matches(like, names, SHOWN)
    shown = [*similar, *(name for name in names if name not in similar)][:SHOWN]
    return f", and {place} has {', '.join(shown)}{', ...' if len(names) > SHOWN else ''}"
