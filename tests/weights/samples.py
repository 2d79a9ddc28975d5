"""Files as `torch.save` writes them, put together byte by byte, so that tests need no PyTorch."""

import io
import struct
import zipfile

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
PROTOCOL = b"\x80\x02M\xe9\x03."


def text(value: str) -> bytes:
    """BINUNICODE"""
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    """BININT for what fits into 32 bits, else LONG1"""
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    digits = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(digits)]) + digits


def row(*parts: bytes) -> bytes:
    """MARK, parts, TUPLE"""
    return b"(" + b"".join(parts) + b"t"


def numbers(values) -> bytes:
    return row(*map(number, values))


def name(module: str, attribute: str) -> bytes:
    """GLOBAL"""
    return f"c{module}\n{attribute}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """REDUCE"""
    return function + row(*arguments) + b"R"


ORDERED_DICT = name("collections", "OrderedDict") + b")R"


def entries(pairs, empty: bytes = ORDERED_DICT) -> bytes:
    """A dict; SETITEMS"""
    return empty + b"(" + b"".join(text(key) + value for key, value in pairs.items()) + b"u"


def storage(kind: str, key: str, count: int, *more: bytes) -> bytes:
    """BINPERSID"""
    parts = (text("storage"), name("torch", f"{kind}Storage"), text(key), text("cpu"))
    return row(*parts, number(count), *more) + b"Q"


def tensor(where: bytes, shape, strides, offset: int = 0) -> bytes:
    rest = (number(offset), numbers(shape), numbers(strides), b"\x89", ORDERED_DICT)
    return call(name("torch._utils", "_rebuild_tensor_v2"), where, *rest)


def parameter(data: bytes) -> bytes:
    return call(name("torch._utils", "_rebuild_parameter"), data, b"\x88", ORDERED_DICT)


def program(content: bytes) -> bytes:
    """PROTO and STOP"""
    return b"\x80\x02" + content + b"."


def zip_file(content: bytes, storages=None, more=None, folder="archive", **options) -> bytes:
    """A file in the zip form: what is pickled, and the bytes of each storage by its key."""
    parts = {"data.pkl": program(content), "version": b"3\n", **(more or {})}
    parts |= {f"data/{key}": data for key, data in (storages or {}).items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", **options) as archive:
        for part, contents in parts.items():
            archive.writestr(f"{folder}/{part}", contents)
    return file.getvalue()


def system_info(little_endian: bool = True) -> bytes:
    flag = b"\x88" if little_endian else b"\x89"
    pairs = {"protocol_version": number(1001), "little_endian": flag, "type_sizes": b"}"}
    return program(entries(pairs, empty=b"}"))


def legacy_file(content: bytes, storages, info: bytes | None = None) -> bytes:
    """A file in the legacy form: `storages` gives the count and the bytes of each by its key."""
    keys = program(b"](" + b"".join(map(text, storages)) + b"e")
    data = b"".join(struct.pack("<q", count) + raw for count, raw in storages.values())
    return MAGIC + PROTOCOL + (info or system_info()) + program(content) + keys + data
