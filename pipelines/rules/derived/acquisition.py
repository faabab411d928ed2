"""How an MR series was acquired: the few physical quantities that decide its contrast, whoever built the scanner."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.rules.derived.wording import names_whole_examination, plain
from pipelines.rules.tag_values import codes, numbers, positive, text

_SPIN = re.compile(r"^(?:t(?:se|ir|gse)|se\d|spc|h\d|haste|fse|fase|epse|seepi|se2d|se3d)")
_PLANAR = re.compile(r"ep|re_b|.*epi")
_GRADIENT = re.compile(r"^(?:tfl|fl\d|fi\d|qfl|me\d|fe\d|ffe|gre|epfid|feepi|tfi|ci3d|de3d|fm2d)")


@dataclass(frozen=True)
class Acquisition:
    """Timing in ms, flip angle in degrees; None where the header does not say (vendors also write 0 for that).

    Attributes:
        scanning: Values of ScanningSequence: SE, GR, IR, EP, RM.
        variant: Values of SequenceVariant: SK, SS, SP, MP, ...
        image_type: Values of ImageType.
        pulse: Vendor's name of the pulse sequence, small letters, without Siemens' leading `*`.
        name: Series description, as `wording.plain` prepares it.
        protocol: Protocol name likewise; '' for GE, whose protocol names the whole examination.
        echoes: Different echo times of the images, ascending.
        b_values: Different diffusion weightings of the images, s/mm²; 0 is one too.
        declared: AcquisitionContrast, which enhanced objects carry.
        agent: A contrast agent is named.
        pixel: Pixel size in mm.
        volumes: How often a slice position is repeated; None when the positions are not known.
    """

    scanning: frozenset[str]
    variant: frozenset[str]
    options: frozenset[str]
    image_type: tuple[str, ...]
    pulse: str
    name: str
    protocol: str
    declared: str
    tr: float | None
    te: float | None
    ti: float | None
    flip: float | None
    train: float | None
    echoes: tuple[float, ...]
    b_values: tuple[float, ...]
    pixel: float | None
    thickness: float | None
    three_d: bool
    planar: bool
    agent: bool
    images: int
    volumes: float | None

    @classmethod
    def read(cls, tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]], images: int) -> Acquisition:
        """Reads what a series' tags say; classic and enhanced keywords both."""
        scanning, variant = frozenset(codes(tags, "ScanningSequence")), frozenset(codes(tags, "SequenceVariant"))
        options = frozenset(codes(tags, "ScanOptions"))
        pulse = _pulse(tags)
        return cls(
            scanning=scanning | _enhanced_scanning(tags),
            variant=variant | _enhanced_variant(tags),
            options=options,
            image_type=codes(tags, "ImageType"),
            pulse=pulse,
            name=plain(text(tags, "SeriesDescription")),
            protocol="" if names_whole_examination(tags) else plain(text(tags, "ProtocolName")),
            declared=text(tags, "AcquisitionContrast").upper(),
            tr=positive(tags, "RepetitionTime"),
            te=positive(tags, "EchoTime", "EffectiveEchoTime"),
            ti=positive(tags, "InversionTime", "InversionTimes"),
            flip=positive(tags, "FlipAngle"),
            train=positive(tags, "EchoTrainLength"),
            echoes=_different(tags, instance_tags, "EchoTime"),
            b_values=_different(tags, instance_tags, "DiffusionBValue"),
            pixel=positive(tags, "PixelSpacing"),
            thickness=positive(tags, "SliceThickness"),
            three_d=_three_d(tags),
            planar=_planar(scanning, options, pulse, tags),
            agent=bool(text(tags, "ContrastBolusAgent")),
            images=images,
            volumes=volumes(instance_tags, images),
        )

    @property
    def inversion(self) -> bool:
        """An inversion pulse at a known or unknown time precedes the readout."""
        flagged = (
            "IR" in self.scanning or "IR" in self.options or any("IR" in part.split("_") for part in self.image_type)
        )
        prepared = "MP" in self.variant or (self.three_d and self.gradient_echo)  # MPRAGE, whatever it is flagged
        return flagged or (self.ti is not None and (self.ti >= 1000 or prepared))

    @property
    def gradient_echo(self) -> bool:
        """The echo is formed by gradients: T2* instead of T2, and the flip angle counts."""
        if "GR" in self.scanning or "SE" in self.scanning:
            return "SE" not in self.scanning
        if "M_FFE" in self.image_type or _GRADIENT.match(self.pulse):
            return True
        short = self.tr is not None and self.tr < 100
        return not self._named_spin_echo and short and self.flip is not None and self.flip < 60

    @property
    def spin_echo(self) -> bool:
        """The echo is formed by refocusing pulses. Unknown ones (GE's "RM", no tag) count when they excite fully."""
        if self.gradient_echo:
            return False
        return "SE" in self.scanning or self._named_spin_echo or self.flip is None or self.flip >= 60

    @property
    def _named_spin_echo(self) -> bool:
        return bool(_SPIN.match(self.pulse)) or "M_SE" in self.image_type or "M_IR" in self.image_type

    @property
    def dynamic(self) -> bool:
        """The same slices again and again."""
        if self.volumes is not None:
            return self.volumes > 1.5
        return self.images >= 90 or "MOSAIC" in self.image_type

    @property
    def thin(self) -> bool:
        """Slices of a 3D acquisition, said or seen by their thickness."""
        return self.three_d or (self.thickness is not None and self.thickness <= 2.5)

    def timing(self) -> str:
        """The quantities that are known, for people."""
        known = (("TR", self.tr, " ms"), ("TE", self.te, " ms"), ("TI", self.ti, " ms"), ("flip", self.flip, "°"))
        return ", ".join(f"{name} {value:g}{unit}" for name, value, unit in known if value is not None)


def _three_d(tags: Mapping[str, Any]) -> bool:
    """As the scanner says; where it does not, as the description does."""
    said = text(tags, "MRAcquisitionType").upper()
    return said == "3D" or (not said and re.search(r"\b3d", plain(text(tags, "SeriesDescription"))) is not None)


def _pulse(tags: Mapping[str, Any]) -> str:
    return (text(tags, "SequenceName") or text(tags, "PulseSequenceName")).lower().lstrip("*_ ").strip()


def _enhanced_scanning(tags: Mapping[str, Any]) -> frozenset[str]:
    """Enhanced objects say in separate attributes what classic ones say in ScanningSequence (PS3.3 C.8.13.4)."""
    if "EchoPulseSequence" not in tags and "InversionRecovery" not in tags:
        return frozenset()
    found = {"SPIN": {"SE"}, "GRADIENT": {"GR"}, "BOTH": {"SE", "GR"}}.get(
        text(tags, "EchoPulseSequence").upper(), set()
    )
    if text(tags, "InversionRecovery").upper() == "YES":
        found = found | {"IR"}
    return frozenset(found)


def _enhanced_variant(tags: Mapping[str, Any]) -> frozenset[str]:
    steady = text(tags, "SteadyStatePulseSequence").upper() not in ("", "NONE")
    spoiled = text(tags, "Spoiling").upper() not in ("", "NONE")
    return frozenset({"SS"} if steady else ()) | frozenset({"SP"} if spoiled else ())


def _planar(scanning: frozenset[str], options: frozenset[str], pulse: str, tags: Mapping[str, Any]) -> bool:
    return (
        "EP" in scanning
        or "EPI_GEMS" in options
        or text(tags, "EchoPlanarPulseSequence").upper() == "YES"
        or _PLANAR.match(pulse) is not None
    )


def _different(tags: Mapping[str, Any], instance_tags: Sequence[Mapping[str, Any]], keyword: str) -> tuple[float, ...]:
    found = {value for instance in instance_tags for value in numbers(instance, keyword)}
    return tuple(sorted(found | set(numbers(tags, keyword))))


def volumes(instance_tags: Sequence[Mapping[str, Any]], images: int) -> float | None:
    """How often a slice position is repeated; None when not every image's position is known."""
    positions = [numbers(instance, "ImagePositionPatient") for instance in instance_tags]
    known = [tuple(round(value, 2) for value in position) for position in positions if len(position) == 3]
    return len(known) / len(set(known)) if known and len(known) >= images else None
