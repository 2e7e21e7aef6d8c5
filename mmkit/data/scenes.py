"""Generated scenes: objects on a 3 x 3 grid, what can be said and asked about them, and their pixels."""

from __future__ import annotations

import functools
import io
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SIDE = 48
CELL = SIDE // 3
COLOURS = {
    "red": (214, 40, 40),
    "green": (44, 160, 60),
    "blue": (50, 84, 224),
    "yellow": (240, 214, 44),
    "purple": (150, 56, 190),
    "orange": (242, 132, 28),
    "cyan": (56, 200, 214),
    "white": (246, 246, 246),
}
SHAPES = ("circle", "square", "triangle", "cross")
RADIUS = {"small": 3.4, "large": 6.2}
PLACES = ("top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right")
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
ANSWER = {"left of": "left", "right of": "right", "above": "above", "below": "below"}
OVERSAMPLING = 8


@dataclass(frozen=True, slots=True)
class Object:
    """One object of a scene; `place` counts the cells of the grid by row."""

    size: str
    colour: str
    shape: str
    place: int

    @property
    def kind(self) -> str:
        """Such as `red circle`."""
        return f"{self.colour} {self.shape}"

    @property
    def phrase(self) -> str:
        """Such as `a small red circle`."""
        return f"a {self.size} {self.kind}"


@dataclass(frozen=True, slots=True)
class Scene:
    """One object, or two of different kinds that share a row or a column of the grid."""

    objects: tuple[Object, ...]

    @property
    def captions(self) -> list[str]:
        """One object: its place. Two: both wordings of their relation."""
        first = self.objects[0]
        if len(self.objects) == 1:
            place = PLACES[first.place]
            return [f"{first.phrase} {'in' if place == 'center' else 'at'} the {place}"]
        second, how = self.objects[1], self.relation
        return [f"{_a(first.kind)} {how} {_a(second.kind)}", f"{_a(second.kind)} {INVERSE[how]} {_a(first.kind)}"]

    @property
    def relation(self) -> str:
        """Where the first of two objects is, seen from the second."""
        (y1, x1), (y2, x2) = (divmod(o.place, 3) for o in self.objects)
        if y1 == y2:
            return "left of" if x1 < x2 else "right of"
        return "above" if y1 < y2 else "below"


def draw(scene: Scene, seed: str) -> bytes:
    """The scene as a PNG of 48 x 48 pixels."""
    import numpy as np
    from PIL import Image

    rng = random.Random(f"pixels-{seed}")
    ground = np.empty((SIDE, SIDE, 3), np.float32)
    grey = rng.uniform(48, 84)
    ground[:] = [grey + rng.uniform(-5, 5) for _ in range(3)]
    for thing, (x, y, radius) in zip(scene.objects, _laid_out(scene, seed), strict=True):
        left, top, mask = _mask(thing.shape, x, y, radius)
        patch = ground[top : top + mask.shape[0], left : left + mask.shape[1]]
        colour = np.array([c + rng.uniform(-10, 10) for c in COLOURS[thing.colour]], np.float32)
        patch += mask[..., None] * (colour - patch)
    ground += np.random.default_rng(rng.getrandbits(64)).normal(0, 5, ground.shape).astype(np.float32)
    sink = io.BytesIO()
    Image.fromarray(np.clip(np.rint(ground), 0, 255).astype(np.uint8)).save(sink, "PNG", compress_level=1)
    return sink.getvalue()


def boxes(scene: Scene, seed: str) -> list[list[float]]:
    """The box (x1, y1, x2, y2) of each object in the pixels that `draw` with the same seed makes."""
    found = []
    for thing, (x, y, radius) in zip(scene.objects, _laid_out(scene, seed), strict=True):
        xs, ys = zip(*_outline(thing.shape), strict=True)
        found.append(
            [round(v, 2) for v in (x + min(xs) * radius, y + min(ys) * radius, x + max(xs) * radius, y + max(ys) * radius)]
        )
    return found


def _laid_out(scene: Scene, seed: str) -> list[tuple[float, float, float]]:
    """Centre x, centre y and radius of each object in pixels, with some jitter."""
    rng = random.Random(f"layout-{seed}")
    placed = []
    for thing in scene.objects:
        row, column = divmod(thing.place, 3)
        x, y = ((c + 0.5) * CELL + rng.uniform(-1, 1) for c in (column, row))
        placed.append((x, y, RADIUS[thing.size] * rng.uniform(0.92, 1.08)))
    return placed


def _mask(shape: str, x: float, y: float, radius: float) -> tuple[int, int, np.ndarray]:
    """Left, top and the share of each pixel (H, W) that a shape covers."""
    import numpy as np
    from PIL import Image, ImageDraw

    left, top, side = int(x - radius), int(y - radius), int(2 * radius) + 3
    side = min(side, SIDE - left, SIDE - top)
    canvas = Image.new("L", (side * OVERSAMPLING, side * OVERSAMPLING))
    outline = [((x + dx * radius - left) * OVERSAMPLING, (y + dy * radius - top) * OVERSAMPLING) for dx, dy in _outline(shape)]
    brush = ImageDraw.Draw(canvas)
    if shape == "circle":
        brush.ellipse(outline, fill=255)
    else:
        brush.polygon(outline, fill=255)
    return left, top, np.asarray(canvas.reduce(OVERSAMPLING), np.float32) / 255


@functools.cache
def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners in a square from -1 to 1; of a circle those of its box."""
    if shape == "circle":
        return [(-1, -1), (1, 1)]
    if shape == "square":
        # inset a little, so that the areas of the shapes are alike
        return [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]
    if shape == "triangle":
        return [(0, -1), (1, 0.9), (-1, 0.9)]
    a = 0.34
    return [(-a, -1), (a, -1), (a, -a), (1, -a), (1, a), (a, a), (a, 1), (-a, 1), (-a, a), (-1, a), (-1, -a), (-a, -a)]


def questions(scene: Scene, scene_id: str, rng: random.Random) -> list[dict[str, Any]]:
    """One question of each type that the scene can answer, the answers of each type as evenly spread as they can be."""
    asked = {
        "colour": _ask_attribute(scene, "colour", rng),
        "shape": _ask_attribute(scene, "shape", rng),
        "count": _ask_count(scene, rng),
        "existence": _ask_existence(scene, rng),
        "place": _ask_place(scene, rng),
    }
    if len(scene.objects) == 2:
        asked["relation"] = _ask_relation(scene, rng)
    return [{"id": f"{scene_id}/{kind}", "question": q, "answers": [a], "type": kind} for kind, (q, a) in asked.items()]


def _ask_attribute(scene: Scene, wanted: str, rng: random.Random) -> tuple[str, str]:
    """Name one attribute of an object, ask for the other; where both objects share the named one, say which is meant."""
    thing = rng.choice(scene.objects)
    named = thing.shape if wanted == "colour" else f"{thing.colour} object"
    same = [o for o in scene.objects if (o.shape == thing.shape if wanted == "colour" else o.colour == thing.colour)]
    which = ""
    if len(same) == 2:
        side = scene.relation if thing is scene.objects[0] else INVERSE[scene.relation]
        which = {
            "left of": " on the left",
            "right of": " on the right",
            "above": " above the other",
            "below": " below the other",
        }[side]
    return f"what {wanted} is the {named}{which}?", getattr(thing, wanted)


def _ask_count(scene: Scene, rng: random.Random) -> tuple[str, str]:
    # 0, 1 and 2 come out equally often over scenes of which two thirds hold two objects
    count = rng.choice((0, 1, 2, 2)) if len(scene.objects) == 2 else rng.choice((0, 1))
    words = [*SHAPES, *COLOURS]
    holding = {word: sum(word in (o.shape, o.colour) for o in scene.objects) for word in words}
    fitting = [word if word in SHAPES else f"{word} object" for word in words if holding[word] == count]
    if count == len(scene.objects):
        fitting += ["object"] * max(1, len(fitting))
    return f"how many {_plural(rng.choice(fitting))} are there?", str(count)


def _ask_existence(scene: Scene, rng: random.Random) -> tuple[str, str]:
    thing = rng.choice(scene.objects)
    if rng.random() < 0.5:
        return f"is there {_a(thing.kind)}?", "yes"
    # a near miss: one attribute is right
    near = [f"{thing.colour} {s}" for s in SHAPES] + [f"{c} {thing.shape}" for c in COLOURS]
    there = {o.kind for o in scene.objects}
    return f"is there {_a(rng.choice([kind for kind in near if kind not in there]))}?", "no"


def _ask_place(scene: Scene, rng: random.Random) -> tuple[str, str]:
    thing = rng.choice(scene.objects)
    return f"where is the {thing.kind}?", PLACES[thing.place]


def _ask_relation(scene: Scene, rng: random.Random) -> tuple[str, str]:
    first, second = scene.objects
    if rng.random() < 0.5:
        return f"where is the {first.kind} relative to the {second.kind}?", ANSWER[scene.relation]
    return f"where is the {second.kind} relative to the {first.kind}?", ANSWER[INVERSE[scene.relation]]


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _plural(word: str) -> str:
    return f"{word}es" if word.endswith("s") else f"{word}s"
