"""The structures in Python hold the fields of the headers' structs, in their order and types."""

from __future__ import annotations

import ctypes
import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import maskrt.plugins.ops

PLUGINS = Path(__file__).parents[2] / "plugins"
SCALARS = {
    "size_t": ctypes.c_size_t,
    "int64_t": ctypes.c_int64,
    "int32_t": ctypes.c_int32,
    "uint32_t": ctypes.c_uint32,
    "uint8_t": ctypes.c_uint8,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
STRUCT = re.compile(r"^struct (Maskrt\w+) \{\n(.*?)^\};", re.DOTALL | re.MULTILINE)
DEFINE = re.compile(r"^#define (MASKRT_\w+) \(?(\d+)(?: << (\d+))?\)?$", re.MULTILINE)
FIELD = re.compile(
    r"(?:const )?(?:struct )?(\w+)(?: const)?( ?\*(?: ?const)?(?: ?\*)?)? ?(\w+)((?:\[\w+\])*)"
)


class Field(NamedTuple):
    name: str
    kind: str
    pointer: bool
    counts: tuple[int, ...]
    """Sides of an array; () for none."""


def declared() -> dict[str, list[Field]]:
    """The fields of every struct of the C interface, by its name."""
    texts = [COMMENT.sub("", path.read_text(encoding="utf-8")) for path in PLUGINS.glob("*/*.h")]
    numbers = {
        name: int(value) << int(shift or 0)
        for text in texts
        for name, value, shift in DEFINE.findall(re.sub(r" +$", "", text, flags=re.MULTILINE))
    }
    structs = {}
    for text in texts:
        for struct, body in STRUCT.findall(text):
            assert struct not in structs, f"{struct} is declared twice"
            structs[struct] = []
            for declaration in body.split(";")[:-1]:
                match = FIELD.fullmatch(" ".join(declaration.split()))
                assert match, f"{struct}: cannot read {declaration.strip()!r}"
                kind, star, name, sides = match.groups()
                counts = tuple(
                    int(side) if side.isdigit() else numbers[side]
                    for side in re.findall(r"\[(\w+)\]", sides)
                )
                structs[struct].append(Field(name, kind, bool(star), counts))
    return structs


def mirrored() -> dict[str, type[ctypes.Structure]]:
    """The structures of all modules of maskrt.plugins.ops, by the C struct's name."""
    found: dict[str, type[ctypes.Structure]] = {}
    for info in pkgutil.iter_modules(maskrt.plugins.ops.__path__):
        module = importlib.import_module(f"maskrt.plugins.ops.{info.name}")
        for name, value in inspect.getmembers(module, inspect.isclass):
            if issubclass(value, ctypes.Structure) and value.__module__ == module.__name__:
                assert f"Maskrt{name}" not in found, f"{name} is defined twice"
                found[f"Maskrt{name}"] = value
    return found


DECLARED = declared()
MIRRORED = mirrored()


def ctype(field: Field) -> Any:
    """What the field must be in Python."""
    if field.pointer:
        kind: Any = ctypes.c_void_p
    else:
        kind = SCALARS.get(field.kind) or MIRRORED[field.kind]
    for count in reversed(field.counts):
        kind = kind * count
    return kind


def test_there_are_structs() -> None:
    assert {"MaskrtLetterboxParams", "MaskrtMaskSelectParams"} <= DECLARED.keys()


def test_every_struct_has_its_twin() -> None:
    assert sorted(DECLARED) == sorted(MIRRORED)


@pytest.mark.parametrize("struct", sorted(DECLARED))
def test_fields_are_those_of_the_header(struct: str) -> None:
    if struct not in MIRRORED:
        pytest.fail(f"{struct} has no twin in maskrt.plugins.ops")
    found = list(MIRRORED[struct]._fields_)
    # array types are made once for each length, so they can be compared
    assert found == [(field.name, ctype(field)) for field in DECLARED[struct]]


@pytest.mark.parametrize("struct", sorted(name for name in DECLARED if name.endswith("Params")))
def test_params_begin_with_their_size(struct: str) -> None:
    assert DECLARED[struct][0] == Field("struct_size", "size_t", False, ())
