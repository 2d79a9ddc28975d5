"""The IDX file format, in which MNIST and its relatives are published.

An IDX file is a small header followed by the numbers of one array, everything big endian:

    bytes 0-1   two zeros
    byte  2     the type of a number: 0x08 uint8, 0x09 int8, 0x0B int16, 0x0C int32,
                0x0D float32, 0x0E float64
    byte  3     D, the number of dimensions
    4 x D       the size of each dimension, as unsigned 32-bit integers
    the rest    the numbers, last index fastest

Nothing in a file is believed before it is checked: a damaged file gives a ValueError that says
what was expected and what came, and a header that claims terabytes fails before the memory is
asked for. Source: the description on the MNIST page, http://yann.lecun.com/exdb/mnist/.
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minicnn.files import replace_file

TYPES = {
    0x08: np.dtype("uint8"),
    0x09: np.dtype("int8"),
    0x0B: np.dtype("int16"),
    0x0C: np.dtype("int32"),
    0x0D: np.dtype("float32"),
    0x0E: np.dtype("float64"),
}
"""The type code in byte 2 of the header, and the NumPy type it stands for."""

CODES = {dtype: code for code, dtype in TYPES.items()}

GZIP_MAGIC = b"\x1f\x8b"
GZIP_MAX_RATIO = 1032
"""The deflate method cannot shrink data by more than this factor (zlib's technical notes)."""

CHUNK = 1 << 20


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read the array in an IDX file, which may be compressed with gzip (whatever its name).

    Args:
        path: the file.

    Returns:
        A new array in the machine's byte order, with the shape and type that the file states.

    Raises:
        OSError: the file does not exist or cannot be read.
        ValueError: the file is not a sound IDX file; the message names the file and the damage.
    """
    path = Path(path)
    with path.open("rb") as file:
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        on_disk = os.fstat(file.fileno()).st_size
        if not compressed:
            return _read_stream(file, path, most=on_disk)
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                return _read_stream(stream, path, most=on_disk * GZIP_MAX_RATIO)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: damaged gzip data ({error}); get it again") from error


def _read_stream(stream: BinaryIO, path: Path, most: int) -> np.ndarray:
    """Parse a stream of plain IDX bytes that cannot hold more than `most` bytes."""
    dtype, shape = _read_header(stream, path)
    most -= 4 + 4 * len(shape)  # the header
    wanted = math.prod(shape) * dtype.itemsize
    claim = f"{dtype} numbers of shape {shape}, {wanted:,} bytes"
    if wanted > most:
        raise ValueError(
            f"{path}: truncated data: the header promises {claim}; "
            f"the file can hold no more than {most:,} bytes"
        )
    data = bytearray()
    while len(data) < wanted:
        piece = stream.read(min(CHUNK, wanted - len(data)))
        if not piece:
            raise ValueError(
                f"{path}: truncated data: the header promises {claim}; got {len(data):,}"
            )
        data += piece
    if stream.read(1):  # for gzip, reading on to the end is also what checks the checksum
        raise ValueError(f"{path}: trailing bytes: the header promises {claim}; more follow")
    numbers = np.frombuffer(data, dtype.newbyteorder(">")).astype(dtype, copy=False)
    try:
        return numbers.reshape(shape)
    except ValueError as error:  # too many dimensions, or too large ones beside a 0
        raise ValueError(f"{path}: NumPy cannot hold the shape {shape} ({error})") from error


def _read_header(stream: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    """Read the type and the shape of the array that follows."""
    magic = stream.read(4)
    if len(magic) < 4:
        raise ValueError(f"{path}: truncated header: expected at least 4 bytes, got {len(magic)}")
    zeros, code, ndim = magic[:2], magic[2], magic[3]
    if zeros != b"\0\0":
        raise ValueError(
            f"{path}: not an IDX file: expected two zero bytes first, got {zeros.hex(' ')}"
        )
    if code not in TYPES:
        known = ", ".join(f"0x{key:02X} {dtype}" for key, dtype in TYPES.items())
        raise ValueError(f"{path}: unknown type code 0x{code:02X}: expected one of {known}")
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(
            f"{path}: truncated header: expected {4 * ndim} bytes for {ndim} dimension(s), "
            f"got {len(sizes)}"
        )
    return TYPES[code], tuple(int(size) for size in np.frombuffer(sizes, ">u4"))


def to_bytes(array: np.ndarray) -> bytes:
    """Return the contents of the uncompressed IDX file that holds `array`.

    There is exactly one such file for an array, so a checksum of these bytes identifies it.

    Raises:
        TypeError: for a type of number that the format does not know.
        ValueError: for more than 255 dimensions or a dimension of 2**32 or more.
    """
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("=")
    if dtype not in CODES:
        known = ", ".join(str(known) for known in CODES)
        raise TypeError(f"write_idx: array: expected one of the types {known}, got {array.dtype}")
    if array.ndim > 255 or any(size >= 2**32 for size in array.shape):
        raise ValueError(f"write_idx: array: no IDX header can state the shape {array.shape}")
    magic = bytes([0, 0, CODES[dtype], array.ndim])
    sizes = np.array(array.shape, ">u4").tobytes()
    return magic + sizes + array.astype(dtype.newbyteorder(">"), copy=False).tobytes()


def write_idx(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write `array` as an IDX file; with gzip if the name ends in ".gz".

    The bytes are the same for the same array (no time stamp), and the file appears whole or not at
    all.

    Args:
        path: the file to write; an existing one is replaced.
        array: numbers of one of the types in `TYPES`, any shape.

    Raises:
        TypeError, ValueError: `array` has no IDX form, see `to_bytes`.
        OSError: the file cannot be written.
    """
    path = Path(path)
    contents = to_bytes(array)
    if path.suffix == ".gz":
        contents = gzip.compress(contents, compresslevel=9, mtime=0)
    with replace_file(path) as file:
        file.write(contents)
