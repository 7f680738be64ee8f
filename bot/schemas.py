"""JSON Schemas of koe.yaml and of flow files, for editors that complete and check while one types.

`python -m bot.schemas` writes them to docs/schemas; a test keeps them true.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from bot.config import Shop
from flows.definitions import flow_json_schema

FOLDER = Path("docs/schemas")


def schemas() -> dict[str, str]:
    """File name → the schema as JSON text."""
    shop = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Shop.model_json_schema(),
        "title": "koe.yaml",
    }
    return {"koe.schema.json": _text(shop), "flow.schema.json": _text(flow_json_schema())}


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(_as_written(schema), ensure_ascii=False, indent=2) + "\n"


def _as_written(node: Any) -> Any:
    """The schema without defaults in Koe's own units: the file writes "7d" where Koe keeps milliseconds."""
    if isinstance(node, list):
        return [_as_written(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = dict(node)
    if "default" in kept and not _fits(kept["default"], node):
        del kept["default"]
    if set(kept) >= {"title", "type"} or "anyOf" in kept or "$ref" in kept:
        kept.pop("title", None)  # the field's name again
    return {key: _as_written(value) for key, value in kept.items()}


def _fits(value: Any, node: dict[str, Any]) -> bool:
    named = [part.get("type") for part in node.get("anyOf", [node])]
    kinds = {kind for names in named for kind in (names if isinstance(names, list) else [names])}
    if isinstance(value, bool):
        return "boolean" in kinds
    if isinstance(value, int | float):
        return bool(kinds & {"integer", "number"})
    return isinstance(value, str) and "string" in kinds


def main(folder: Path = FOLDER) -> None:
    """Write the schemas."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{folder / name}\n")


if __name__ == "__main__":
    main()
