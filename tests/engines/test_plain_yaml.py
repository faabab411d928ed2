from __future__ import annotations

import pytest
from ruamel.yaml.error import YAMLError

from engines.packages.package import shipped_folder
from engines.plain_yaml import read_yaml, write_yaml


def test_what_is_written_is_read_again_in_its_order() -> None:
    data = {
        "z": 1,
        "commit": "240e012",  # YAML 1.1 writes it without quotes, and 1.2 reads a number
        "texts": ["1e5", "007", "no", "2026-01-01", "é", "x " * 100],
        "numbers": [1e-5, 0.1, -3],
        "empty": [{}, [], None, ""],
    }

    assert read_yaml(write_yaml(data)) == data
    assert list(read_yaml(write_yaml(data))) == list(data)


def test_a_key_that_appears_twice_is_refused() -> None:
    with pytest.raises(YAMLError):
        read_yaml("a: 1\na: 2\n")


def test_commits_of_shipped_packages_are_text() -> None:
    manifests = [read_yaml(path.read_text(encoding="utf-8")) for path in shipped_folder().glob("*/model.yaml")]
    parts = [one for each in manifests for one in each["training"].get("mean_of", [])]

    assert parts
    assert all(isinstance(one["commit"], str) for one in parts)
