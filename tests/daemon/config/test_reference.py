"""docs/configuration.md and deploy/scanward.yaml say what the configuration's models say."""

from __future__ import annotations

import re
from pathlib import Path

from daemon.config import Config, load_config
from daemon.config.reference import EXAMPLE, comments, keys, markdown

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_the_reference_is_the_one_that_the_program_makes() -> None:
    assert PAGE.read_text() == markdown(EXAMPLE.read_text()), "run: make schema"


def test_every_key_stands_in_the_example() -> None:
    told = comments(EXAMPLE.read_text())
    missing = [key.path for key in keys() if (key.path[0], key.path[-1] if len(key.path) > 1 else "") not in told]
    assert missing == []


def test_the_example_names_no_key_that_there_is_not() -> None:
    known = {(key.path[0], name) for key in keys() for name in key.path[1:]} | {
        (name, "") for name in Config.model_fields
    }
    assert {key for key in comments(EXAMPLE.read_text()) if key not in known} == {("destinations", "pacs")}


def test_the_example_is_a_configuration() -> None:
    assert load_config(EXAMPLE).destinations["pacs"].ae_title == "ORTHANC"


def test_what_the_example_has_behind_comment_signs_is_right_too(tmp_path: Path) -> None:
    lines = [line.replace("# ", "", 1) if _commented_key(line) else line for line in EXAMPLE.read_text().splitlines()]
    shown = [line for line in lines if line.partition("#")[0].strip() not in ("watch: []", "models: []", "allow: []")]
    (tmp_path / "scanward.yaml").write_text("\n".join(shown))
    config = load_config(tmp_path / "scanward.yaml")
    assert config.listener is not None
    assert config.listener.tls is not None
    assert [peer.ae_title for peer in config.listener.allow] == ["CT1", "MR2"]
    assert (config.watch[0].keep, config.engine.max_batch, config.models) == (False, 8, (Path("/opt/models"),))
    assert config.destinations["pacs"].calling_ae == "SCANWARD"


def _commented_key(line: str) -> bool:
    return re.match(r"^ *# ( *- \{|[a-z_]+: *(\S|$))", line) is not None


def test_the_defaults_of_the_reference_are_the_models() -> None:
    told = {".".join(key.path): key.default for key in keys()}
    assert (told["assembly.quiet_period"], told["workers.time_limit"], told["listener.max_object"]) == (
        "30s",
        "15m",
        "4GiB",
    )
    assert (told["data_dir"], told["models"], told["listener.tls.ca"]) == (None, "[]", "none")
