from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.errors import BadConfiguration
from daemon.settings import listener_settings

EXAMPLE = Path(__file__).resolve().parents[3] / "deploy" / "scanward.yaml"


def written(folder: Path, text: str) -> Path:
    path = folder / "scanward.yaml"
    path.write_text(text)
    return path


def test_the_commented_example_is_valid() -> None:
    config = load_config(EXAMPLE)
    assert config.destinations["pacs"].ae_title == "ORTHANC"
    assert config.assembly.quiet_period == timedelta(seconds=30)


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "data_dir: data\nrules: my/rules.yaml\nwatch: [{path: in}]\n"))
    assert config.data_dir == tmp_path / "data"
    assert config.rules == tmp_path / "my" / "rules.yaml"
    assert config.watch[0].path == tmp_path / "in"
    assert config.database_url == f"sqlite:///{tmp_path}/data/scanward.sqlite"


def test_an_unknown_key_is_named_with_file_line_and_column(tmp_path: Path) -> None:
    path = written(tmp_path, "data_dir: data\nlistener:\n  port: 104\n  ae_titel: X\n")
    with pytest.raises(BadConfiguration) as caught:
        load_config(path)
    assert f"{path}:4:3: listener.ae_titel: unknown key" in str(caught.value)


def test_every_fault_is_listed_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, "data_dir: d\nlistener: {port: 99999}\nassembly: {quiet_period: soon}\nwhat: 1\n")
    with pytest.raises(BadConfiguration) as caught:
        load_config(path)
    assert len(caught.value.faults) == 3
    assert "'soon' is not a duration" in str(caught.value)


def test_a_key_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match=r":2:1: data_dir: appears twice"):
        load_config(written(tmp_path, "data_dir: a\ndata_dir: b\n"))


@pytest.mark.parametrize(
    "text",
    ["- a\n", "data_dir: [unclosed\n", "\tdata_dir: x\n", "a: \x00\n", "? [1]\n: x\n", "&a a: *a\n", "a: 2026-13-45\n"],
)
def test_what_is_no_mapping_says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadConfiguration, match=r"scanward\.yaml:\d+:\d+: "):
        load_config(written(tmp_path, text))


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="there is no such file"):
        load_config(tmp_path / "none.yaml")


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCANWARD_LISTENER__PORT", "4567")
    config = load_config(written(tmp_path, "data_dir: d\nlistener: {ae_title: HERE, port: 104}\n"))
    assert config.listener is not None
    assert (config.listener.ae_title, config.listener.port) == ("HERE", 4567)


def test_the_database_password_is_masked(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "data_dir: d\ndatabase: postgresql+psycopg://u:hunter2@h/db\n"))
    assert "hunter2" not in repr(config)
    assert config.database_url.endswith("hunter2@h/db")


def test_a_configuration_cannot_be_changed(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, "data_dir: d\n"))
    with pytest.raises(ValueError, match="frozen"):
        config.data_dir = tmp_path


def test_a_tls_scheduler_needs_certificates(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="needs tls"):
        load_config(written(tmp_path, "data_dir: d\nworkers: {scheduler: 'tls://gpu1:8786'}\n"))


def test_an_environment_variable_that_is_no_json_is_a_fault_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCANWARD_WATCH", "/data/inbox")
    with pytest.raises(BadConfiguration, match=r'environment: .*"watch"'):
        load_config(written(tmp_path, "data_dir: d\n"))


def test_a_key_that_is_no_text_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="1: unknown key"):
        load_config(written(tmp_path, "data_dir: d\n1: x\n"))


def test_limits_of_the_listener_reach_it(tmp_path: Path) -> None:
    limits = "max_object: 2GB, max_request: 64KiB, max_pdu: 1MB, association_timeout: 5s, pdu_timeout: 10s"
    more = "idle_timeout: 2m, slowest_rate: 10KB, max_associations: 7, max_associations_per_host: 3"
    config = load_config(written(tmp_path, f"data_dir: d\nlistener: {{{limits}, {more}}}\n"))
    settings = listener_settings(config)
    assert (settings.max_object, settings.max_request, settings.max_pdu) == (2 * 10**9, 65536, 10**6)
    assert (settings.acse_timeout, settings.pdu_timeout, settings.network_timeout) == (5.0, 10.0, 120.0)
    assert (settings.slowest_rate, settings.max_associations, settings.max_associations_per_host) == (10_000, 7, 3)
    plain = listener_settings(load_config(written(tmp_path, "data_dir: d\n")))
    assert (plain.max_object, plain.max_associations, plain.max_associations_per_host) == (4 << 30, 50, 25)


@pytest.mark.parametrize("wrong", ["max_object: much", "max_object: true", "max_pdu: 12", "pdu_timeout: 0s"])
def test_limits_that_are_none_are_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(BadConfiguration, match=f"listener.{wrong.partition(':')[0]}"):
        load_config(written(tmp_path, f"data_dir: d\nlistener: {{{wrong}}}\n"))


def test_the_limit_of_inflated_data_sets_is_a_size(tmp_path: Path) -> None:
    assert load_config(written(tmp_path, "data_dir: d\nlimits: {inflated: 500MB}\n")).limits.inflated == 500_000_000
    with pytest.raises(BadConfiguration, match="not a size"):
        load_config(written(tmp_path, "data_dir: d\nlimits: {inflated: 2 gigas}\n"))
