"""YAML files and their schemas: whatever breaks one is reported in one line with file, key and what is allowed."""

import copy
import difflib
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import IO, Any

import yaml

from charaloom.artifacts.types import PathLike
from charaloom.errors import CharaloomError

CODE = Path(__file__).resolve().parents[3]  # the checkout
SCHEMAS = CODE / "config" / "schemas"
PER_CHARACTER = ("raw", "filtered", "tagged", "clustered", "dataset", "training", "previews", "selection")

AUTO = "auto"  # of a size: what the training's resolution and its family make of it
AUTO_ONLY = "^auto$"  # pattern of a number that may be `auto`
NUMBER = re.compile(
    r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?"
)  # YAML 1.2's; version 1.1 reads `1e-4` as text
PATHS = frozenset({"#/$defs/path", "#/$defs/path_or_null", "#/$defs/place"})

Config = dict[str, Any]
Violation = tuple[tuple[Any, ...], str]  # key path, and what is wrong there in one line
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
OTHER_NUMBER = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")  # 012, 1:30 in YAML 1.1


def read_yaml(path: PathLike) -> Any:
    """Content of a YAML file; an empty one is an empty mapping. Errors name the file and the line."""
    try:
        with Path(path).open(encoding="utf-8") as handle:
            content = parsed(handle, path)
    except OSError as problem:
        raise CharaloomError(f"{path}: cannot be read: {problem.strerror}; name a YAML file that is there") from problem
    except UnicodeDecodeError as problem:
        raise CharaloomError(f"{path}: is no valid YAML: {problem}; save it as UTF-8") from problem
    except yaml.YAMLError as problem:
        said = " ".join(str(problem).split())
        cure = "; YAML takes no tabs: indent with blanks" if "\\t" in said or has_tabs(path) else ""
        raise CharaloomError(f"{path}: is no valid YAML: {said}{cure}") from problem
    if contains_itself(content, set(), set()):
        raise CharaloomError(f"{path}: holds a value that contains itself; write it out without the alias (`*name`)")
    return {} if content is None else content


def has_tabs(path: PathLike) -> bool:
    """Whether a line of a file is indented with tabs."""
    return bool(re.search(r"^ *\t", Path(path).read_text(encoding="utf-8"), re.M))


def parsed(handle: IO[str], path: PathLike) -> Any:
    """The content of an open YAML file, which YAML itself would take whatever it says twice or means otherwise."""
    loader = Loader(handle)
    try:
        node = loader.get_single_node()
        refuse_ambiguous(node, path)
        return None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def refuse_ambiguous(top: yaml.Node | None, path: PathLike) -> None:
    """Refuse a key that is there twice, of which YAML takes the last, numbers in another base, and what is none."""
    waiting, seen = [top], set[int]()
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode):
            refuse_other_number(node, path)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            refuse_twice([key for key, _ in node.value], path)
            waiting += [part for pair in node.value for part in pair]


def refuse_twice(keys: Iterable[yaml.Node], path: PathLike) -> None:
    lines: dict[str, int] = {}
    for key in keys:
        if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
            continue
        line = key.start_mark.line + 1
        if key.value in lines:
            name, first = key_text(key.value), lines[key.value]
            raise CharaloomError(f"{path}: line {line}: `{name}` is there twice, first in line {first}; keep one")
        lines[key.value] = line


def refuse_other_number(node: yaml.ScalarNode, path: PathLike) -> None:
    """Refuse infinity and NaN, which limits let pass, and numbers of another base."""
    is_number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
    line = node.start_mark.line + 1
    if node.tag == "tag:yaml.org,2002:float" and not math.isfinite(yaml.SafeLoader("").construct_yaml_float(node)):
        raise CharaloomError(f"{path}: line {line}: `{node.value}` is not a finite number; write one")
    if is_number and OTHER_NUMBER.fullmatch(node.value):
        base = "60" if ":" in node.value else "8"
        plain = "" if base == "60" else f" {node.value.replace('_', '').lstrip('0') or '0'},"
        raise CharaloomError(
            f"{path}: line {line}: YAML reads `{node.value}` as a number of base {base}; write"
            f'{plain or " the number"} or "{node.value}" if it is text'
        )


def contains_itself(value: Any, above: set[int], seen: set[int]) -> bool:
    """Whether a YAML value has itself among its parts, which aliases allow. `above`, `seen`: ids of those on the way
    to it, and of those that were looked at."""
    if not isinstance(value, dict | list) or id(value) in seen:
        return id(value) in above
    seen.add(id(value))
    parts = value.values() if isinstance(value, dict) else value
    return any(contains_itself(part, above | {id(value)}, seen) for part in parts)


def as_meant(value: Any, name: str) -> Any:
    """`value` with numbers where its schema asks for one and YAML read text (`1e-4`), and paths written out."""
    return meant(value, schema(name), schema(name))


def meant(value: Any, against: Config, whole: Config) -> Any:
    """`as_meant` for a part of the schema `whole`."""
    is_path = False
    while reference := against.get("$ref"):
        is_path |= reference in PATHS
        against = {**pointed_at(reference, whole), **{key: own for key, own in against.items() if key != "$ref"}}
    if isinstance(value, dict):
        inside, others = against.get("properties", {}), against.get("additionalProperties")
        others = others if isinstance(others, dict) else {}
        return {key: meant(part, inside.get(key, others), whole) for key, part in value.items()}
    if isinstance(value, list):
        return [meant(part, against.get("items", {}), whole) for part in value]
    if is_path and isinstance(value, str):
        return written_out(value)
    return as_number(value, against.get("type", ()))


def written_out(path: str) -> str:
    """A path with `~` written out, and the variables of the environment that are set (`$HOME/pictures`), unless a
    folder that is there has such a name."""
    path = os.path.expanduser(path)
    return path if os.path.lexists(path) else os.path.expandvars(path)


def pointed_at(reference: str, whole: Config) -> Config:
    """What a `$ref` of the schema points at: `#/$defs/...`."""
    part = whole
    for key in reference.split("/")[1:]:
        part = part[key]
    return part


def as_number(value: Any, kinds: str | Sequence[str]) -> Any:
    """A number written as text, and a whole one written with an exponent, where the schema asks for a number."""
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool) or not {"integer", "number"} & set(kinds):
        return value
    if isinstance(value, str) and NUMBER.fullmatch(value) and math.isfinite(float(value)):
        value = float(value) if re.search("[.eE]", value) else int(value)
    return int(value) if "integer" in kinds and isinstance(value, float) and value.is_integer() else value


@cache
def schema(name: str) -> Config:
    """config, roster, or character: the sections of the config that one character may have, and sources."""
    if name != "character":
        return read_yaml(SCHEMAS / f"{name}.schema.yaml")
    whole = copy.deepcopy(schema("config"))
    sections = {section: whole["properties"][section] for section in PER_CHARACTER}
    for part in (*sections.values(), *whole["$defs"].values()):
        part.pop("required", None)
    sections["sources"] = whole["$defs"]["sources"]
    return {**whole, "$id": "charaloom/character", "properties": sections, "required": []}


@cache
def validator(name: str) -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema(name))


def check(value: Config, name: str, files: Sequence[PathLike]) -> None:
    """Raise one line with file, key and what is allowed where `value`, merged from `files`, breaks the schema."""
    broken = violation(value, name)
    if broken:
        raise CharaloomError(placed(broken, value, files))


def placed(broken: Violation, value: Config, files: Sequence[PathLike]) -> str:
    """One line with file and key for a violation of `value`."""
    key, message = broken
    return f"{origin(files, key, value)}: {'.'.join(map(key_text, key)) or 'config'}: {message}"


def key_text(part: Any) -> str:
    """A part of a key path in one line."""
    text = str(part)
    return text if text.isprintable() else repr(text)


def violation(value: Config, name: str) -> Violation | None:
    """The violation of a schema that explains most, or None."""
    return next(violations(value, name), None)


def violations(value: Config, name: str) -> Iterator[Violation]:
    """Key path and one line for each violation of a schema, first those that explain most."""
    problems = validator(name).iter_errors(value)
    # An unknown key explains a missing one, so it is reported first; then by key path.
    order = lambda it: (it.validator != "additionalProperties", list(map(str, it.absolute_path)))  # noqa: E731
    return (entry for problem in sorted(problems, key=order) for entry in explain(problem, schema(name)))


def described(against: Config, key: Sequence[Any]) -> str:
    """What the schema says of a key."""
    for part in key:
        inside = against.get("items") if isinstance(part, int) else against.get("properties", {}).get(part)
        against = inside or against.get("additionalProperties") or {}
    return against.get("description", "")


def explain(problem: Any, against: Config) -> Iterator[Violation]:
    """Key path and one line for a violation of the schema `against`, or several where it has several keys."""
    if problem.validator == "additionalProperties":
        keys = sorted(problem.schema.get("properties", {}))
        for unknown in sorted(set(problem.instance) - set(keys), key=str):
            yield (*problem.absolute_path, unknown), f"unknown key{suggestion(str(unknown), keys)}"
    else:
        yield explained(problem, against)


def explained(problem: Any, against: Config) -> Violation:
    path = tuple(problem.absolute_path)
    value, limit = problem.instance, problem.validator_value
    named = problem.validator in {"pattern", "maxLength", "not"} and "propertyNames" in problem.absolute_schema_path
    hint = problem.schema.get("description", "") if named else described(against, path)
    note = f" ({hint.rstrip('.')})" if hint else ""
    if problem.schema.get("pattern") == AUTO_ONLY and problem.validator in {"type", "pattern"}:
        return path, f"{shown(value)} is neither a whole number nor `{AUTO}`{note}"
    match problem.validator:
        case "required":
            missing = [name for name in limit if problem.message.startswith(f"{name!r} ")]
            return path, f"`{missing[0]}` is missing{note}"
        case "type":
            kinds = limit if isinstance(limit, list) else [limit]
            names = " or ".join(TYPE_NAMES[kind] for kind in kinds)
            return path, f"{shown(value)} is not {names}{note}"
        case "enum" | "const":
            allowed = limit if isinstance(limit, list) else [limit]
            return (
                path,
                f"{shown(value)} is not one of {', '.join(str(item) or '(empty)' for item in allowed)}{note}",
            )
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return path, f"{shown(value)} is {BEYOND[problem.validator]} {limit}{note}"
        case "pattern" | "maxLength" | "minLength" | "propertyNames" | "not":
            return (
                *path,
                value,
            ) if named else path, f"{shown(value)} is not allowed{note or f': must match {limit}'}"
        case "multipleOf":
            return path, f"{shown(value)} is not a multiple of {limit}{note}"
        case "contains":
            return path, f"`{limit['const']}` is missing{note}"
        case _:
            return path, f"{problem.message}{note}"


BEYOND = {
    "minimum": "below",
    "exclusiveMinimum": "not above",
    "maximum": "above",
    "exclusiveMaximum": "not below",
}
TYPE_NAMES = {
    "integer": "a whole number",
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "a group of keys",
    "null": "null",
}


def shown(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean …?` for a near miss, else the list of what is allowed."""
    names = sorted(allowed)
    near = difflib.get_close_matches(word, names, n=1)
    return f"; did you mean `{near[0]}`?" if near else f"; allowed: {', '.join(names)}"


def origin(files: Sequence[PathLike], key: Sequence[Any], config: Config) -> str:
    """The file that gave a key its value: the last one with that value; the command line where none has it."""
    merged_value = value_at(config, key)
    contents = [(path, as_meant(read_yaml(path), "config")) for path in files]
    holders = [(path, value) for path, content in contents if (value := value_at(content, key)) is not MISSING]
    exact = [path for path, value in holders if value == merged_value]
    if exact:
        return tidy(exact[-1])
    return tidy(holders[-1][0]) if holders and isinstance(merged_value, dict | list) else "--config"


MISSING = object()


def value_at(content: Any, key: Sequence[Any]) -> Any:
    """What lies at a key path, or MISSING."""
    for part in key:
        inside = isinstance(content, dict) and part in content
        listed = isinstance(content, list) and isinstance(part, int) and part < len(content)
        if not (inside or listed):
            return MISSING
        content = content[part]
    return content


def tidy(path: PathLike) -> str:
    """A path as a person would write it from the working directory."""
    full = Path(path).absolute()
    here = Path.cwd()
    return str(full.relative_to(here)) if full.is_relative_to(here) else str(full)
