"""What an adapter's weights file holds, read without torch: shapes, and which tensors are zero or not finite.

It must not know what makes an adapter acceptable.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ratchet_adapters.artifacts.errors import AdapterInvalid, AdapterTruncated, PickleRefused

__all__ = ["TensorInfo", "read_tensors"]

_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# dtype -> (numpy type of the same width, mask of everything but the sign, mask of the exponent)
_FLOATS = {
    "F32": ("<u4", 0x7FFFFFFF, 0x7F800000),
    "F16": ("<u2", 0x7FFF, 0x7C00),
    "BF16": ("<u2", 0x7FFF, 0x7F80),
}


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: name, shape, and whether all of its values are zero."""

    name: str
    shape: tuple[int, ...]
    zero: bool


def read_tensors(path: Path) -> tuple[TensorInfo, ...]:
    """Read the tensors of a safetensors file, sorted by name.

    Raises:
        PickleRefused: It is a pickle under another name.
        AdapterTruncated: It is cut off or no safetensors.
        AdapterInvalid: A tensor is not of a supported float type, or holds NaN or an infinity.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="np") as opened:
            names = sorted(opened.keys())
    except (SafetensorError, OSError, ValueError, MemoryError) as error:
        with path.open("rb") as source:
            start = source.read(4)
        if start.startswith(_PICKLE_STARTS):
            raise PickleRefused(path.name, "it is a pickle with another name") from error
        raise AdapterTruncated(path.name, f"it cannot be read as safetensors ({error})") from error
    return _scan(path, names)


def _scan(path: Path, names: list[str]) -> tuple[TensorInfo, ...]:
    # numpy has no bfloat16, so the values are looked at as bits; the library has validated the header by now.
    import numpy as np

    with path.open("rb") as source:
        length = int.from_bytes(source.read(8), "little")
        header = json.loads(source.read(length))
    found = []
    for name in names:
        entry = header[name]
        if entry["dtype"] not in _FLOATS:
            raise AdapterInvalid(path.name, f"{name} is of type {entry['dtype']}; F32, F16 and BF16 are supported")
        kind, magnitude, exponent = _FLOATS[entry["dtype"]]
        begin, end = entry["data_offsets"]
        zero = True
        if end > begin:
            count = (end - begin) // np.dtype(kind).itemsize
            bits = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length + begin, shape=(end - begin,))
            values = np.frombuffer(bits.tobytes(), dtype=kind, count=count) & np.array(magnitude, dtype=kind)
            zero = not values.any()
            if (values >= exponent).any():
                raise AdapterInvalid(path.name, f"{name} holds NaN or an infinity")
        found.append(TensorInfo(name, tuple(entry["shape"]), zero))
    return tuple(found)
