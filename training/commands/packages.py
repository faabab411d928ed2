"""`scanward export`, `evaluate` and `reproduce`: from a run to a package, and what it is worth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from engines.errors import PackageError
from engines.packages.package import ModelPackage, load_package, shipped_folder
from training.commands.usage import Data, console, named, refuse, usage_errors
from training.errors import UnfitError


def export(  # noqa: PLR0917 - a command line's options are many by nature
    name: Annotated[str | None, typer.Argument(help="As for train; none with --variants.")] = None,
    data: Annotated[
        Path | None, typer.Option("--data", exists=True, file_okay=False, help="The data set, as published.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", exists=True, file_okay=False, help="The run's folder; of several, the mean answers."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of packages; of prepared slices the shipped one by default, else runs/packages."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="Version of the package: 0.1.0, or with --variants --int8 as it was.")
    ] = None,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact",
            help="Keep the weights in 16 bits: half the file, computed in 32 all the same; also with --variants.",
        ),
    ] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Published images: the mean over the image and its mirror image.")
    ] = False,
    rounded: Annotated[bool, typer.Option("--rounded", help="Weights that bfloat16 can say, norms folded in.")] = False,
    variants: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Only change this package: --int8, --calibrate, --compact."),
    ] = None,
    of: Annotated[
        Literal["logits", "probabilities"],
        typer.Option(help="Of several runs: what the mean is taken of."),
    ] = "logits",
    threshold: Annotated[
        float | None, typer.Option(min=0.05, max=0.95, help="From which probability on it counts, instead of choosing.")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="With --variants: the INT8 network for a processor; wants --data.")
    ] = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="With --variants: what TensorRT needs for INT8; wants --data.")
    ] = False,
) -> None:
    """Make a model package of a run's best checkpoint, with figures measured on the held-out patients."""
    if variants is not None:
        _print_package(_with_variant(variants, data, version, int8=int8, calibrate=calibrate, compact=compact))
        return
    refuse({"--int8": int8, "--calibrate": calibrate}, "only with --variants PACKAGE")
    if name is None or data is None or not runs:
        raise typer.BadParameter("expected NAME, --data and --run, or --variants PACKAGE")
    experiment = named(name)
    if experiment.prepared:
        refuse({"--mirror": mirror}, f"{name} says by itself whether it is mirrored")
    from training.package.export import export as write_package
    from training.package.export import recorded_as

    place = out or (shipped_folder() if experiment.prepared else Path("runs") / "packages")
    options: dict[str, Any] = {"compact": compact, "mirror": mirror, "rounded": rounded, "of": of}
    with usage_errors(UnfitError):
        experiments = [recorded_as(name, run) for run in runs]
        _print_package(
            write_package(experiments, runs, data, place, version or "0.1.0", threshold=threshold, **options)
        )


def _with_variant(
    folder: Path, data: Path | None, version: str | None, *, int8: bool, calibrate: bool, compact: bool
) -> ModelPackage:
    asked = [name for name, wanted in (("--int8", int8), ("--calibrate", calibrate), ("--compact", compact)) if wanted]
    if version is not None and not int8 and not compact:
        raise typer.BadParameter("--version: what is served so far stays as it is, so the package keeps its version")
    if len(asked) != 1:
        raise typer.BadParameter(
            f"expected one of --int8, --calibrate and --compact, received {', '.join(asked) or 'none'}"
        )
    if data is None:
        raise typer.BadParameter(f"{asked[0]} looks at the patients that the package held out: expected --data DIR")
    with usage_errors(FileNotFoundError, UnfitError, PackageError):
        if compact:
            from training.package.compact import make_compact

            if version is None:
                raise typer.BadParameter("--compact makes other weights of it: expected --version")
            return make_compact(folder, data, version)
        if int8:
            from training.package.int8 import add_int8

            return add_int8(folder, data, version)
        from training.package.calibrate import add_calibration

        return add_calibration(folder, data)


def _print_package(package: ModelPackage) -> None:
    console.print(f"{package.folder}\n{package.card}", markup=False)


def evaluate(  # noqa: PLR0917 - see train
    package: Annotated[
        Path,
        typer.Argument(exists=True, file_okay=False, help="A model package, or a run by slice on prepared ones."),
    ],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Write the figures here, as JSON.")] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option("--run", exists=True, file_okay=False, help="Runs by slice: further ones; the mean answers."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write a report here: Markdown, JSON, and pictures of the best, median and worst cases."),
    ] = None,
    everyone: Annotated[
        bool, typer.Option("--everyone", help="All patients in DATA, not only those that the package held out.")
    ] = False,
    then: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="A segmenter that looks where PACKAGE, a classifier, says so."),
    ] = None,
    synthetic: Annotated[
        int, typer.Option(min=0, help="CT volumes: draw lesions into each liver, so many times over.")
    ] = 0,
    section: Annotated[
        str | None, typer.Option(help="Write the figures into the package's card too, under this heading.")
    ] = None,
) -> None:
    """Measure a package with the engine that serves, on patients that it was not trained on.

    Runs by slice are measured with torch, on the slices that they held out; no package is made of them.
    """
    from training.evaluate.report import Asked, EvaluationResult, evaluate_package
    from training.loop.record import is_by_slice

    if is_by_slice(package):
        from training.evaluate.measure import measure_runs

        given = {"--everyone": everyone, "--then": then, "--synthetic": synthetic or None, "--section": section}
        refuse({**given, "--report": report}, "only with a package")
        together = [package, *(runs or [])]
        with usage_errors(UnfitError):
            figures = measure_runs(together, data)
        measured = EvaluationResult(", ".join(run.name for run in together), "held-out slices", tuple(figures))
        measured.print(console)
        if out is not None:
            measured.write_json(out)
        return
    refuse({"--run": runs}, "only with a run by slice")
    loaded = load_package(package)
    asked = Asked(data, everyone=everyone, then=then, synthetic=synthetic, pictures=report)
    with usage_errors(FileNotFoundError, UnfitError):
        measured = evaluate_package(loaded, asked)
    measured.print(console)
    if out is not None:
        measured.write_json(out)
    if report is not None:
        measured.write(report)
    if section is not None:
        measured.write_section(loaded, section)


def reproduce(  # noqa: PLR0917 - see train
    name: Annotated[str, typer.Argument(help="A shipped package.")],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of packages.")] = Path("runs/packages"),
    runs: Annotated[
        Path, typer.Option(help="Folder of the runs; what was interrupted there is taken up, what is done stays.")
    ] = Path("runs/reproduced"),
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Time budget of each training, instead of that of what ships.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop each training after so many epochs.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads; all by default.")] = None,
) -> None:
    """Make a shipped package again from its data set: train, export, put together, quantise, measure."""
    from training.loop.train import RunLimits, use_threads
    from training.reproduce import MAKINGS, beside_shipped
    from training.reproduce import reproduce as make_again

    if name not in MAKINGS:
        raise typer.BadParameter(f"expected one of {', '.join(MAKINGS)}, received {name!r}")
    use_threads(threads)
    limits = RunLimits(minutes, epochs, progress=sys.stderr.isatty())
    with usage_errors(FileNotFoundError, UnfitError):
        package = make_again(name, data, out, runs, limits)
    table = Table("Figure", "ships", "made again", title=str(package.folder))
    for row in beside_shipped(package):
        table.add_row(*row)
    console.print(table)
