"""MODEL_CARD.md, from the same data as model.yaml: no figure is written by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from engines.packages.package import CARD, MANIFEST
from engines.plain_yaml import write_yaml
from training.evaluate.figures import Figure
from training.experiment import PREPARED

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
| Network | sha256 `$sha256`; largest difference of a logit from torch: $difference |

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
) -> None:
    """Writes model.yaml and the card of a package.

    Args:
        folder: The package's.
        manifest: Content of model.yaml.
        limits: What a user must know.
        difference: Largest difference of a logit between ONNX Runtime and torch.
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
        difference=f"{difference:.1e}",
        limits="\n".join(f"- {limit}" for limit in limits),
        held_out=", ".join(f"`{name}`" for name in training["split"]["held_out"]),
    )
    (folder / CARD).write_text(card)


def _made(training: dict[str, Any]) -> str:
    """The commands that made the weights and the package, and how long it took."""
    names = [training.get("trained_as", training["recipe"])]
    names += [other["name"] for other in training.get("others", ()) if other["name"] not in names]
    starts = training.get("initial") or [None] * len(names)
    said = ", ".join(
        f"`scanward train {name}`{f' from {start}' if start else ''}"
        for name, start in zip(names, starts, strict=False)
    )
    several = ""
    if training.get("networks", 1) > 1:
        several = f"mean of {training['networks']} runs, mean of the {training.get('mean', 'logits')} of each"
    took = [several, *(f"{training[unit]} {unit}" for unit in ("minutes", "epochs") if training.get(unit))]
    steps = f" ({', '.join(filter(None, took))})" if any(took) else ""
    options = " --run ... --run ..." if several else ""
    options += "".join(f" --{name}" for name in ("mirror", "rounded", "compact") if training.get(name))
    told = [(option, training.get(key)) for option, key in (("of", "mean"), ("threshold", "threshold"))]
    options += "".join(f" --{option} {value}" for option, value in told if value not in (None, "logits"))
    return f"{said}{steps}, `scanward export {training['recipe']}{options}`"


def _compared(manifest: dict[str, Any]) -> str:
    prepared = manifest["preprocessing"]["name"] in PREPARED
    if manifest["task"] == "classification":
        return "Slices are compared" if prepared else "Pictures are compared"
    if not prepared:
        return "Masks are compared on the network's grid"
    if manifest["preprocessing"]["name"] == "brain-slices-v1":  # neighbours make a volume: `Segmented.as_sent`
        smallest = manifest["thresholds"]["min_volume_ml"]
        return f"Masks are compared on the source grid, without pieces under {smallest} ml at the spacing assumed"
    return "Masks are compared on the source grid"


def _prepared_by(name: str) -> str:
    """The file that holds a preprocessing."""
    if name == "brain-volume-v1":
        return "pipelines/brain/volume.py"
    return "pipelines/preprocess.py" if name in PREPARED else "training/data/inputs.py"


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
