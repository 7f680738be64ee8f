"""Conditions written as data: `{order.amount: {gte: 3000}, order.channel: {not_in: [rakuten, amazon]}}`.

One mapping means "all of these". `all`, `any` and `not` nest. A bare value is `eq`, a list is `in`, a bare word is
"this fact is true". Evaluation is total: a fact that is missing or of another type makes a comparison false (`ne` and
`not_in` true), never an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

Operator = Literal["eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in"]
Scalar: TypeAlias = "bool | int | float | str"
Facts: TypeAlias = Mapping[str, object]

_OPERATORS: tuple[Operator, ...] = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "not_in")
MAX_DEPTH = 20


class ConditionError(ValueError):
    """A condition that cannot be understood; the message says what to write instead."""


@dataclass(frozen=True, slots=True)
class _Compare:
    name: str
    op: Operator
    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class _Every:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _Some:
    parts: tuple[_Node, ...]


@dataclass(frozen=True, slots=True)
class _No:
    part: _Node


_Node: TypeAlias = "_Compare | _Every | _Some | _No"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition, ready to be asked. `data` is what it was written as (plain, for JSON)."""

    data: object
    _root: _Node

    @classmethod
    def parse(cls, data: object) -> Condition:
        """The condition written as plain data.

        Raises:
            ConditionError: an unknown operator, an empty group, a value that cannot be compared.
        """
        return cls(data, _parse(data, 0))

    def holds(self, facts: Facts) -> bool:
        """Whether it is true of these facts. Dotted names are looked up whole, then step by step in nested mappings."""
        return _holds(self._root, facts)

    def names(self) -> frozenset[str]:
        """Every fact it asks about."""
        return frozenset(compare.name for compare in _compares(self._root))

    def literals(self, name: str) -> tuple[Scalar, ...]:
        """The values `name` is compared with, in order of appearance."""
        found: dict[tuple[type, Scalar], None] = {}
        for compare in _compares(self._root):
            if compare.name == name:
                values = compare.value if isinstance(compare.value, tuple) else (compare.value,)
                found.update(((type(value), value), None) for value in values)
        return tuple(value for _, value in found)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[object], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda data: data if isinstance(data, Condition) else cls.parse(data),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda condition: condition.data),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {
            "description": "A fact's name, or a mapping of names to a value, a list, or "
            "{eq|ne|lt|lte|gt|gte|in|not_in: value}; `all`, `any` and `not` nest.",
            "type": ["object", "string"],
        }


def _parse(data: object, depth: int) -> _Node:
    if depth > MAX_DEPTH:
        raise ConditionError(f"a condition is nested deeper than {MAX_DEPTH} levels")
    if isinstance(data, str) and data.strip():
        return _Compare(data.strip(), "eq", True)
    if not isinstance(data, Mapping):
        raise ConditionError(f"a condition is a mapping such as {{nps: {{gte: 9}}}}, not {_spoken(data)}")
    if not data:
        raise ConditionError("a condition without content; leave `when` out instead")
    parts: list[_Node] = []
    for name, wanted in cast("Mapping[object, object]", data).items():
        if not isinstance(name, str):
            raise ConditionError(f"a fact's name must be a word, not {_spoken(name)}")
        if name in ("all", "any"):
            if not isinstance(wanted, list | tuple) or not wanted:
                raise ConditionError(f"`{name}` needs a list of conditions")
            group = tuple(_parse(item, depth + 1) for item in wanted)
            parts.append(_Every(group) if name == "all" else _Some(group))
        elif name == "not":
            parts.append(_No(_parse(wanted, depth + 1)))
        else:
            parts.extend(_comparisons(name, wanted))
    return parts[0] if len(parts) == 1 else _Every(tuple(parts))


def _comparisons(name: str, wanted: object) -> Iterator[_Compare]:
    if isinstance(wanted, Mapping):
        if not wanted:
            raise ConditionError(f"`{name}` is compared with nothing; write e.g. {{{name}: {{gte: 3}}}}")
        for op, value in wanted.items():
            if op not in _OPERATORS:
                raise ConditionError(f"`{name}`: unknown comparison `{op}`; one of {', '.join(_OPERATORS)}")
            yield _Compare(name, op, _operand(name, op, value))
    elif isinstance(wanted, list | tuple):
        yield _Compare(name, "in", _operand(name, "in", wanted))
    else:
        yield _Compare(name, "eq", _operand(name, "eq", wanted))


def _operand(name: str, op: Operator, value: object) -> Scalar | tuple[Scalar, ...]:
    if op in ("in", "not_in"):
        if not isinstance(value, list | tuple) or not value:
            raise ConditionError(f"`{name}`: `{op}` needs a list of values")
        return tuple(_scalar(name, item) for item in value)
    scalar = _scalar(name, value)
    if op in ("lt", "lte", "gt", "gte") and isinstance(scalar, bool):
        raise ConditionError(f"`{name}`: `{op}` compares numbers or texts, not true/false")
    return scalar


def _scalar(name: str, value: object) -> Scalar:
    if isinstance(value, bool | int | float | str):
        return value
    raise ConditionError(f"`{name}` cannot be compared with {_spoken(value)}")


def _spoken(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _compares(node: _Node) -> Iterator[_Compare]:
    match node:
        case _Compare():
            yield node
        case _Every(parts) | _Some(parts):
            for part in parts:
                yield from _compares(part)
        case _No(part):
            yield from _compares(part)


def _holds(node: _Node, facts: Facts) -> bool:
    match node:
        case _Compare():
            return _compare(node, look_up(facts, node.name))
        case _Every(parts):
            return all(_holds(part, facts) for part in parts)
        case _Some(parts):
            return any(_holds(part, facts) for part in parts)
        case _No(part):
            return not _holds(part, facts)


def look_up(facts: Facts, name: str) -> object:
    """The fact of this dotted name, as it is or inside nested ones; None when there is none."""
    if name in facts:
        return facts[name]
    found: object = facts
    for step in name.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _compare(node: _Compare, fact: object) -> bool:
    op, value = node.op, node.value
    if op == "ne":
        return not _equal(fact, value)
    if op == "not_in":
        return not _is_in(fact, value)
    if op == "eq":
        return _equal(fact, value)
    if op == "in":
        return _is_in(fact, value)
    return _ordered(_ORDER[op], fact, value)


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "gte": lambda a, b: a >= b,
}


def _ordered(order: Callable[[Any, Any], bool], fact: object, value: object) -> bool:
    if isinstance(fact, bool) or isinstance(value, bool):
        return False
    if isinstance(fact, int | float) and isinstance(value, int | float):
        return order(fact, value)
    if isinstance(fact, str) and isinstance(value, str):
        return order(fact, value)
    return False


def _equal(fact: object, value: object) -> bool:
    if isinstance(fact, list | tuple | set | frozenset):  # several choices: it is one of them
        return any(_equal(item, value) for item in fact)
    if isinstance(fact, bool) or isinstance(value, bool):
        return fact is value
    if isinstance(fact, int | float) and isinstance(value, int | float):
        return fact == value
    return isinstance(fact, str) and isinstance(value, str) and fact == value


def _is_in(fact: object, values: Scalar | tuple[Scalar, ...]) -> bool:
    return isinstance(values, tuple) and any(_equal(fact, value) for value in values)
