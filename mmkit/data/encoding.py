"""The encoding of a stranger's text file, told from its bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from mmkit.data.compressed import open_bytes

SAMPLE = 64 << 10
# letters, punctuation and signs that Western European texts in cp1252 are made of
WESTERN = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿœŒ‘’“”–—…«»°€£¡¿\xa0")
WESTERN |= set("„‚‹›´·•†‡§©®™‰ªº¹²³¼½¾×÷±µ¢¥")
# some of these bytes are letters of Central Europe (`ma³y` is mały in cp1250, `ºi` şi): then letters follow them
FOREIGN = re.compile(r"(?<!\d)[ªº¹²³¼½¾±¢¥][A-Za-zÀ-ÖØ-öø-ÿŒœ]|[A-Za-zÀ-ÖØ-öø-ÿŒœ][¼½¾]|µ[aeiou]")


def detect_encoding(path: Path) -> str:
    """utf-8, utf-8-sig, utf-16, or cp1252 where that is sure; else utf-8, whose rows that do not decode are rejected later."""
    with open_bytes(path) as f:
        head = f.read(SAMPLE)
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark):
            return name
    nuls = [head[offset::2].count(0) for offset in (0, 1)]
    if max(nuls) > len(head) // 4:
        return "utf-16-le" if nuls[1] > nuls[0] else "utf-16-be"
    return "cp1252" if not _is_utf8(path) and _surely_cp1252(path) else "utf-8"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_bytes(path) as f:
        try:
            while block := f.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _surely_cp1252(path: Path) -> bool:
    """Western letters, one at a time between plain ones; other encodings come in runs or as odd symbols."""
    single, odd = 0, 0
    with open_bytes(path) as f:
        for line in f:
            odd += bool(FOREIGN.search(line.decode("cp1252", "replace")))
            for run in re.findall(rb"[\x80-\xff]+", line):
                if len(run) > 1 and _decodes(run):
                    return False  # UTF-8 with some damaged rows
                western = all(c in WESTERN for c in run.decode("cp1252", "replace"))
                single += western and len(run) == 1
                odd += not western or len(run) > 2
    return odd == 0 and single > 0


def _decodes(run: bytes) -> bool:
    try:
        return bool(run.decode("utf-8"))
    except UnicodeDecodeError:
        return False
