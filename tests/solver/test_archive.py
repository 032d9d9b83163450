import io
import pickle
import resource
import sys
import time
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import pytest
import torch

from solver.archive import Unreadable, load

OLDER_HEAD = b"".join(pickle.dumps(what, 2) for what in (0x1950A86A20F9469CFC6C, 1001, {}))
NOT_READABLE = "not a readable weights file"
OTHER_BYTES = "does not have the bytes that it tells of"
COULD_RUN = "refused: it holds more than weights and could run code"

formats = pytest.mark.parametrize("older", [False, True], ids=["zip", "older"])


def saved(content, older: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not older)
    return buffer.getvalue()


def read(data: bytes):
    return load(io.BytesIO(data))


def same(a, b) -> bool:
    """Whether both are of one type and hold the same, to the bit, in the same order."""
    if isinstance(a, torch.Tensor):
        same_layout = (a.dtype, a.shape, a.stride()) == (b.dtype, b.shape, b.stride())
        return same_layout and a.contiguous().numpy(force=True).tobytes() == b.contiguous().numpy(force=True).tobytes()
    if isinstance(a, dict):
        metadata = same(getattr(a, "_metadata", None), getattr(b, "_metadata", None))
        return type(a) is type(b) and list(a) == list(b) and metadata and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b)


def weights() -> OrderedDict:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 3, 1))
    return net.state_dict()


# -- what is read ------------------------------------------------------------------------------------


@formats
def test_it_reads_what_torch_reads(older):
    base = torch.arange(24.0)
    step = {"step": torch.tensor(7.0), "exp_avg": torch.ones(2, 3)}
    content = {
        "weights": weights(),
        "optimizer": {"state": {0: step, 1: step}, "param_groups": [{"betas": (0.9, 0.999), "params": [0, 1]}]},
        "views": [base[3:9], base.view(4, 6).T, base[::2], base[:0], base[5], torch.empty(0, 3)],
        "numbers": [0, -1, 255, 70_000, -(2**40), 2**200, 1.5, float("inf"), float("nan"), True, False, None],
        "text": ["", "a", "\U0001f600", "x" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}, [[]]],
        1: {"type": torch.float16, "random": torch.get_rng_state()},
    }
    ours = read(saved(content, older))
    assert same(ours, torch.load(io.BytesIO(saved(content, older)), weights_only=True))
    assert ours["views"][0].untyped_storage().data_ptr() == ours["views"][1].untyped_storage().data_ptr()
    more = {"size": torch.Size((1, 2)), "steps": Counter([1, 1]), "device": torch.device("cuda:1")}
    more["own"] = torch.nn.Parameter(torch.ones(2))
    more["own"].mark = "an attribute"
    ours = read(saved(more, older))
    assert (ours["size"], ours["steps"], ours["own"].tolist()) == ((1, 2), {1: 2}, [1, 1])
    assert ours["device"] == "cuda"


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_later_protocols_of_pickle_are_read(protocol):
    buffer, content = io.BytesIO(), {"weights": weights(), "name": "x" * 300, "names": ["a", "a", b"b"]}
    torch.save(content, buffer, pickle_protocol=protocol)
    assert same(read(buffer.getvalue()), content)


@pytest.mark.parametrize(
    "data, told",
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS"),
        (b"<!DOCTYPE html><html><title>Too many users", "web page"),
        (b"<html><title>Too many users", "web page"),
    ],
)
def test_what_is_there_in_place_of_a_file_is_named(data, told):
    refused(data, told)


def of_each_type() -> dict[str, torch.Tensor]:
    """Some bits as numbers of each type that torch can save."""
    content, bits = {}, torch.arange(1, 17, dtype=torch.uint8).repeat(16).view(torch.complex128)
    for name, dtype in vars(torch).items():
        try:
            if isinstance(dtype, torch.dtype) and not name.startswith("q") and saved(bits.view(dtype)):
                content[name] = bits.view(dtype)
        except (KeyError, RuntimeError):
            pass
    return content


def test_numbers_of_each_type_are_read():
    content = of_each_type()
    assert {"float16", "bfloat16", "float64", "int64", "bool", "complex64", "float8_e4m3fn", "uint16"} <= content.keys()
    for name, value in content.items():
        ours = read(saved(value))
        assert ours.dtype == value.dtype and torch.equal(ours.view(torch.uint8), value.view(torch.uint8)), name


def test_published_weights_are_read_as_torch_reads_them(reference, root):
    files = [*reference.rglob("*.pth"), *root.glob("x?/*.pth"), *root.glob("lesrcnn_b/*.pth")]
    assert len(files) >= 7
    for path in files:
        with open(path, "rb") as file:
            assert same(load(file), torch.load(path, map_location="cpu", weights_only=True)), path


def test_names_and_pairs_of_python_2_are_read():
    """As in the paper's released weights: bytes for text, and pairs for an ordered dictionary."""
    pairs = called("collections.OrderedDict", b"](" + b"](U\3one" + number(1) + b"e](U\3twoNee\x85")
    assert same(read(legacy(pairs)), OrderedDict(one=1, two=None))


# -- damage ------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_zip_is_noticed_or_makes_no_difference():
    content = weights()
    data = bytearray(saved(content))
    refused = []
    for i in range(0, len(data), 3):
        data[i] ^= 1 << i % 8
        try:
            assert same(read(data), content), i
        except Unreadable:
            refused.append(i)
        data[i] ^= 1 << i % 8
    assert len(refused) > sum(value.nbytes for value in content.values()) / 3 and same(read(data), content)


def test_a_flipped_bit_in_numbers_is_called_damage():
    data = bytearray(saved({"a": torch.full((1000,), 1.5)}))
    data[data.index(torch.full((9,), 1.5).numpy().tobytes()) + 6] ^= 1
    refused(data, "its checksum does not fit: it is damaged")


@formats
def test_what_is_cut_off_or_added_is_noticed(older):
    data = saved(weights(), older)
    for end in (0, 1, 4, 20, 100, *range(0, len(data), 97), len(data) - 1):
        refused(data[:end])
    for more in (b"\0", data) if older else ():
        refused(data + more, OTHER_BYTES)


def test_damage_of_the_older_format_ends_in_nothing_else():
    """It has no checksum: what fits is believed."""
    content = weights()
    data = bytearray(saved(content, True))
    for i in range(0, len(data), 2):
        data[i] ^= 0xFF
        try:
            read(data)
        except Unreadable:
            pass
        data[i] ^= 0xFF


# -- hostile files -----------------------------------------------------------------------------------


def refused(data: bytes, match: str | None = None) -> None:
    with pytest.raises(Unreadable, match=match) as caught:
        read(data)
    assert len(str(caught.value)) < 200 and str(caught.value).isprintable()


def zipped(program: bytes, *parts: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("archive/data.pkl", b"\x80\2" + program + b".")
        file.writestr("archive/version", "3\n")
        for i, part in enumerate(parts):
            file.writestr(f"archive/data/{i}", part)
    return buffer.getvalue()


def legacy(program: bytes, *parts: tuple[int, bytes]) -> bytes:
    keys = pickle.dumps([str(i) for i in range(len(parts))], 2)
    storages = [count.to_bytes(8, "little") + part for count, part in parts]
    return b"".join([OLDER_HEAD, b"\x80\2", program, b".", keys, *storages])


def number(n: int) -> bytes:
    return pickle.dumps(n, 2)[2:-1]


def text(t: str) -> bytes:
    return b"X" + len(t.encode()).to_bytes(4, "little") + t.encode()


def found(name: str) -> bytes:
    return "c{}\n{}\n".format(*name.rsplit(".", 1)).encode()


def called(name: str, arguments: bytes) -> bytes:
    return found(name) + arguments + b"R"


def storage(count: int, older: bool = False, key: str = "0") -> bytes:
    inside = text("storage") + found("torch.FloatStorage") + text(key) + text("cpu") + number(count)
    return b"(" + inside + (b"N" if older else b"") + b"tQ"


def tensor(storage: bytes, offset: int, size: tuple, stride: tuple) -> bytes:
    place = number(offset) + b"".join(b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    return called("torch._utils._rebuild_tensor_v2", b"(" + storage + place + b"\x89Nt")


def test_the_forger_of_these_tests_can_forge_what_is_right():
    right = torch.arange(4.0)[1:]
    for data in (
        zipped(tensor(storage(4), 1, (3,), (1,)), torch.arange(4.0).numpy().tobytes()),
        legacy(tensor(storage(4, True), 1, (3,), (1,)), (4, torch.arange(4.0).numpy().tobytes())),
    ):
        assert same(read(data), right) and same(torch.load(io.BytesIO(data), weights_only=True), right)


@pytest.fixture
def little_memory():
    """Not much more memory than there is now."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("/proc is not known here")
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2**28, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


MANY = 2**33
# Dictionaries are made of a list of 80,000 pairs, many times.
PAIRS = b"](" + b"".join(b"](" + text(str(i)) + b"Ne" for i in range(80_000)) + b"e\x85"
COPIES = found("collections.OrderedDict") + b"q\0" + PAIRS + b"q\1" + b"h\0h\1R" * 20_000

BOMBS = {
    "array": called("__builtin__.bytearray", number(MANY) + b"\x85"),
    "bytes": called("builtins.bytearray", number(MANY) + b"\x85"),
    "tensor": called("torch.Tensor", number(MANY) + b"\x85"),
    "typed tensor": called("torch.FloatTensor", number(MANY) + b"\x85"),
    "storage": called("torch.storage.UntypedStorage", number(MANY) + b"\x85"),
    "declared": tensor(storage(MANY), 0, (MANY,), (1,)),
    "declared at once": b"(" + b"".join(storage(20, key=str(i)) for i in range(30)) + b"t",
    "sets": b"(" + b"\x8f" * 2**23 + b"t",
    "dictionaries": b"(" + b"}" * 2**23 + b"t",
    "copies": COPIES,
    "objects": found("collections.OrderedDict") + b"q\0)q\1" + b"h\0h\1R" * 300_000,
    "dimensions": b"(" + b"K\1" * 200_000 + b"tq\0" + tensor(storage(1), 0, (), ()).replace(b"(t(t", b"h\0h\0") * 3,
}


@formats
@pytest.mark.parametrize("name", BOMBS)
def test_no_file_takes_what_memory_it_likes(name, older, little_memory):
    forge = legacy if older else zipped
    refused(forge(BOMBS[name]))


SMALL = {"memo": b"}r\xff\xff\xff\x7f", "more": b"}" * 400_000, "marks": b"(" * 400_000 + b"}"}


@pytest.mark.parametrize("name", SMALL)
def test_what_is_odd_but_small_takes_little(name, little_memory):
    assert read(zipped(SMALL[name])) == {}


def test_no_zip_takes_what_memory_it_likes(little_memory):
    floats = 2**24
    compressed = zipped(tensor(storage(floats), 0, (floats,), (1,)), bytes(4 * floats), compression=8)
    refused(compressed, "compressed")


def test_parts_of_a_zip_do_not_share_bytes(little_memory):
    """A hundred parts that are the same megabyte."""
    count, floats, buffer = 1000, 2**18, io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        tensors = (text(str(i)) + tensor(storage(floats, key=str(i)), 0, (floats,), (1,)) for i in range(count))
        file.writestr("archive/data.pkl", b"\x80\2}(" + b"".join(tensors) + b"u.")
        file.writestr("archive/data/0", bytes(4 * floats))
        part = file.infolist()[-1]
        for i in range(1, count):
            other = zipfile.ZipInfo(f"archive/data/{i}")
            for field in ("header_offset", "CRC", "file_size", "compress_size"):
                setattr(other, field, getattr(part, field))
            file.filelist.append(other)
    refused(buffer.getvalue(), OTHER_BYTES)


def test_a_zip_of_very_many_parts_is_refused(little_memory):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for i in range(21_000):
            file.writestr(str(i), b"")
    refused(buffer.getvalue(), "more parts")


@pytest.mark.parametrize("head", [b"", b"PK\3\4", OLDER_HEAD], ids=["zeros", "zip", "older"])
@pytest.mark.parametrize("size", [2**27, 2**37])
def test_a_file_with_holes_is_refused_at_once(head, size, tmp_path, little_memory):
    begun = time.monotonic()
    with open(tmp_path / "w.pth", "wb+") as file:
        file.write(head)
        file.truncate(size)
        with pytest.raises(Unreadable):
            load(file)
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize("count, there", [(101, 400), (99, 400), (-100, 400), (2**2000, 400), (0, 400), (100, 0)])
def test_storages_are_as_large_as_the_file_says(count, there):
    data = bytes(there)
    refused(zipped(tensor(storage(count), 0, (1,), (1,)), data))
    refused(legacy(tensor(storage(count, True), 0, (1,), (1,)), (100, data)))
    refused(legacy(tensor(storage(100, True), 0, (1,), (1,)), (count % 2**64, data)))


def test_storages_are_those_of_the_file():
    data = bytes(400)
    whole = tensor(storage(100, True), 0, (1,), (1,))
    assert read(legacy(whole, (100, data))).shape == (1,)
    refused(legacy(whole), OTHER_BYTES)
    refused(legacy(whole, (100, data), (100, data)))
    refused(legacy(tensor(storage(100, True, "1"), 0, (1,), (1,)), (100, data)))
    refused(zipped(tensor(storage(100, key="1"), 0, (1,), (1,)), data))
    refused(zipped(b"(" + storage(100) + storage(50) + b"t", data))


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (0, (101,), (1,)),
        (1, (100,), (1,)),
        (-1, (1,), (1,)),
        (99, (10,), (-1,)),
        (0, (-1,), (1,)),
        (0, (-5, -5), (1, 1)),
        (0, (2, 2), (99, 2)),
        (0, (101,), (0,)),
        (0, (2**62, 4), (0, 0)),
        (0, (2**70,), (0,)),
        (2**70, (1,), (1,)),
        (0, (1,), (1, 1)),
    ],
)
def test_no_tensor_is_larger_than_its_bytes(offset, size, stride):
    refused(zipped(tensor(storage(100), offset, size, stride), bytes(400)), NOT_READABLE)


def test_numbers_that_are_to_be_negated_are_not_taken_as_they_are():
    plain = tensor(storage(1), 0, (1,), (1,))
    refused(zipped(plain.replace(b"\x89Nt", b"\x89N}" + text("neg") + b"\x88st"), bytes(4)))


@pytest.mark.parametrize(
    "name",
    [
        "posix.system",
        "__builtin__.eval",
        "builtins.getattr",
        "torch.load",
        "torch.hub.load",
        "torch.jit.load",
        "torch._utils._rebuild_sparse_tensor",
        "torch.nn.modules.container.Sequential",
        "numpy._core.multiarray._reconstruct",
        "x" * 10**6 + ".\x1b[2J",
    ],
    ids=lambda name: name[:30],
)
@formats
def test_what_could_run_code_is_refused_and_named(name, older):
    forge = legacy if older else zipped
    refused(forge(called(name, b")")), f"{COULD_RUN}.*: {name[:50]}")


@pytest.mark.parametrize(
    "program",
    [
        b"(" + text("true") + b"iposix\nsystem\n",
        b"(" + found("posix.system") + text("true") + b"o",
        found("torch.device") + text("cpu") + b"\x85\x81",
        text("posix") + text("system") + b"\x93",
        b"\x82\1",
        b"P0\n",
        b"\x96" + (2**40).to_bytes(8, "little"),
    ],
    ids=["inst", "obj", "newobj", "stack_global", "ext", "persid", "bytearray8"],
)
def test_only_words_that_weights_need_are_known(program):
    refused(zipped(program))


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"N\x85\x86\x87t",
        b"a",
        b"]Na)R",
        b"}NR",
        found("torch.float32") + b")R",
        b"Q",
        b"h\5",
        b"NNs",
        b"}(Nu",
        b"]NNs",
        b"}NNs",
        b"}]Ns",
        b"}" + text("a") + b"a",
        b"}}b",
        called("collections.OrderedDict", b")") + b"Nb",
        found("collections.OrderedDict") + b"}b",
        called("collections.OrderedDict", b"](NNNte\x85"),
        called("torch._utils._rebuild_tensor_v2", b"]]]]NNt"),
        called("collections.Counter", b")"),
        b"N" + text("system") + b"\x93",
        b"]" + b"2\x86" * 60 + text("system") + b"\x93",  # of which a text would take 2**60 characters
        found("collections.OrderedDict") + b")\x81",
    ],
)
def test_nonsense_is_one_short_line(program):
    refused(zipped(program))
    refused(legacy(program))


def test_keys_that_take_long_to_compare_are_refused():
    """A tuple so deep that its hash would end the process, and numbers that all have one hash."""
    begun = time.monotonic()
    refused(zipped(b"})" + b"\x85" * 200_000 + b"Ns"), NOT_READABLE)
    prime = sys.hash_info.modulus
    refused(zipped(b"}(" + b"".join(number(i * prime) + b"N" for i in range(50_000)) + b"u"), NOT_READABLE)
    assert time.monotonic() - begun < 5


def test_an_attribute_does_not_hide_a_method():
    attributes = b"}(" + text("items") + b"N" + text("_metadata") + b"}u"
    content = read(zipped(called("collections.OrderedDict", b")") + attributes + b"b"))
    assert list(content.items()) == [] and content._metadata == {}
