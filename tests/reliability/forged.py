"""Files that bear the right name, key and checksum, and hold what no honest run wrote."""

import hashlib
import io
import json

import h5py
import numpy as np

from haarflow.kernels import Store


def tile(store, row=0, column=1):
    """Path, key and arrays of one tile."""
    for entry in Store(store).entries():
        if entry.kind == "gram" and (entry.key["row"], entry.key["column"]) == (row, column):
            return entry.path, entry.key, Store(store).get("gram", entry.key)
    raise AssertionError("no such tile")


def put_content(path, content):
    """Replace a file by another under the name that its checksum asks for."""
    kind, key, _ = path.stem.split("-")
    path.unlink()
    forged = path.with_name(f"{kind}-{key}-{hashlib.sha256(content).hexdigest()}.h5")
    forged.write_bytes(content)
    return forged


def build(key, arrays, change):
    """An entry in order but for what change(file) does to it at the end."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"))
    header = f"{text}\n".encode()
    block = 512
    while block < len(header):
        block *= 2
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=block) as file:
        file.attrs.update(format=1, kind="gram", key=text, info="{}", made_by="somebody")
        for name, array in arrays.items():
            file[name] = array
        change(file)
    buffer.seek(0)
    buffer.write(header)
    return buffer.getvalue()


def _block(*args, **kwargs):
    def change(file):
        del file["block_0"]
        file.create_dataset("block_0", *args, **kwargs)

    return change


def _link(link):
    def change(file):
        del file["block_0"]
        file["block_0"] = link

    return change


def _cast(dtype):
    def change(file):
        values = file["block_0"][()]
        del file["block_0"]
        file.create_dataset("block_0", data=values.astype(dtype))

    return change


def _attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


def _external_storage(file):
    shape = file["block_0"].shape
    del file["block_0"]
    file.create_dataset("block_0", shape, "f8", external=[("/dev/zero", 0, 8 * shape[0] * shape[1])])


def _virtual(file):
    layout = h5py.VirtualLayout(file["block_0"].shape, "f8")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "block_0", file["block_0"].shape)
    del file["block_0"]
    file.create_virtual_dataset("block_0", layout)


def _virtual_of_itself(file):
    layout = h5py.VirtualLayout(file["block_0"].shape, "f8")
    layout[:] = h5py.VirtualSource(".", "block_1", file["block_1"].shape)
    del file["block_0"]
    file.create_virtual_dataset("block_0", layout)


def _bomb(file):
    del file["block_0"]
    data = file.create_dataset("block_0", (2**33,), "f8", chunks=(2**22,), compression="gzip")
    data[: 2**22] = 0


def _cycle(file):
    file.create_group("around")["again"] = file["/"]


def _deep(file):
    group = file
    for _ in range(300):
        group = group.create_group("a")


def _many(file):
    for i in range(3000):
        file.create_group(f"group_{i}")


def _aliases(file):
    for i in range(500):
        file[f"alias_{i}"] = file["block_0"]


def _named_type(file):
    del file["block_0"]
    file["block_0"] = np.dtype("f8")


def _big_attribute(file):
    file.attrs["key.samples"] = "long" * 15000
    file.create_group("_").attrs.create("x", np.zeros(2**12))


def _without(name):
    return lambda file: file.attrs.__delitem__(name)


SAMPLE = np.zeros((32, 32))
HOSTILE = {
    **{f"dtype {dtype}": _cast(dtype) for dtype in ("f4", ">f8", "f2", "i8", "i1", "u8", "bool", "c16", "S9", "g")},
    "records": _block(data=np.zeros((32, 32), "f8,i4")),
    "text": _block(data="a text"),
    "texts": _block((32, 32), h5py.string_dtype()),
    "vectors of any length": _block((32, 32), h5py.vlen_dtype("f8")),
    "references": _block((32, 32), h5py.ref_dtype),
    "enumeration": _block((32, 32), h5py.enum_dtype({"a": 1}, "i8")),
    "opaque": _block(data=np.zeros((32, 32), "V8")),
    "arrays in an array": _block((32,), np.dtype("(32,)f8")),
    "named type": _named_type,
    "no space": _block(data=h5py.Empty("f8")),
    "scalar": _block(data=3.0),
    "turned": _block(data=np.zeros((16, 64))),
    "one row more": _block(data=np.zeros((33, 32))),
    "no rows": _block(data=np.zeros((0, 32))),
    "many axes": _block(data=np.zeros((1,) * 30 + (32, 32))),
    "not finite": _block(data=SAMPLE * np.nan),
    "one infinity": _block(data=np.where(np.eye(32), np.inf, 0)),
    "huge in chunks": _block((10**12,), "f8", chunks=(10**6,)),
    "huge, never written": _block((2**50,), "f8"),
    "never written": _block((32, 32), "f8"),
    "bomb": _bomb,
    "compressed": _block(data=SAMPLE, compression="gzip"),
    "shuffled": _block(data=SAMPLE, shuffle=True, chunks=(32, 32)),
    "resizable": _block(data=SAMPLE, maxshape=(None, 32)),
    "external link": _link(h5py.ExternalLink("/etc/passwd", "/block_0")),
    "external link to a device": _link(h5py.ExternalLink("/dev/zero", "/block_0")),
    "soft link": _link(h5py.SoftLink("/block_1")),
    "dangling soft link": _link(h5py.SoftLink("/nowhere")),
    "soft link to itself": _link(h5py.SoftLink("/block_0")),
    "external storage": _external_storage,
    "virtual": _virtual,
    "virtual within": _virtual_of_itself,
    "group": lambda file: (file.__delitem__("block_0"), file.create_group("block_0")),
    "cycle": _cycle,
    "deep groups": _deep,
    "many groups": _many,
    "aliases": _aliases,
    "key a number": _attribute("key", 3),
    "key an array": _attribute("key", np.zeros(9)),
    "key texts": _attribute("key", ["{}", "{}"]),
    "key bytes": _attribute("key", np.bytes_(b"{}")),
    "key of another": _attribute("key", "{}"),
    "key not JSON": _attribute("key", "{" * 1000),
    "key empty": _attribute("key", h5py.Empty("f8")),
    "no key": _without("key"),
    "format 99": _attribute("format", 99),
    "format 0": _attribute("format", 0),
    "format text": _attribute("format", "1"),
    "format an array": _attribute("format", np.ones(3)),
    "format not a number": _attribute("format", np.nan),
    "format empty": _attribute("format", h5py.Empty("i8")),
    "no format": _without("format"),
    "kind of another": _attribute("kind", "spectrum"),
    "kind a number": _attribute("kind", 1.5),
    "no kind": _without("kind"),
    "big attribute": _big_attribute,
}
