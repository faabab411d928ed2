"""MODEL_CARD.md, from the same data as model.yaml: no figure is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from engines.package import CARD, MANIFEST
from engines.plainyaml import write_yaml
from training.evaluate.figures import Figure

_CARD = Template("""# $name $version

$description.

**Intended use.** $intended_use

## How it was made

| | |
|---|---|
| Recipe | $made |
| Data | $data, $patients patients for training$further |
| Citation | $citation |
| Licence | $licence |
| Split | by $by, $n_held_out held out; $note |
| Preprocessing | `$preprocessing` ($prepared_by) |
| Network | sha256 `$sha256`; largest difference of a $origin: $difference |

## $measured

$figures

## Limits

$limits

## Held-out ${by}s

$held_out
""")


MEASURED = "Measured on held-out patients"

_FIGURES = Template("""95 % intervals by bootstrap over patients. $compared, with the engine that serves, at the
threshold $threshold. Reproduce: `scanward evaluate models/$name --data DIR`.

| Figure | Value | 95 % interval | n |
|---|---|---|---|
$rows""")


def measured_section(manifest: dict[str, Any]) -> str:
    """The text under `MEASURED`: the figures of model.yaml, and how they were taken."""
    key = "mask" if manifest["task"] == "segmentation" else "probability"
    return _FIGURES.substitute(
        manifest,
        compared=_compared(manifest),
        threshold=manifest["thresholds"][key],
        rows="\n".join(_row(entry) for entry in manifest["accuracy"]),
    )


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Writes model.yaml."""
    (folder / MANIFEST).write_text(write_yaml(content))


def write_description(
    folder: Path,
    manifest: dict[str, Any],
    limits: Sequence[str],
    difference: float,
    sections: Mapping[str, str] | None = None,
) -> None:
    """Writes model.yaml and the card of a package.

    Args:
        folder: The package's.
        manifest: Content of model.yaml.
        limits: What a user must know.
        difference: Largest difference of a logit between ONNX Runtime and torch, or the parts of a mean.
        sections: Further sections at its end, title to text.
    """
    write_manifest(folder, manifest)
    training = manifest["training"]
    data = training["data"][0]
    card = _CARD.substitute(
        manifest,
        made=_made(training),
        measured=MEASURED,
        figures=measured_section(manifest),
        prepared_by=_prepared_by(manifest["preprocessing"]["name"]),
        by=training["split"]["by"],
        data=data["name"],
        patients=data["patients"],
        further="".join(f"; {more['name']}: {more['licence']}" for more in training["data"][1:]),
        citation=data["citation"],
        n_held_out=len(training["split"]["held_out"]),
        note=training["split"]["note"],
        preprocessing=manifest["preprocessing"]["name"],
        origin="probability from the mean of its parts" if "mean_of" in training else "logit from torch",
        difference=f"{difference:.1e}",
        limits="\n".join(f"- {limit}" for limit in limits),
        held_out=", ".join(f"`{name}`" for name in training["split"]["held_out"]),
    )
    for title, text in (sections or {}).items():
        card = with_section(card, title, text)
    (folder / CARD).write_text(card)


def _made(training: dict[str, Any]) -> str:
    """The commands that made the weights and the package, and how long it took."""
    if "system" in training:
        names = [training["recipe"], *(other["name"] for other in training.get("others", ()))]
        starts = training.get("initial") or [None] * len(names)
        said = [
            f"`scanward train {name}`{f' from {start}' if start else ''}"
            for name, start in zip(names, starts, strict=True)
        ]
        commands = ", ".join(said)
        options = " --run ... --run ..." if len(names) > 1 else ""
        options += "".join(f" --{name}" for name in ("mirror", "rounded") if training.get(name))
        return f"{commands} ({training['epochs']} epochs), `scanward export{options}`"
    if "mean_of" in training:
        parts = " and ".join(f"{part['name']} {part['version']} ({_made(part)})" for part in training["mean_of"])
        of, compact = training["mean"], " --compact" if training.get("compact") else ""
        asked = f"--mean ... --mean ... --of {of} --threshold {training['threshold']:g}{compact}"
        return f"mean of the {of} of {parts}, `scanward export {asked}`"
    several = f"mean of {training['networks']} runs, " if training.get("networks", 1) > 1 else ""
    steps = f"{several}{training['minutes']} minutes of steps on shared CPU cores"
    return f"`scanward train {training['trained_as']}` ({steps}), `scanward export {training['recipe']}`"


def _compared(manifest: dict[str, Any]) -> str:
    if manifest["task"] == "classification":
        return "Slices are compared" if "system" not in manifest["training"] else "Pictures are compared"
    on_input = "system" in manifest["training"]
    if on_input:
        return "Masks are compared on the network's grid"
    if manifest["preprocessing"]["name"] == "brain-slices-v1":  # neighbours make a volume: `Segmented.as_sent`
        smallest = manifest["thresholds"]["min_volume_ml"]
        return f"Masks are compared on the source grid, without pieces under {smallest} ml at the spacing assumed"
    return "Masks are compared on the source grid"


def _prepared_by(name: str) -> str:
    """The file that holds a preprocessing."""
    if name == "brain-volume-v1":
        return "pipelines/brain_volume.py"
    return "pipelines/preprocess.py" if name in {"brain-slices-v1", "ct-slices-v1"} else "training/data/inputs.py"


def _row(entry: dict[str, Any]) -> str:
    interval = "" if entry["ci95"] is None else _interval(entry["ci95"])
    return f"| {entry['metric']} | {_digits(entry['value'])} | {interval} | {entry['n']} |"


def _interval(bounds: Sequence[float]) -> str:
    return f"{_digits(bounds[0])} to {_digits(bounds[1])}"


def _digits(value: float) -> str:
    """Three digits of the four that model.yaml keeps: rounding twice must not print another figure than the card's."""
    return f"{round(value, 4):.3f}"


def with_section(card: str, title: str, text: str) -> str:
    """The card with the section `title`: its text replaced if it is there, appended if not."""
    heading, end = f"## {title}\n", "\n## "
    before, found, rest = card.partition(heading)
    if not found:
        return f"{card.rstrip()}\n\n{heading}\n{text}\n"
    _, more, after = rest.partition(end)
    return f"{before}{heading}\n{text}\n" + (end + after if more else "")


def figure_rows(figures: Sequence[Figure]) -> list[tuple[str, str, str, str]]:
    """Figures as rows of text: what, value, 95 % interval, n."""
    return [(f.metric, _digits(f.value), _interval(f.interval) if f.interval else "", str(f.n)) for f in figures]
