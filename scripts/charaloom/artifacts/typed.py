"""Frozen dataclasses of plain JSON values: what a lineage holds, and what code reads by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from types import UnionType
from typing import Any, Self, get_args, get_origin, get_type_hints

ABSENT = {"absent": True}  # of a field that plain values may leave out: None stands for that, and is left out again


@dataclass(frozen=True, kw_only=True)
class Params:
    """Typed params; `plain` is the inverse of `of`."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The dataclass of JSON-able values. Raises TypeError where a key is missing or unknown."""
        kinds = hints(cls)  # type: ignore[arg-type]
        return cls(**{name: typed(kinds.get(name, Any), value) for name, value in values.items()})

    def plain(self) -> dict[str, Any]:
        """JSON-able values with sorted keys."""
        return plain(self)


@cache
def hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def typed(kind: Any, value: Any) -> Any:
    """`value` as `kind` names it: nested params and tuples of them; everything else as it is."""
    if value is None:
        return None
    if get_origin(kind) is UnionType:
        return typed(next(inner for inner in get_args(kind) if inner is not type(None)), value)
    if get_origin(kind) is tuple:
        return tuple(typed(get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and issubclass(kind, Params):
        return kind.of(value)
    return value


def plain(value: Any) -> Any:
    if is_dataclass(value):
        left_out = {entry.name for entry in fields(value) if entry.metadata == ABSENT}
        named = {entry.name: getattr(value, entry.name) for entry in fields(value)}
        return {
            name: plain(inner) for name, inner in sorted(named.items()) if inner is not None or name not in left_out
        }
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return value
