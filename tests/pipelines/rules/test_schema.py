from __future__ import annotations

import json
from pathlib import Path

from pipelines.rules.schema import rule_schema
from pipelines.rules.study.keywords import keyword_named

ROOT = Path(__file__).resolve().parents[3]


def test_the_published_schema_is_current() -> None:
    published = json.loads((ROOT / "deploy" / "rules.schema.json").read_text(encoding="utf-8"))

    assert published == rule_schema(), "write it anew: make schema"


def test_the_schema_offers_what_rules_can_say() -> None:
    schema = rule_schema()
    offered = schema["$defs"]["Role"]["properties"]

    assert offered["plane"]["anyOf"][0]["enum"][:3] == ["axial", "coronal", "sagittal"]
    assert {"optional", "sequence", "contrast", "localizer", "images", "source_ae", "Modality"} <= set(offered)
    assert "plane" not in schema["$defs"]["Conditions"]["properties"]
    assert schema["$defs"]["Rule"]["required"] == ["name", "pipeline", "series", "send_to"]
    for name in (name for name in offered if name[0].isupper()):
        assert keyword_named(name)
