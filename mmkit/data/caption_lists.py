"""Text files whose lines begin with the name of a picture, sound or video: `84-121123-0000 GO DO YOU HEAR`."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmkit.data.cells import has_words, is_number

# the name, perhaps with the number of the caption as Flickr writes it, and the words
LINE = re.compile(r"(\S+?)(?:#\d+)?(?:[\t ]*\|[\t ]*|[\t ]+)(\S.*)")
# so much of the lines of a list name files, or of the files are named in it; so many captions hold several words
NEARLY_ALL, MOST, WORDS = 0.9, 0.5, 0.5
# where so many text files in a row are no lists, others are none either
PROBED = 100
LARGEST = 200 << 20


def captions_by_id(root: Path, media: Sequence[Path], texts: Iterable[Path]) -> dict[Path, dict[Path, list[str]]]:
    """The captions of the files, by the text file that has them.

    Args:
        media: relative to the root.
        texts: the text files that may be lists, relative to it.
    """
    texts = sorted(texts)
    called: dict[str, list[Path]] = defaultdict(list)
    for path in media if texts else ():
        called[path.stem].append(path)
        called[path.name].append(path)
    found: dict[Path, dict[Path, list[str]]] = {}
    for n, text in enumerate(texts):
        if n >= PROBED and not found:
            break
        if captions := _captions(root / text, text.parent, called, len(media)):
            found[text] = captions
    return found


def _captions(path: Path, folder: Path, called: dict[str, list[Path]], media: int) -> dict[Path, list[str]]:
    """File -> captions; nothing where the text file is no list of them."""
    try:
        if os.path.getsize(path) > LARGEST:
            return {}
        # what does not decode is kept as surrogates and rejected later as wrong encoding
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
    except OSError:
        return {}
    lines = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    named: dict[Path, list[str]] = defaultdict(list)
    for match in filter(None, map(LINE.fullmatch, lines)):
        if file := _nearest(called.get(match[1], ()), folder):
            named[file].append(match[2])
    captions = [caption for own in named.values() for caption in own]
    told = len(captions) >= NEARLY_ALL * len(lines) or len(named) >= MOST * media
    words = sum(has_words(caption) and not is_number(caption) for caption in captions)
    columns = sum(bool(re.search(r"[\t|]", caption)) for caption in captions)
    # with further columns it is a table
    return dict(named) if captions and told and words > WORDS * len(captions) > columns else {}


def _nearest(files: Sequence[Path], folder: Path) -> Path | None:
    """The only file of a name, else the only one in the folder of the text file."""
    own = files if len(files) == 1 else [file for file in files if file.parent == folder]
    return own[0] if len(own) == 1 else None
