"""Writing a file so that nobody ever sees half of it.

The bytes go to a temporary file in the same folder; when all of them have reached the disk, the
temporary file is renamed to the wanted name, which the operating system does in one step. A full
disk, an error or a killed program thus leaves the old file as it was.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


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
