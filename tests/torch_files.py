"""Files of torch, put together by hand, instruction by instruction; for what torch never writes."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def plain(value) -> bytes:
    """Instructions for a value of Python's own."""
    return pickle.dumps(value, 2)[2:-1]


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def group(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + group(*arguments) + b"R"


def items(*parts: bytes) -> bytes:
    """A dictionary of keys and values in turn."""
    return b"}(" + b"".join(parts) + b"u"


def program(body: bytes) -> bytes:
    return b"\x80\x02" + body + b"."


def storage(key="0", count=6, kind="FloatStorage", *, place="storage", view=()) -> bytes:
    parts = plain(place), name("torch", kind), plain(key), plain("cpu"), plain(count)
    return group(*parts, *(plain(v) for v in view)) + b"Q"


ORDERED = call(name("collections", "OrderedDict"))


def tensor(shape=(2, 3), strides=(3, 1), offset=0, its: bytes | None = None) -> bytes:
    return call(
        name("torch._utils", "_rebuild_tensor_v2"),
        storage() if its is None else its,
        *(plain(value) for value in (offset, shape, strides, False)),
        ORDERED,
    )


def zipped(body: bytes, storages: Mapping[str, bytes], root="archive", **more: bytes) -> bytes:
    """The form since torch 1.6; `more` are other entries, `__` stands for the slash."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr(f"{root}/data.pkl", program(body))
        for key, numbers in storages.items():
            archive.writestr(f"{root}/data/{key}", numbers)
        for key, content in more.items():
            archive.writestr(f"{root}/{key.replace('__', '/')}", content)
    return raw.getvalue()


def pickled(
    body: bytes,
    storages: Mapping[str, bytes],
    *,
    magic=MAGIC,
    protocol=PROTOCOL,
    little=True,
    keys: Sequence[str] | None = None,
    width=4,
) -> bytes:
    """The form before torch 1.6."""
    parts = [program(plain(magic)), program(plain(protocol))]
    parts += [program(plain({"protocol_version": protocol, "little_endian": little}))]
    parts += [program(body), program(plain(list(storages) if keys is None else keys))]
    for numbers in storages.values():
        parts.append(struct.pack("<q", len(numbers) // width) + numbers)
    return b"".join(parts)
