"""Zip archives: what is damaged, or claims more than it can have, is refused before it is read."""

import io
import zipfile

import pytest

from minicnn import archives
from minicnn.archives import open_archive, read_entry


def archive_of(entries, kind=zipfile.ZIP_STORED):
    """Return the bytes of an archive with these names and contents."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, contents in entries.items():
            archive.writestr(zipfile.ZipInfo(name), contents, kind)
    return file.getvalue()


def read_all(contents):
    """Read an archive as the readers of weights do."""
    with open_archive(io.BytesIO(contents), len(contents)) as archive:
        return {entry.filename: read_entry(archive, entry) for entry in archive.infolist()}


ENTRIES = {"a": b"some contents", "b": b"", "c/d": bytes(range(256)) * 10}


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_come_back(kind):
    assert read_all(archive_of(ENTRIES, kind)) == ENTRIES


def test_an_empty_archive_has_no_entries():
    assert read_all(archive_of({})) == {}


@pytest.mark.parametrize("contents", [b"", b"PK\3\4", b"hello" * 100, bytes(1000)])
def test_what_is_no_archive_is_refused(contents):
    with pytest.raises(ValueError, match="not a zip archive, or its end is missing"):
        read_all(contents)


def test_an_index_that_lost_an_entry_is_refused():
    lost = bytearray(archive_of(ENTRIES))
    lost[-12] -= 1  # the number of entries that the end of the archive states
    with pytest.raises(ValueError, match="its index lists 3 entries, its end states 2"):
        read_all(lost)


def test_an_entry_twice_is_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a", b"contents")
        archive.filelist *= 2
    with pytest.raises(ValueError, match="lists an entry twice"):
        read_all(file.getvalue())


def test_stored_entries_that_overlap_are_refused():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("aa", bytes(4000))
        entry = archive.filelist[0]
        for name in ("ab", "ac"):
            other = zipfile.ZipInfo(name)
            for field in ("CRC", "file_size", "compress_size", "header_offset"):
                setattr(other, field, getattr(entry, field))
            archive.filelist.append(other)
    with pytest.raises(ValueError, match="its entries claim 12,000 bytes, but the file has only"):
        read_all(file.getvalue())


def test_compressed_claims_are_bounded_by_the_size_of_the_file(monkeypatch):
    monkeypatch.setattr(archives, "SMALL", 0)
    with pytest.raises(ValueError, match="its compressed entries claim 100,000 bytes"):
        read_all(archive_of({"a": bytes(100_000)}, zipfile.ZIP_DEFLATED))


def test_small_contents_may_shrink_as_they_like():
    entries = {"a": bytes(100_000)}
    assert read_all(archive_of(entries, zipfile.ZIP_DEFLATED)) == entries


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("change", [-50, 50])
def test_an_entry_of_another_size_than_stated_is_refused(kind, change):
    contents = bytearray(archive_of({"a": bytes(1000)}, kind))
    place = contents.index(b"PK\1\2") + 24  # the size of the entry, in the index
    contents[place : place + 4] = (1000 + change).to_bytes(4, "little")
    with pytest.raises((ValueError, zipfile.BadZipFile, EOFError)):
        read_all(contents)


def test_decompressing_stops_at_the_size_that_was_stated():
    contents = bytearray(archive_of({"a": bytes(50_000_000)}, zipfile.ZIP_DEFLATED))
    place = contents.index(b"PK\1\2") + 24
    contents[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises((ValueError, zipfile.BadZipFile)):
        read_all(contents)


def test_damaged_contents_are_noticed():
    contents = bytearray(archive_of(ENTRIES))
    contents[contents.index(b"some")] ^= 1
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read_all(contents)


def test_other_ways_of_compressing_are_refused():
    with pytest.raises(ValueError, match="'a' is compressed in a way that is not known"):
        read_all(archive_of({"a": b"contents"}, zipfile.ZIP_BZIP2))
