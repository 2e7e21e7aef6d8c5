"""The pictures, sounds, videos and series below a folder, what each holds, and the text files beside them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmkit.data.modalities import MODALITIES, of_files, text
from mmkit.data.tables import TABLES
from mmkit.data.walk import walk

# the modalities that files hold one value of; where there are others, those whose columns keep files come first
READ = [name for name, row in MODALITIES.items() if hasattr(row, "of_file")]
MEDIA = [name for name in READ if MODALITIES[name] in of_files()]


@dataclass(slots=True)
class Files:
    """What lies below a folder, as paths relative to it.

    Args:
        sought: the modalities that are looked for.
        pictures: sorted; also those that are not read, but for what is there in another form too (`a.cr2` beside `a.jpg`).
        texts: (folder, name in one case) -> text files called so.
        kinds: suffix -> the modality that its files hold.
        unread: the same of files that cannot be read.
        aside: files that are left out.
    """

    root: Path
    sought: list[str]
    kinds: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    texts: dict[tuple[Path, str], list[Path]] = field(default_factory=lambda: defaultdict(list))
    aside: list[Path] = field(default_factory=list)

    @classmethod
    def below(cls, root: Path, read_as: str | None = None) -> Files:
        """Look through all folders below `root`."""
        files = cls(root, [read_as] if read_as else MEDIA)
        found = []
        files.unread = {suffix: name for name in files.sought for suffix in MODALITIES[name].UNREAD}
        held = {suffix for name in READ for suffix in MODALITIES[name].SUFFIXES}
        for folder, names in walk(root):
            for path in (folder / name for name in names):
                suffix = path.suffix.lower()
                if suffix in held | files.unread.keys():
                    found.append(path)
                elif suffix in text.SUFFIXES:
                    files.texts[folder, path.name.casefold()].append(path)
        files.kinds = _kinds(root, found, files.sought)
        if not files.kinds and not read_as:
            # a table on top is rather one of all rows
            files.kinds = _kinds(root, [p for p in found if p.parent.name or p.suffix.lower() not in TABLES], READ)
        stems = {(path.with_suffix(""), files.modality(path)) for path in found if files.is_read(path)}
        unread = [path for path in found if path.suffix.lower() in files.unread]
        unread = [path for path in unread if (path.with_suffix(""), files.modality(path)) not in stems]
        files.pictures = sorted([*filter(files.is_read, found), *unread])
        return files

    def leave_out(self, aside: list[Path]) -> None:
        """Leave files out, unless they are all."""
        if len(aside) < len(self.pictures):
            self.aside, self.pictures = aside, sorted({*self.pictures} - {*aside})

    def is_read(self, path: Path) -> bool:
        return path.suffix.lower() in self.kinds

    def modality(self, path: Path) -> Any:
        """What a file holds, or would if it could be read."""
        return MODALITIES[(self.unread | self.kinds)[path.suffix.lower()]]

    @property
    def modalities(self) -> list[Any]:
        """Those of the files; where there are none, the first that is looked for."""
        there = set(map(self.modality, self.pictures)) or {MODALITIES[self.sought[0]]}
        return [MODALITIES[name] for name in READ if MODALITIES[name] in there]

    @property
    def called(self) -> str:
        """What the files are, in the plural."""
        *others, last = (row.PLURAL for row in self.modalities)
        return f"{', '.join(others)} and {last}" if others else last

    def beside(self, picture: Path) -> list[Path]:
        """The text files of a picture; where names differ only in case, those that are written as the picture's is."""
        found = []
        for name in (picture.stem, picture.name):
            for suffix in text.SUFFIXES:
                fits = self.texts.get((picture.parent, f"{name}{suffix}".casefold()), [])
                found += [path for path in fits if path.stem == name] or fits
        return found


def _kinds(root: Path, found: list[Path], names: list[str]) -> dict[str, str]:
    """Suffix -> modality of the files; of a suffix that several have, one that other files are surely of, else what the first
    file shows."""
    first: dict[str, Path] = {}
    for path in sorted(found):
        first.setdefault(path.suffix.lower(), path)
    claims = {suffix: [name for name in names if suffix in MODALITIES[name].SUFFIXES] for suffix in first}
    sure = {claim[0] for claim in claims.values() if len(claim) == 1}
    kinds = {}
    for suffix, claim in claims.items():
        others = [name for name in claim if name in sure]
        shown = [name for name in claim if getattr(MODALITIES[name], "is_shown_by", lambda path: False)(root / first[suffix])]
        if claim:
            kinds[suffix] = [*others, *shown, *claim][0]
    return kinds
