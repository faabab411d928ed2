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
from engines.package import ModelPackage, load_package
from training.data.case import Case
from training.data.layouts.studies import Study, find_studies
from training.evaluate.figures import Figure, UnfitError
from training.evaluate.studies import as_served, read_studies, study_figures
from training.package.card import figure_rows
from training.package.manifest import threshold_of
from training.package.rewrite import edit_card
from training.recipes import RECIPES, Recipe
from training.systems.commands import unseen_names

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
class Measured:
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


def evaluate_package(package: ModelPackage, asked: Asked) -> Measured:
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
        raise UnfitError(f"lesions are drawn into whole CTs with a liver mask, and {asked.data} holds none")
    return measure_held_out(package, asked)


def measure_held_out(package: ModelPackage, asked: Asked) -> Measured:
    """The figures that an export measures: of the items that the package was not trained on, one by one.

    Raises:
        FileNotFoundError: None of them is in the data.
        UnfitError: Nobody here knows what the package was made of.
    """
    record = package.manifest.training.model_extra or {}
    return _system(package, asked) if "system" in record else _recipe(package, asked)


def cases_of(package: ModelPackage, data: Path, *, everyone: bool = False) -> tuple[Recipe, list[Case]]:
    """The recipe that a package was made by, and the patients in `data` that it held out, or all of them.

    Raises:
        UnfitError: Nobody here knows what the package was made of.
        FileNotFoundError: None of them is there.
    """
    made_by = (package.manifest.training.model_extra or {}).get("recipe")
    if made_by not in RECIPES:
        raise UnfitError(f"{package.name} was made by {made_by!r}; expected one of {', '.join(RECIPES)}")
    recipe, held_out = RECIPES[str(made_by)], unseen_names(package)
    cases = [case for case in recipe.loader(data) if everyone or case.name in held_out]
    if not cases:
        raise FileNotFoundError(f"nothing that {package.name} held out is in {data}")
    return recipe, cases


def _studies(package: ModelPackage, studies: Sequence[Study], asked: Asked) -> Measured:
    from training.evaluate.predict import by_engine
    from training.systems.commands import system_in
    from training.systems.studies import by_slices

    wanted = [study for study in studies if asked.everyone or not study.public or study.name in unseen_names(package)]
    if not wanted:
        raise FileNotFoundError(
            f"the {len(studies)} CTs in {asked.data} may be ones that {package.name} was trained on; "
            "say --everyone if they are not"
        )
    with open_engine(package, asked.engine) as engine:
        segment = as_served(engine)
        if "system" in (package.manifest.training.model_extra or {}):
            segment = by_slices(system_in(package), by_engine(engine), threshold_of(package))
        minimum = package.manifest.thresholds.min_volume_ml
        reads = read_studies(segment, wanted, synthetic=asked.synthetic, min_volume_ml=minimum)
    notes = [str(read) for read in reads]
    if asked.synthetic:
        notes.append("The lesions were drawn into the livers: they say how large a dark spot must be, no more.")
    times = f", with lesions drawn in {asked.synthetic} times over" if asked.synthetic else ""
    on = f"{len(wanted)} whole CT{'s' if len(wanted) > 1 else ''}{times}"
    return Measured(package.name, on, tuple(study_figures(reads, synthetic=bool(asked.synthetic))), tuple(notes))


def _two_stages(classifier: ModelPackage, segmenter: ModelPackage, asked: Asked) -> Measured:
    from training.systems.commands import evaluate_two_stages

    count, figures = evaluate_two_stages(
        (classifier, segmenter), asked.data, everyone=asked.everyone, pictures=asked.pictures
    )
    return Measured(f"{classifier.name}, then {segmenter.name}", f"{count} slices", tuple(figures))


def _system(package: ModelPackage, asked: Asked) -> Measured:
    from training.systems.commands import evaluate_system

    count, figures = evaluate_system(
        package, asked.data, everyone=asked.everyone, pictures=asked.pictures, engine=asked.engine
    )
    return Measured(package.name, f"{count} items", tuple(figures), _scattered(package))


def _recipe(package: ModelPackage, asked: Asked) -> Measured:
    from training.evaluate.measure import measure

    recipe, cases = cases_of(package, asked.data, everyone=asked.everyone)
    _, figures = measure(recipe, package, cases, threshold_of(package), asked.pictures, settings=asked.engine)
    return Measured(package.name, f"{len(cases)} patients", tuple(figures), _scattered(package))


def _scattered(package: ModelPackage) -> tuple[str, ...]:
    """What slices cannot say of a liver."""
    if not {"liver", "tumour"} <= set(package.manifest.outputs[0].classes):
        return ()
    return (
        "Slices, not volumes: no figure lesion by lesion can be had here, nor volumes or a tumour burden. "
        "Whole CTs (LiTS, CHAOS) give them: scanward evaluate PACKAGE --data DIR.",
    )
