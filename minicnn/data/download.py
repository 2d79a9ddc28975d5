"""Fetching a file from the web: whole and verified, or not at all."""

from collections.abc import Callable
from pathlib import Path

from minicnn.files import replace_file

CHUNK = 1 << 20
MOST_BYTES = 200 << 20
TIMEOUT = 30.0
"""Seconds without an answer before giving up."""


def fetch_file(url: str, path: Path, check: Callable[[Path], None]) -> None:
    """Fetch `url` to `path`.

    The bytes go to a temporary file in the same folder; only when `check` accepts that file is it
    renamed to `path`. In every other case nothing is left behind, and an older file at `path` stays
    as it was.

    Args:
        url: the address.
        path: where to put it; its folder is made.
        check: called with the temporary file; raises ValueError for wrong contents.

    Raises:
        ConnectionError: no connection, no such page, a connection that breaks off or answers with
            far too much.
        ValueError: what `check` raised, with the address.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    contents = _read(url)
    with replace_file(path) as file:
        file.write(contents)
        file.flush()
        try:
            check(Path(file.name))
        except ValueError as error:
            raise ValueError(f"downloaded from {url} and thrown away: {error}") from error


def _read(url: str) -> bytes:
    """Return what `url` answers."""
    import http.client  # these two take a quarter of the time of `import minicnn`
    import urllib.request

    data = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            while piece := response.read(CHUNK):
                data += piece
                if len(data) > MOST_BYTES:
                    raise ConnectionError(f"the answer is larger than {MOST_BYTES:,} bytes")
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionError(f"{url}: could not be fetched: {error}") from error
    return bytes(data)
