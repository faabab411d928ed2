from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.commands.options import JsonOption, console
from daemon.config import load_config
from daemon.render import plain_table
from pipelines.networks import packages_in
from pipelines.registry import PIPELINES

if TYPE_CHECKING:
    from engines.package import ModelPackage

app = typer.Typer(no_args_is_help=True, help="Model packages: what ships, what the hospital has added, who uses them.")

OptionalConfig = Annotated[
    Path | None,
    typer.Option("-c", "--config", help="Configuration with further model folders.", envvar="SCANWARD_CONFIG"),
]


@app.command("list")
def list_models(config: OptionalConfig = None, as_json: JsonOption = False) -> None:
    """List the model packages with their measured accuracy and the pipelines that use them."""
    folders = load_config(config).models if config else ()
    packages = packages_in(folders)
    if as_json:
        console.print_json(json.dumps([_plain(package) for package in packages.values()]))
        return
    table = plain_table("Package", "Version", "Task", ">MB", "Used by", "Measured", "Digest")
    for package in packages.values():
        manifest = package.manifest
        size = (package.folder / "model.onnx").stat().st_size / 1e6
        measured = "\n".join(f"{a.metric} {a.value:.3f} ({a.dataset}, n={a.n})" for a in manifest.accuracy)
        table.add_row(
            package.name,
            manifest.version,
            manifest.task,
            f"{size:.1f}",
            _users(package.name),
            measured,
            package.digest[:12],
        )
    console.print(table)
    console.print("Research use only: see MODEL_CARD.md in each package's folder.", style="dim")


def _users(name: str) -> str:
    return ", ".join(
        f"{p.name} ({slot})" for p in PIPELINES.values() for slot, model in p.models.items() if model == name
    )


def _plain(package: ModelPackage) -> dict[str, object]:
    manifest = package.manifest.model_dump(mode="json")
    return {"folder": str(package.folder), "used_by": _users(package.name), **manifest}
