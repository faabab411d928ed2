"""Explain which rules take a study, and why; print the schema of rule files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.commands.options import DEFAULT_CONFIG, ConfigOption, JsonOption, console, notes, open_database
from daemon.config import load_config
from daemon.errors import WrongUsage
from pipelines.registry import PIPELINES
from pipelines.rules.builtin import builtin_rules
from pipelines.rules.file import load_rules
from pipelines.rules.model import RuleSet
from pipelines.rules.schema import rule_schema

if TYPE_CHECKING:
    from pipelines.rules.study.attributes import StudyAttributes

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("explain")
def explain(
    what: Annotated[str, typer.Argument(help="A folder with DICOM files, or the UID of a study that was received.")],
    config: ConfigOption = DEFAULT_CONFIG,
    rules: Annotated[Path | None, typer.Option(help="Rule file; by default the configuration's.")] = None,
    source_ae: Annotated[str, typer.Option(help="Who would send the folder's images: its AE title.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show which rule takes a study; condition by condition why or why not, and why the best series was preferred."""
    from daemon.terminal.explanation import render
    from pipelines.rules.explain import explain as explain_study

    ruleset = _ruleset(rules, config)
    explanations = [explain_study(study, ruleset) for study in _studies(what, config, source_ae)]
    if as_json:
        console.print_as_json([explanation.to_dict() for explanation in explanations])
        return
    for explanation in explanations:
        render(explanation, console)


def _ruleset(rules: Path | None, config: Path) -> RuleSet:
    if config == DEFAULT_CONFIG and not config.exists():
        if rules is None:
            notes.print("No configuration here: the built-in rules are explained.", style="dim")
            return builtin_rules()
        notes.print("No configuration here: the destinations that the rules name are not checked.", style="dim")
        return load_rules(rules, known_pipelines=PIPELINES)
    loaded = load_config(config)
    return load_rules(rules or loaded.rules, known_pipelines=PIPELINES, known_destinations=loaded.destinations.keys())


def _studies(what: str, config: Path, source_ae: str) -> list[StudyAttributes]:
    from daemon.jobs.assembly import routing_facts

    folder = Path(what)
    if folder.is_dir():
        from daemon.intake.study_folder import read_folder

        contents = read_folder(folder, source_ae=source_ae)
        if contents.unusable:
            notes.print(f"Files that could not be used, and that no rule sees: {dict(contents.unusable)}")
        return [study.facts for study in contents.studies]
    if source_ae:
        raise WrongUsage(reason="--source-ae is for folders only; the sender of a received study is known")
    _, database = open_database(config)
    return [routing_facts(database.studies.contents(what))]


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of rule files, for editors; published as deploy/rules.schema.json."""
    typer.echo(json.dumps(rule_schema(), indent=2))
