"""Read what ``torch.save`` wrote, whatever a stranger or a bad disk has put there.

Such a file is a pickle, a program for a small stack machine, and the bytes of the tensors that the program puts
together: a zip, or in torch's older format one after the other. ``torch.load`` takes memory as the program says before
it looks for the bytes, and takes damaged bytes for whole ones. So the program is run here, by a machine that knows only
what dictionaries of weights and training checkpoints are made of. It calls nothing but the few functions below, counts
its steps, and makes no tensor that is larger than its bytes: the memory is a few times the file's size at most.

A zip has a checksum for every part, so a flipped bit is noticed. The older format, which the paper's released weights
have, has none: there, only what does not fit together is noticed.
"""

import io
import pickle
import pickletools
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterable
from types import FunctionType
from typing import Any, BinaryIO

import torch

from dataset.errors import shown

# With which the older format begins: a magic number and a version, a program each.
_OLDER = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)

# What a file can have: some dozens of times what the training checkpoint of a large network has.
_BYTES = 2**30
_PARTS = 20_000  # of a zip
_PROGRAM = 2**24  # bytes
_STEPS = 500_000
_CALL = 10  # steps that a call counts for: it makes larger things than other words do

# Words of a program that take so many things from the stack, and those that take all above the last mark.
_TAKE = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "SETITEM": 2}
_NAMES = ("GLOBAL", "STACK_GLOBAL")
_VALUES = {"BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING"}
_VALUES |= {"BINBYTES", "SHORT_BINBYTES"}
_TAKE_MARKED = {*_TAKE, "TUPLE", "APPENDS", "SETITEMS"}
# What is often there in place of a file, by its beginning.
_IN_PLACE = {
    b"version https://": "is a pointer of Git LFS and not the file; fetch that by git lfs pull",
    b"<!DOCTYPE": "is a web page and not the file; download it again",
    b"<html": "is a web page and not the file; download it again",
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class Unreadable(ValueError):
    """Why a file is not read: the rest of a line that begins with its name."""


def size_of(file: BinaryIO) -> int:
    """A file's bytes; raises Unreadable if they are too many for weights."""
    size = file.seek(0, io.SEEK_END)
    if size > _BYTES:
        raise Unreadable(f"has {size:,} bytes, more than weights have")
    return size


def load(file: BinaryIO) -> Any:
    """What a file of ``torch.save`` holds, its tensors on the CPU. No code of it is run.

    Raises:
        Unreadable: if it is damaged, or holds more than tensors, numbers, text, lists and dictionaries.
        OSError: if it cannot be read.
    """
    try:
        size = size_of(file)
        file.seek(0)
        head = file.read(len(_OLDER))
        if what := next((what for begins, what in _IN_PLACE.items() if head.startswith(begins)), None):
            raise Unreadable(what)
        return (_older if head == _OLDER else _zipped)(file, size)
    except (Unreadable, OSError, MemoryError):
        raise
    except Exception as error:  # in what is damaged, anything can go wrong
        if str(error).startswith("Bad CRC-32"):
            raise Unreadable("its checksum does not fit: it is damaged") from None
        raise Unreadable("not a readable weights file (truncated or of another kind?)") from None


def _zipped(file: BinaryIO, size: int) -> Any:
    if not zipfile.is_zipfile(file):
        raise zipfile.BadZipFile
    file.seek(0)
    if sum(block.count(b"PK\1\2") for block in iter(lambda: file.read(2**20), b"")) > _PARTS:
        raise Unreadable("has more parts than weights have")
    with zipfile.ZipFile(file) as archive:
        parts = {part.filename: part for part in archive.infolist()}
        (program,) = (part for name, part in parts.items() if name.endswith("/data.pkl") and name.count("/") == 1)
        folder = program.filename.removesuffix("data.pkl")
        if f"{folder}constants.pkl" in parts:
            raise Unreadable("is a program of TorchScript; save its state_dict() by torch.save")
        if any(part.compress_type != zipfile.ZIP_STORED for part in parts.values()):
            raise Unreadable("is damaged, or a compressed zip, which torch.save does not make")
        if program.file_size > _PROGRAM:
            raise Unreadable("holds more than weights")
        if f"{folder}byteorder" in parts and archive.read(f"{folder}byteorder") != sys.byteorder.encode():
            raise Unreadable("was written by a computer with another order of bytes")
        machine = _Machine(size)
        content = machine.run(io.BytesIO(archive.read(program)))
        for key, storage in machine.storages.items():
            part = parts[f"{folder}data/{key}"]
            with archive.open(part) as source:
                _fill(storage, source, part.file_size)
    return content


def _older(file: BinaryIO, size: int) -> Any:
    """Programs for who wrote it, what it holds and the storages' keys; then their bytes, each after their number."""
    programs, machine = io.BytesIO(file.read(_PROGRAM)), _Machine(size)
    _, content, keys = (machine.run(programs) for _ in range(3))
    file.seek(len(_OLDER) + programs.tell())
    for key in keys:
        storage = machine.storages.pop(key)
        _fill(storage, file, int.from_bytes(file.read(8), "little") * storage.itemsize)
    if machine.storages or file.read(1):
        raise Unreadable("is damaged: it does not have the bytes that it tells of")
    return content


def _fill(storage: torch.Tensor, source: BinaryIO, there: int) -> None:
    """Read a storage's bytes, of which so many are there. (At the end of a zip's part, its checksum is looked at.)"""
    place = storage.view(torch.uint8).numpy()
    if there != len(place) or source.readinto(place) != there:
        raise Unreadable("is damaged: it does not have the bytes that it tells of")


class _Machine:
    """The stack machine for which a pickle is the program.

    Args:
        room: bytes that all storages may have.

    Attributes:
        storages: by their keys in the file, what tensors are views of. Their bytes are still to be read.
    """

    def __init__(self, room: int) -> None:
        self.storages: dict[str, torch.Tensor] = {}
        self._room = room
        self._steps = _STEPS

    def run(self, program: BinaryIO) -> Any:
        """Run a program, and return what it has made at its end."""
        stack, marks, memo = [], [], {}
        for opcode, value, _ in pickletools.genops(program):
            word = opcode.name
            self._count(1)
            if word in _TAKE:
                marks.append(len(stack) - _TAKE[word])
            if word in _TAKE_MARKED:
                start = marks.pop()
                items, stack[start:] = stack[start:], []
            if word == "STACK_GLOBAL":
                name = stack.pop()
                value = " ".join((stack.pop(), name))  # raises unless both are texts
            match word:
                case "PROTO" | "FRAME":
                    pass
                case "MARK":
                    marks.append(len(stack))
                case "NONE" | "NEWTRUE" | "NEWFALSE" | "EMPTY_TUPLE":
                    stack.append(_CONSTANTS[word])
                case _ if word in _VALUES:
                    stack.append(value)
                case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                    stack.append(tuple(items))
                case "EMPTY_LIST":
                    stack.append([])
                case "APPEND" | "APPENDS":
                    list.extend(stack[-1], items)
                case "EMPTY_DICT":
                    stack.append({})
                case "SETITEM" | "SETITEMS":
                    _put(stack[-1], zip(items[::2], items[1::2], strict=True))
                case "BINPUT" | "LONG_BINPUT":
                    memo[value] = stack[-1]
                case "MEMOIZE":
                    memo[len(memo)] = stack[-1]
                case "BINGET" | "LONG_BINGET":
                    stack.append(memo[value])
                case "GLOBAL" | "STACK_GLOBAL" if value in _KNOWN:
                    stack.append(_KNOWN[value])
                case "REDUCE" | "NEWOBJ" if word == "REDUCE" or stack[-2] is _settings:
                    arguments = stack.pop()
                    stack.append(self._called(stack.pop(), arguments))
                case "BUILD":
                    attributes = stack.pop()
                    if stack[-1] is not _NO_WEIGHT:
                        _annotate(stack[-1], attributes)
                case "BINPERSID":
                    stack.append(self._storage(*stack.pop()))
                case "STOP":
                    return stack.pop()
                case _:
                    what = value.replace(" ", ".") if word in _NAMES else word
                    why = "refused: it holds more than weights and could run code (nothing of it was run)"
                    raise Unreadable(f"{why}: {brief(what)}")

    def _count(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise Unreadable("holds more things than weights do")

    def _called(self, function: Any, arguments: tuple) -> Any:
        self._count(_CALL + sum(len(a) if isinstance(a, (list, tuple, dict)) else 1 for a in arguments))
        if not isinstance(function, FunctionType):
            raise TypeError
        return function(*arguments)

    def _storage(self, kind: str, dtype: torch.dtype, key: str, device: str, count: int, view: None = None):
        self._count(_CALL)
        if kind != "storage" or not isinstance(key, str) or view is not None:
            raise TypeError
        if key not in self.storages:
            self._room -= count * dtype.itemsize
            if self._room < 0:
                raise Unreadable("is damaged: it does not have the bytes that it tells of")
            self.storages[key] = torch.empty(count, dtype=dtype)
        storage = self.storages[key]
        if (storage.dtype, len(storage)) != (dtype, count):
            raise ValueError
        return storage


# -- what a program can call -------------------------------------------------------------------------


def _put(dictionary: dict, pairs: Iterable) -> None:
    if not isinstance(dictionary, dict):
        raise TypeError
    for key, value in pairs:
        if not (isinstance(key, str) or (isinstance(key, int) and abs(key) < 2**60)):  # others may be slow as keys
            raise TypeError
        dictionary[key] = value


def _ordered(pairs: Iterable = ()) -> OrderedDict:
    dictionary = OrderedDict()
    _put(dictionary, pairs)
    return dictionary


def _annotate(dictionary: OrderedDict, attributes: dict) -> None:
    """Give a state dict the one attribute that it has: versions, and what the file says of itself."""
    if not isinstance(dictionary, OrderedDict):
        raise TypeError
    dictionary._metadata = attributes.get("_metadata")


def _tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None) -> torch.Tensor:
    tensor = storage.as_strided(size, stride, offset)  # raises where this is beyond the storage
    if tensor.numel() > len(storage) or metadata:  # a number taken many times, or numbers to be negated
        raise ValueError
    return tensor


def _typed_tensor(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None) -> torch.Tensor:
    return _tensor(storage.view(dtype), offset, size, stride, metadata=metadata)


def _first(first, *others):
    return first


def _no_weight(kind, data) -> None:
    """A number of NumPy's, as trainings note their best figure: no weight, so it is not made."""


def _settings(*_) -> str:
    """What a training was told: no weight, whatever its attributes are."""
    return _NO_WEIGHT


_NO_WEIGHT = "no weight"
_STORAGES = {
    **{"Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16},
    **{"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8},
    **{"Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64},
}
_KNOWN = {
    "collections OrderedDict": _ordered,
    "collections Counter": _first,  # of a dictionary
    "_codecs encode": _first,  # of bytes, as text
    "numpy dtype": _settings,
    **dict.fromkeys(("argparse Namespace", "pathlib PosixPath", "pathlib WindowsPath"), _settings),
    **dict.fromkeys(("numpy._core.multiarray scalar", "numpy.core.multiarray scalar"), _no_weight),
    "torch Size": _first,  # of a tuple
    "torch device": _first,  # of its name
    "torch._utils _rebuild_parameter": _first,  # of a tensor
    "torch._utils _rebuild_parameter_with_state": _first,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_tensor_v3": _typed_tensor,
    "torch.storage UntypedStorage": torch.uint8,
    **{f"torch {kind}Storage": dtype for kind, dtype in _STORAGES.items()},
    **{f"torch {name}": dtype for name, dtype in vars(torch).items() if isinstance(dtype, torch.dtype)},
}


def brief(text: object) -> str:
    """Text of a stranger's as a few characters of a line."""
    text = shown(str(text)[:60])
    return text if len(text) <= 60 else f"{text[:60]}..."
