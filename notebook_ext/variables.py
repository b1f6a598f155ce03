"""Any value of a notebook as documents. By its type and its module's name: no package is imported for it.

What a value is shown as, and how much of it at most, is one table below. Nothing of an unknown object is called.
"""

from __future__ import annotations

import dataclasses
import inspect
import io
import math
import reprlib
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

from . import tables
from .files import Refused, read_bytes
from .secrets import HIDDEN, is_secret_name

if TYPE_CHECKING:
    from gateway_core import Document

LONGEST_TREE = 200_000  # characters of a dictionary
LONGEST_SOURCE = 500_000
LONGEST_SERIES = 20_000
LONGEST_OBJECT = 4_000
LONGEST_FIGURE = 2_000
MOST_ITEMS = 10_000
DEEPEST = 6
WHOLE_SERIES = 1_000  # values; of longer ones head and tail

Loader = Callable[[Path], "list[Document]"]


def documents_of(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    """The documents a value is. `load` reads files. Raises `Refused` with the reason."""
    for recognises, convert in _CONVERTERS:
        if recognises(value):
            return convert(name, value, question, load)
    return [_object(name, value)]


def _document(name: str, text: str, **fields: Any) -> Document:
    from gateway_core import Document

    return Document(text, name=name, **fields)


def _cut(text: str, longest: int) -> tuple[str, tuple[str, ...]]:
    if len(text) <= longest:
        return text, ()
    return text[:longest], (f"the first {longest:,} of {len(text):,} characters were searched",)


# ---- what is recognised


def _module_of(value: Any) -> str:
    return str(type(value).__module__).partition(".")[0]


def _is(module: str, *names: str) -> Callable[[Any], bool]:
    """By the names of a class and its bases, so that the package need not be imported to ask."""

    def recognises(value: Any) -> bool:
        return any(
            base.__module__.partition(".")[0] == module and base.__name__ in names for base in type(value).__mro__
        )

    return recognises


def _is_records(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _is_live(value: Any) -> bool:
    if isinstance(value, (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)):
        return True
    kind = type(value)
    told = f"{kind.__module__}.{kind.__name__}".lower()
    return any(word in told for word in ("connection", "cursor", "session", "socket", "client", "engine"))


# ---- the converters: name, value, question, load -> documents


def _text(name: str, value: str, question: str, load: Loader) -> list[Document]:
    return [_document(name, value)]


def _bytes(name: str, value: bytes | bytearray | memoryview, question: str, load: Loader) -> list[Document]:
    return read_bytes(bytes(value), name)


def _path(name: str, value: Path, question: str, load: Loader) -> list[Document]:
    return load(value)


def _open_file(name: str, value: IO[Any], question: str, load: Loader) -> list[Document]:
    path = getattr(value, "name", None)
    if not isinstance(path, str):
        raise Refused(f"{name} is an open file without a path; read it and use the text")
    return load(Path(path))


def _items(name: str, value: Sequence[Any] | set[Any] | frozenset[Any], question: str, load: Loader) -> list[Document]:
    items = list(value) if isinstance(value, (list, tuple)) else sorted(value, key=str)
    if len(items) > MOST_ITEMS:
        raise Refused(
            f"{name} has {len(items):,} items; at most {MOST_ITEMS:,} are read: name a part, as {name}[:1000]"
        )
    if not items:
        raise Refused(f"{name} is empty")
    from gateway_core import Document

    documents: list[Document] = []
    plain = [item for item in items if not isinstance(item, (int, float, bool, type(None)))]
    if not plain:
        text, warnings = _cut(", ".join(map(str, items)), LONGEST_SERIES)
        return [_document(name, text, warnings=warnings)]
    for number, item in enumerate(items):
        if isinstance(item, Document):
            documents.append(item)
        else:
            documents += documents_of(f"{name}[{number}]", item, question, load)
    return documents


def _records(name: str, value: Sequence[Mapping[Any, Any]], question: str, load: Loader) -> list[Document]:
    columns = list(dict.fromkeys(str(key) for row in value for key in row))
    cells = {column: [row.get(column) for row in value] for column in columns}
    kinds = {
        column: type(next((v for v in values if v is not None), None)).__name__ for column, values in cells.items()
    }
    return _table(name, tables.Table(cells, kinds, len(value)), question)


def _frame(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    """pandas, polars, pyarrow; a duckdb relation becomes an arrow table first."""
    if _module_of(value) == "duckdb":
        value = value.arrow()
        value = value.read_all() if hasattr(value, "read_all") else value
    if _is("polars", "LazyFrame")(value):
        raise Refused(f"{name} is a lazy frame: name {name}.collect()")
    columns: dict[str, Sequence[Any]] = {}
    kinds: dict[str, str] = {}
    labels = None
    if _module_of(value) == "pandas":
        for position, column in enumerate(value.columns):
            series = value.iloc[:, position]
            columns[_column(column, columns)] = series.tolist()
            kinds[_column(column, kinds)] = str(series.dtype)
        if type(value.index).__name__ != "RangeIndex":
            labels = value.index.tolist()
    else:
        arrow = _module_of(value) == "pyarrow"
        for column in value.column_names if arrow else value.columns:
            series = value.column(column) if arrow else value[column]
            columns[column] = series.to_pylist() if arrow else series.to_list()
            kinds[column] = str(series.type if arrow else series.dtype)
    rows = len(next(iter(columns.values()))) if columns else 0
    return _table(name, tables.Table(columns, kinds, rows, labels), question)


def _column(column: Any, taken: Mapping[str, Any]) -> str:
    name = ".".join(map(str, column)) if isinstance(column, tuple) else str(column)
    return name if name not in taken else f"{name} ({len(taken)})"


def _table(name: str, table: tables.Table, question: str) -> list[Document]:
    written = tables.write(name, table, question)
    return [_document(name, written.text, places=written.places, kind="table", warnings=written.warnings)]


def _series(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    shape = getattr(value, "shape", (len(value),))
    is_pandas = _module_of(value) == "pandas"
    size = math.prod(shape)
    head = [f"{name}: {type(value).__name__} of shape {tuple(shape)}, {getattr(value, 'dtype', '')}"]
    flat = value.ravel() if _module_of(value) == "numpy" else value
    part = flat if size <= WHOLE_SERIES else [*flat[:50].tolist(), "...", *flat[-50:].tolist()]
    values = part.tolist() if hasattr(part, "tolist") else part.to_list() if hasattr(part, "to_list") else part
    if size and hasattr(flat, "min"):
        with suppress(TypeError):  # mixed values have no order
            head.append(f"from {flat.min()} to {flat.max()}")
    if is_pandas and size <= WHOLE_SERIES:
        body = "\n".join(f"{label}: {item}" for label, item in zip(value.index.tolist(), values, strict=True))
    else:
        body = ", ".join(map(str, values))
    text, warnings = _cut("\n".join([*head, body]), LONGEST_SERIES)
    return [_document(name, text, warnings=warnings)]


def _tree(name: str, value: Mapping[Any, Any], question: str, load: Loader) -> list[Document]:
    if type(value).__name__ == "_Environ":
        raise Refused(f"{name} is the process environment, which holds secrets; name single values instead")
    lines = list(_tree_lines(value, name, DEEPEST))
    text, warnings = _cut("\n".join(lines), LONGEST_TREE)
    return [_document(name, text, warnings=warnings)]


def _tree_lines(value: Any, path: str, depth: int) -> Iterator[str]:
    if isinstance(value, Mapping) and depth:
        for key, item in value.items():
            if is_secret_name(str(key)):
                yield f"{path}.{key}: {HIDDEN}"
            else:
                yield from _tree_lines(item, f"{path}.{key}", depth - 1)
    elif isinstance(value, (list, tuple)) and depth and any(isinstance(i, (Mapping, list, tuple)) for i in value):
        for number, item in enumerate(value[:MOST_ITEMS]):
            yield from _tree_lines(item, f"{path}[{number}]", depth - 1)
    elif isinstance(value, str):
        yield f"{path}: {value}"
    else:
        yield f"{path}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, (int, float, bool, type(None), complex, Enum, PurePath)):
        return str(value)
    writer = reprlib.Repr()
    writer.maxlist = writer.maxtuple = writer.maxset = 1000
    writer.maxstring = writer.maxother = 400
    return writer.repr(value)


def _fields(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    """Dataclasses, attrs and pydantic objects, by their declared fields; a masked secret stays masked."""
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif hasattr(type(value), "__attrs_attrs__"):
        names = [attribute.name for attribute in type(value).__attrs_attrs__]
    else:
        names = list(type(value).model_fields)
    held = {field: getattr(value, field, None) for field in names}
    return _tree(name, {field: _unfolded(item) for field, item in held.items()}, question, load)


def _unfolded(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _unfolded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return value


def _source(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    """A function, class or module by its source; where there is none, by its signature and docstring."""
    try:
        lines, first = inspect.getsourcelines(value)
        file = PurePath(inspect.getsourcefile(value) or "").name
    except (OSError, TypeError):
        try:
            head = f"{name}{inspect.signature(value)}"
        except (ValueError, TypeError):
            head = name
        return [_document(name, f"{head}\n{inspect.getdoc(value) or ''}".strip(), kind="source")]
    # A cell's own file has a name made of digits, or none that a reader could open.
    is_file = file.endswith(".py") and not file[:-3].isdigit() and not file.startswith(("ipython-input", "<"))
    where = f"{file} " if is_file else ""
    text, warnings = _cut("".join(lines), LONGEST_SOURCE)
    first = max(first, 1)
    places, at = [], 0
    for number, line in enumerate(text.splitlines(keepends=True)):
        places.append((at, f"{where}line {first + number}"))
        at += len(line)
    return [_document(name, text, kind="code", places=tuple(places), warnings=warnings)]


def _figure(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    figure = value if type(value).__name__ == "Figure" else value.figure
    told = [f"{name}: a figure of {len(figure.axes)} plots"]
    for axes in figure.axes:
        legend = axes.get_legend()
        told += [
            f"title: {axes.get_title()}",
            f"x: {axes.get_xlabel()}, from {axes.get_xlim()[0]:g} to {axes.get_xlim()[1]:g}",
            f"y: {axes.get_ylabel()}, from {axes.get_ylim()[0]:g} to {axes.get_ylim()[1]:g}",
            *(["legend: " + ", ".join(text.get_text() for text in legend.get_texts())] if legend else []),
        ]
    return [_document(name, _cut("\n".join(told), LONGEST_FIGURE)[0])]


def _image(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    return [_document(name, f"{name}: an image of {value.width} x {value.height} pixels, mode {value.mode}")]


def _answer(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    return [_document(name, value.text)]


def _ready(name: str, value: Document, question: str, load: Loader) -> list[Document]:
    return [value if value.name else dataclasses.replace(value, name=name)]


def _plain(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    return [_document(name, f"{name}: {value}")]


def _refuse_live(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    raise Refused(f"{name} is a {type(value).__name__}: reading it would change it or reach elsewhere")


def _refuse_nothing(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    raise Refused("None holds no text" if name == "None" else f"{name} is None and holds no text")


def _refuse_hidden(name: str, value: Any, question: str, load: Loader) -> list[Document]:
    raise Refused(f"{name} is a secret")


def _object(name: str, value: Any) -> Document:
    """Type and public attributes as they lie there: no property is called, no representation asked for."""
    lines = [f"{name}: a {type(value).__module__}.{type(value).__qualname__}"]
    held = getattr(value, "__dict__", None)
    for attribute, item in held.items() if isinstance(held, dict) else ():
        if attribute.startswith("_"):
            continue
        if is_secret_name(attribute):
            lines.append(f"{attribute}: {HIDDEN}")
        elif isinstance(item, (str, int, float, bool, type(None), list, tuple, dict, set)):
            lines.append(f"{attribute}: {_short(item)}")
        else:
            lines.append(f"{attribute}: a {type(item).__name__}")
    return _document(name, _cut("\n".join(lines), LONGEST_OBJECT)[0])


def _is_fields(value: Any) -> bool:
    kind = type(value)
    if isinstance(value, type):
        return False
    return dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or hasattr(kind, "model_fields")


def _is_source(value: Any) -> bool:
    return isinstance(value, (type, types.ModuleType)) or inspect.isroutine(value)


_Converter = Callable[[str, Any, str, Loader], "list[Document]"]
_CONVERTERS: tuple[tuple[Callable[[Any], bool], _Converter], ...] = (
    (lambda v: v is None, _refuse_nothing),
    (lambda v: isinstance(v, str), _text),
    (lambda v: isinstance(v, (bytes, bytearray, memoryview)), _bytes),
    (lambda v: isinstance(v, Path), _path),
    (lambda v: isinstance(v, io.IOBase), _open_file),
    (lambda v: type(v).__name__ in ("SecretStr", "SecretBytes"), _refuse_hidden),
    (_is("gateway_core", "Document"), _ready),
    (_is("notebook_ext", "AIResult"), _answer),
    (lambda v: isinstance(v, (int, float, complex, bool, Enum)), _plain),
    (_is_records, _records),
    (lambda v: isinstance(v, (list, tuple, set, frozenset)), _items),
    (_is("pandas", "DataFrame"), _frame),
    (_is("polars", "DataFrame", "LazyFrame"), _frame),
    (_is("pyarrow", "Table", "RecordBatch"), _frame),
    (lambda v: type(v).__name__ == "DuckDBPyRelation", _frame),
    (_is("pandas", "Series", "Index"), _series),
    (_is("polars", "Series"), _series),
    (_is("numpy", "ndarray", "generic"), _series),
    (_is("matplotlib", "Figure", "Axes"), _figure),
    (_is("PIL", "Image"), _image),
    (_is_source, _source),
    (lambda v: isinstance(v, Mapping), _tree),
    (_is_live, _refuse_live),
    (_is_fields, _fields),
)
