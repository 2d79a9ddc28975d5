"""Zip archives from strangers: what an archive claims is checked before memory is spent on it.

A zip archive ends with an index, which states the size, the checksum and the place of every entry.
An entry that is stored as it is cannot be larger than the file, so a claim of terabytes is easily
refused. A compressed one can: a megabyte of zeros shrinks to a kilobyte, and "zip bombs" are made of
that. Weights look like noise and hardly shrink at all, so a small bound hurts nobody.
"""

import io
import zipfile

EXPANSION = 20
"""Compressed entries may come out at so many times the size of the file,"""

SMALL = 1 << 26
"""or at so many bytes (64 MiB), if that is more."""

END = b"PK\5\6"
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def open_archive(file: io.BufferedIOBase, size: int) -> zipfile.ZipFile:
    """Open an archive and check its index.

    Args:
        file: the open file.
        size: its length in bytes.

    Raises:
        ValueError: for a missing end, an index that lost entries, an entry twice, or claims beyond
            what the file can hold.
        zipfile.BadZipFile: for an index that makes no sense.
    """
    count = _read_end(file, size)
    archive = zipfile.ZipFile(file)
    entries = archive.infolist()
    if min(len(entries), 0xFFFF) != count:  # the most that the two bytes can state
        raise ValueError(f"its index lists {len(entries)} entries, its end states {count}")
    if len({entry.filename for entry in entries}) != len(entries):
        raise ValueError("its index lists an entry twice")
    _check_claims(entries, size)
    return archive


def _read_end(file: io.BufferedIOBase, size: int) -> int:
    """Return the number of entries that the last 22 bytes of an archive state."""
    file.seek(max(size - 22, 0))
    end = file.read()
    if len(end) != 22 or not end.startswith(END):
        raise ValueError("it is not a zip archive, or its end is missing")
    return int.from_bytes(end[10:12], "little")


def _check_claims(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Refuse entries that claim to be larger than they can be in a file of `size` bytes."""
    stored = compressed = 0
    for entry in entries:
        if entry.compress_type not in KINDS:
            raise ValueError(f"{entry.filename!r} is compressed in a way that is not known here")
        if entry.compress_type == zipfile.ZIP_STORED:
            stored += entry.file_size
        else:
            compressed += entry.file_size
    if stored > size:
        raise ValueError(f"its entries claim {stored:,} bytes, but the file has only {size:,}")
    if compressed > max(EXPANSION * size, SMALL):
        raise ValueError(
            f"its compressed entries claim {compressed:,} bytes, out of a file of {size:,}; "
            "weights do not shrink like that"
        )


def read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """Return the contents of an entry: as many bytes as it claims, with the checksum that it states.

    Raises:
        ValueError, zipfile.BadZipFile, zlib.error: for anything else.
    """
    with archive.open(entry) as stream:
        contents = stream.read(entry.file_size)  # `read()` would decompress before it counts
        if len(contents) != entry.file_size or stream.read(1):
            raise ValueError(f"{entry.filename!r} has not the size that the index states")
    return contents
