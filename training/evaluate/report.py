"""`scanward evaluate`: what was measured, on whom, as a table, JSON, and a report with pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from engines.choose import open_engine
from engines.contract import EngineSettings
from engines.packages.package import ModelPackage, load_package
from training.data.layouts.studies import LabelledStudy, find_studies
from training.errors import UnfitError
from training.evaluate.figures import Figure
from training.evaluate.studies import as_served, by_slices, read_studies, study_figures
from training.package.card import figure_rows
from training.package.origin import experiments_of, threshold_of, unseen, unseen_names
from training.package.rewrite import edit_card

PICTURES = {
    "gallery.png": "Best, median and worst: the image alone, or image, truth, prediction, and both over the image.",
    "gallery.gif": "The median scan, slice after slice.",
    "missed.png": "Where the classifier was wrong.",
    "reliability.png": "How often what was said to be so probable was so.",
}


@dataclass(frozen=True)
class Asked:
    """What is to be measured.

    Attributes:
        data: The data set, in its published layout.
        everyone: All patients in it, not only those that the package held out.
        then: A segmenter's package, which looks where the first package, a classifier, says tumour.
        synthetic: How many times lesions are drawn into the liver of each CT volume.
        pictures: A folder for pictures.
        engine: Settings of the engine; the fastest that there is if None.
    """

    data: Path
    everyone: bool = False
    then: Path | None = None
    synthetic: int = 0
    pictures: Path | None = None
    engine: EngineSettings | None = None


@dataclass(frozen=True)
class EvaluationResult:
    """Figures of a package.

    Attributes:
        name: Of the package, or packages.
        on: On how many of what.
        figures: What was measured.
        notes: What a reader must know to read them.
    """

    name: str
    on: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()

    def print(self, console: Console) -> None:
        """As a table."""
        table = Table("Figure", "Value", "95 % interval", "n", title=f"{self.name}, {self.on}")
        for row in figure_rows(self.figures):
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(note, markup=False)

    def write_json(self, path: Path) -> None:
        """The figures alone, as a list."""
        path.write_text(json.dumps([asdict(figure) for figure in self.figures], indent=1))

    def write_section(self, package: ModelPackage, title: str) -> None:
        """Into the package's own card, under a heading."""
        notes = "".join(f"\n\n{note}" for note in self.notes)
        text = f"{self.on[0].upper()}{self.on[1:]}, with the engine that serves.\n\n{self.table}{notes}"
        edit_card(package.folder, title, text)

    @property
    def table(self) -> str:
        """In Markdown."""
        rows = [f"| {' | '.join(row)} |" for row in figure_rows(self.figures)]
        return "\n".join(["| Figure | Value | 95 % interval | n |", "|---|---|---|---|", *rows])

    def write(self, folder: Path) -> None:
        """report.md and figures.json, beside the pictures that are in the folder already."""
        folder.mkdir(parents=True, exist_ok=True)
        self.write_json(folder / "figures.json")
        pictures = [f"![{what}]({name})\n\n{what}\n" for name, what in PICTURES.items() if (folder / name).exists()]
        parts = [
            f"# {self.name}\n\nMeasured on {self.on}, with the engine that serves. 95 % intervals by bootstrap over "
            "patients.\n",
            f"{self.table}\n",
            *(f"{note}\n" for note in self.notes),
            *pictures,
        ]
        (folder / "report.md").write_text("\n".join(parts))


def evaluate_package(package: ModelPackage, asked: Asked) -> EvaluationResult:
    """Measures a package with the engine that serves, on patients that it was not trained on.

    Raises:
        FileNotFoundError: None of them is in the data.
        UnfitError: What is asked does not fit the package.
    """
    if asked.pictures is not None:
        asked.pictures.mkdir(parents=True, exist_ok=True)
    if asked.then is not None:
        return _two_stages(package, load_package(asked.then), asked)
    if {"liver", "tumour"} <= set(package.manifest.outputs[0].classes) and (studies := find_studies(asked.data)):
        return _studies(package, studies, asked)
    if asked.synthetic:
        raise UnfitError(reason=f"lesions are drawn into whole CTs with a liver mask, and {asked.data} holds none")
    return measure_held_out(package, asked)


def measure_held_out(package: ModelPackage, asked: Asked) -> EvaluationResult:
    """The figures that an export measures: of what the package was not trained on.

    Raises:
        FileNotFoundError: None of it is in the data.
        UnfitError: Nobody here knows what the package was made of.
    """
    from training.evaluate.measure import measure

    experiment = experiments_of(package)[0]
    units = unseen(package, experiment, asked.data, everyone=asked.everyone)
    figures = measure(experiment, package, units, asked.pictures, asked.engine)
    what = "patients" if experiment.prepared else "items"
    return EvaluationResult(package.name, f"{len(units)} {what}", tuple(figures), _scattered(package))


def _studies(package: ModelPackage, studies: Sequence[LabelledStudy], asked: Asked) -> EvaluationResult:
    from training.evaluate.predict import by_engine

    wanted = [study for study in studies if asked.everyone or not study.public or study.name in unseen_names(package)]
    if not wanted:
        raise FileNotFoundError(
            f"the {len(studies)} CTs in {asked.data} may be ones that {package.name} was trained on; "
            "say --everyone if they are not"
        )
    with open_engine(package, asked.engine) as engine:
        segment, experiment = as_served(engine), experiments_of(package)[0]
        if not experiment.prepared:
            segment = by_slices(experiment, by_engine(engine), threshold_of(package))
        minimum = package.manifest.thresholds.min_volume_ml
        reads = read_studies(segment, wanted, synthetic=asked.synthetic, min_volume_ml=minimum)
    notes = [str(read) for read in reads]
    if asked.synthetic:
        notes.append("The lesions were drawn into the livers: they say how large a dark spot must be, no more.")
    times = f", with lesions drawn in {asked.synthetic} times over" if asked.synthetic else ""
    on = f"{len(wanted)} whole CT{'s' if len(wanted) > 1 else ''}{times}"
    return EvaluationResult(
        package.name, on, tuple(study_figures(reads, synthetic=bool(asked.synthetic))), tuple(notes)
    )


def _two_stages(classifier: ModelPackage, segmenter: ModelPackage, asked: Asked) -> EvaluationResult:
    from training.evaluate.two_stages import measure_stages

    count, figures = measure_stages(
        (classifier, segmenter), asked.data, everyone=asked.everyone, pictures=asked.pictures
    )
    return EvaluationResult(f"{classifier.name}, then {segmenter.name}", f"{count} slices", tuple(figures))


def _scattered(package: ModelPackage) -> tuple[str, ...]:
    """What slices cannot say of a liver."""
    if not {"liver", "tumour"} <= set(package.manifest.outputs[0].classes):
        return ()
    return (
        "Slices, not volumes: no figure lesion by lesion can be had here, nor volumes or a tumour burden. "
        "Whole CTs (LiTS, CHAOS) give them: scanward evaluate PACKAGE --data DIR.",
    )
