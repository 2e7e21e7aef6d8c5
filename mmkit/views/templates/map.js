// The map: all points are written into the pixels of one canvas, which is quick with any number of them and needs no GPU.
const unpack = (text, Kind) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Kind(bytes.buffer);
};
const $ = (id) => document.getElementById(id);
const canvas = $("map"), screen2d = canvas.getContext("2d", { alpha: false });
const at = unpack(DATA.points, Float32Array), under = unpack(DATA.ground, Float32Array), pairs = unpack(DATA.pairs, Uint32Array);
const n = at.length / 2;
const kinds = unpack(DATA.modality.codes, Uint32Array);
const splits = unpack(DATA.split.codes, Uint32Array), labels = unpack(DATA.label.codes, Uint32Array);
const pictureOf = new Map(DATA.rows.map((row, i) => [row, DATA.pictures[i]]));
const groups = DATA.groups.map((g) => ({ ...g, codes: unpack(g.codes, Uint8Array), hidden: new Set() }));
const words = DATA.ids.map((id, i) => (DATA.captions[i] + "\n" + id).toLowerCase());
const dark = matchMedia("(prefers-color-scheme: dark)");
const MOST_LINES = 20000;

let group = groups[0], found = null, foundCount = 0, hovered = -1, kept = -1;
let scale = 1, left = 0, top_ = 0, ratio = 1, width = 0, height = 0, image = null, pixels = null, waiting = false;

// groups are drawn in turns, so that none hides all of another: a fixed shuffle
const order = Uint32Array.from({ length: n }, (_, i) => i);
for (let i = n - 1, seed = 1; i > 0; i--) {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  const j = seed % (i + 1);
  [order[i], order[j]] = [order[j], order[i]];
}

const partners = new Map();
for (let p = 0; p < pairs.length; p += 2) {
  for (const [a, b] of [[pairs[p], pairs[p + 1]], [pairs[p + 1], pairs[p]]]) {
    if (!partners.has(a)) partners.set(a, []);
    partners.get(a).push(b);
  }
}

const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// how much of each pixel around a point a shape covers
const masks = new Map();
function mask(shape, hollow, radius) {
  const key = `${shape} ${hollow} ${radius}`;
  if (masks.has(key)) return masks.get(key);
  const reach = Math.ceil(radius + 1.5), side = 2 * reach + 1;
  const small = document.createElement("canvas");
  small.width = small.height = side;
  const pen = small.getContext("2d", { willReadFrequently: true });
  pen.translate(reach + 0.5, reach + 0.5);
  outline(pen, shape, radius);
  if (hollow) {
    pen.lineWidth = Math.max(1, radius * 0.4);
    pen.stroke();
  } else pen.fill();
  const covered = pen.getImageData(0, 0, side, side).data, dx = [], dy = [], share = [];
  for (let i = 0; i < side * side; i++) {
    if (covered[4 * i + 3] > 12) {
      dx.push((i % side) - reach);
      dy.push(((i / side) | 0) - reach);
      share.push(covered[4 * i + 3]);
    }
  }
  const made = { dx: Int16Array.from(dx), dy: Int16Array.from(dy), share: Uint8Array.from(share), reach };
  masks.set(key, made);
  return made;
}

function outline(pen, shape, r) {
  const ring = (points) => points.forEach(([x, y], i) => (i ? pen.lineTo(x * r, y * r) : pen.moveTo(x * r, y * r)));
  pen.beginPath();
  if (shape === "circle") pen.arc(0, 0, r, 0, 7);
  else if (shape === "dot") pen.arc(0, 0, r * 0.7, 0, 7);
  else if (shape === "triangle") ring([[0, -1.15], [1.05, 0.75], [-1.05, 0.75]]);
  else if (shape === "wedge") ring([[0, 1.15], [1.05, -0.75], [-1.05, -0.75]]);
  else if (shape === "square") ring([[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]]);
  else if (shape === "diamond") ring([[0, -1.25], [1, 0], [0, 1.25], [-1, 0]]);
  else if (shape === "star") ring(Array.from({ length: 10 }, (_, i) => {
    const far = i % 2 ? 0.5 : 1.3, angle = (i * Math.PI) / 5;
    return [far * Math.sin(angle), -far * Math.cos(angle)];
  }));
  else {
    const arm = [[-0.4, -1.15], [0.4, -1.15], [0.4, -0.4], [1.15, -0.4], [1.15, 0.4], [0.4, 0.4],
      [0.4, 1.15], [-0.4, 1.15], [-0.4, 0.4], [-1.15, 0.4], [-1.15, -0.4], [-0.4, -0.4]];
    const turn = shape === "cross" ? Math.PI / 4 : 0;
    ring(arm.map(([x, y]) => [x * Math.cos(turn) - y * Math.sin(turn), x * Math.sin(turn) + y * Math.cos(turn)]));
  }
  pen.closePath();
}

function stamp(x, y, m, colour, strength) {
  x = Math.round(x);
  y = Math.round(y);
  if (x < m.reach || y < m.reach || x >= width - m.reach || y >= height - m.reach) return;
  const [r, g, b] = colour, { dx, dy, share } = m;
  for (let i = 0; i < dx.length; i++) {
    const p = (y + dy[i]) * width + x + dx[i], old = pixels[p], a = (share[i] * strength) >> 8, rest = 255 - a;
    const red = ((old & 255) * rest + r * a) / 255, green = (((old >> 8) & 255) * rest + g * a) / 255;
    const blue = (((old >> 16) & 255) * rest + b * a) / 255;
    pixels[p] = 0xff000000 | (blue << 16) | (green << 8) | red;
  }
}

// a line with the canvas' edges cut off (Liang and Barsky), pixel by pixel
function line(x0, y0, x1, y1, [r, g, b], a) {
  let from = 0, to = 1;
  const dx = x1 - x0, dy = y1 - y0;
  for (const [p, q] of [[-dx, x0], [dx, width - 1 - x0], [-dy, y0], [dy, height - 1 - y0]]) {
    if (p === 0 && q < 0) return;
    if (p < 0) from = Math.max(from, q / p);
    if (p > 0) to = Math.min(to, q / p);
  }
  if (from > to) return;
  const steps = Math.max(1, Math.ceil(Math.max(Math.abs(dx), Math.abs(dy)) * (to - from))), rest = 255 - a;
  for (let i = 0; i <= steps; i++) {
    const t = from + ((to - from) * i) / steps;
    const p = ((y0 + dy * t) | 0) * width + ((x0 + dx * t) | 0), old = pixels[p];
    const red = ((old & 255) * rest + r * a) / 255, green = (((old >> 8) & 255) * rest + g * a) / 255;
    pixels[p] = 0xff000000 | (((((old >> 16) & 255) * rest + b * a) / 255) << 16) | (green << 8) | red;
  }
}

const shown = (i) => !group.hidden.has(group.codes[i]);
const px = (i) => at[2 * i] * scale + left, py = (i) => top_ - at[2 * i + 1] * scale;
const several = DATA.modality.names.length > 1;

function radius() {
  const base = n > 20000 ? 2 : n > 4000 ? 2.6 : n > 800 ? 3.4 : 4.6;
  return Math.round(2 * ratio * base * Math.min(2.4, Math.max(1, (scale / home().scale) ** 0.3))) / 2;
}

function draw() {
  waiting = false;
  const begun = performance.now();
  const ground = rgb(style("--card")), faint = rgb(style("--faint")), edge = rgb(style("--edge"));
  pixels.fill(0xff000000 | (ground[2] << 16) | (ground[1] << 8) | ground[0]);
  const r = radius(), dot = mask("dot", false, r);
  for (let i = 0; i < under.length; i += 2) stamp(under[i] * scale + left, top_ - under[i + 1] * scale, dot, faint, 70);
  if ($("lines").checked) {
    const strength = Math.min(110, Math.max(26, 90000 / pairs.length));
    for (let p = 0; p < pairs.length; p += 2) {
      const [a, b] = [pairs[p], pairs[p + 1]];
      if (shown(a) && shown(b) && (!found || (found[a] && found[b]))) line(px(a), py(a), px(b), py(b), faint, strength);
    }
  }
  const colours = (dark.matches ? group.dark : group.light).map(rgb);
  const looks = group.shapes.map((s) => [mask(s, false, r), mask(s, several && group.by !== "modality", r)]);
  if (found) for (const i of order) if (shown(i) && !found[i]) stamp(px(i), py(i), dot, edge, 220);
  for (const i of order) {
    const code = group.codes[i];
    if (shown(i) && (!found || found[i])) stamp(px(i), py(i), looks[code][kinds[i] ? 1 : 0], colours[code], 215);
  }
  ring(kept, faint);
  if (hovered !== kept) ring(hovered, faint);
  screen2d.putImageData(image, 0, 0);
  canvas.dataset.ms = (performance.now() - begun).toFixed(1);
}

function ring(i, colour) {
  if (i < 0) return;
  for (const other of partners.get(i) || []) {
    line(px(i), py(i), px(other), py(other), colour, 255);
    stamp(px(other), py(other), mask("circle", true, radius() + 3 * ratio), colour, 255);
  }
  stamp(px(i), py(i), mask("circle", true, radius() + 5 * ratio), colour, 255);
}

function later() {
  if (!waiting) requestAnimationFrame(draw);
  waiting = true;
}

let bounds = null;
function home() {
  if (!bounds) {
    bounds = [Infinity, -Infinity, Infinity, -Infinity];
    for (const all of [at, under]) {
      for (let i = 0; i < all.length; i += 2) {
        bounds = [Math.min(bounds[0], all[i]), Math.max(bounds[1], all[i]), Math.min(bounds[2], all[i + 1]), Math.max(bounds[3], all[i + 1])];
      }
    }
  }
  const [x0, x1, y0, y1] = bounds, margin = 24 * ratio;
  const s = Math.min((width - 2 * margin) / (x1 - x0 || 1), (height - 2 * margin) / (y1 - y0 || 1));
  return { scale: s, left: width / 2 - ((x0 + x1) / 2) * s, top: height / 2 + ((y0 + y1) / 2) * s };
}

function whole() {
  const h = home();
  [scale, left, top_] = [h.scale, h.left, h.top];
  later();
}

function size() {
  const box = canvas.getBoundingClientRect(), first = !image;
  ratio = Math.min(2, window.devicePixelRatio || 1);
  width = canvas.width = Math.max(1, Math.round(box.width * ratio));
  height = canvas.height = Math.max(1, Math.round(box.height * ratio));
  image = screen2d.createImageData(width, height);
  pixels = new Uint32Array(image.data.buffer);
  if (first) whole();
  draw(); // at once: a canvas whose size changes is black until then
}

function zoom(x, y, by) {
  const to = Math.min(home().scale * 400, Math.max(home().scale * 0.5, scale * by));
  left = x - ((x - left) * to) / scale;
  top_ = y + ((top_ - y) * to) / scale;
  scale = to;
  later();
}

function nearest(x, y) {
  let best = -1, least = (12 * ratio) ** 2;
  for (let i = 0; i < n; i++) {
    const dx = px(i) - x, dy = py(i) - y, far = dx * dx + dy * dy;
    if (far < least && shown(i) && (!found || found[i])) [best, least] = [i, far];
  }
  return best;
}

function tell(i, x, y) {
  $("tip").hidden = i < 0;
  if (i < 0) return;
  const picture = pictureOf.get(i) || (partners.get(i) || []).map((other) => pictureOf.get(other)).find((p) => p);
  $("picture").hidden = !picture;
  if (picture) $("picture").src = picture;
  $("said").textContent = DATA.captions[i] || DATA.ids[i];
  const about = [[`${DATA.modality.names[kinds[i]]} ${DATA.ids[i]}`, DATA.split.names[splits[i]], DATA.label.names[labels[i]]]
    .filter((word) => word).join(", ")];
  for (const g of groups) if (["similarity", "cluster"].includes(g.by)) about.push(`${g.by}: ${g.names[g.codes[i]]}`);
  $("about").textContent = about.join("\n");
  const tip = $("tip"), box = canvas.getBoundingClientRect();
  const right = x / ratio + 16 + tip.offsetWidth > box.width;
  tip.style.left = `${Math.max(4, right ? x / ratio - 16 - tip.offsetWidth : x / ratio + 16)}px`;
  tip.style.top = `${Math.max(4, Math.min(y / ratio + 12, box.height - tip.offsetHeight - 6))}px`;
}

function look(x, y) {
  const i = nearest(x, y);
  if (i !== hovered) later();
  hovered = i;
  if (i >= 0) tell(i, x, y);
  else tell(kept, kept < 0 ? 0 : px(kept), kept < 0 ? 0 : py(kept));
}

const pointers = new Map();
let moved = 0;
const place = (e) => {
  const box = canvas.getBoundingClientRect();
  return [(e.clientX - box.left) * ratio, (e.clientY - box.top) * ratio];
};
canvas.addEventListener("pointerdown", (e) => {
  canvas.setPointerCapture(e.pointerId);
  pointers.set(e.pointerId, place(e));
  moved = 0;
});
canvas.addEventListener("pointermove", (e) => {
  const [x, y] = place(e), before = pointers.get(e.pointerId);
  if (!before) return look(x, y);
  const others = [...pointers].filter(([id]) => id !== e.pointerId).map(([, p]) => p);
  if (others.length) {
    const [ox, oy] = others[0];
    zoom(ox, oy, Math.hypot(x - ox, y - oy) / (Math.hypot(before[0] - ox, before[1] - oy) || 1));
  } else {
    left += x - before[0];
    top_ += y - before[1];
  }
  moved += Math.abs(x - before[0]) + Math.abs(y - before[1]);
  pointers.set(e.pointerId, [x, y]);
  $("tip").hidden = true;
  later();
});
for (const end of ["pointerup", "pointercancel"]) {
  canvas.addEventListener(end, (e) => {
    pointers.delete(e.pointerId);
    if (end === "pointerup" && moved < 5 * ratio) {
      const [x, y] = place(e), i = nearest(x, y);
      kept = i === kept ? -1 : i;
      look(x, y);
      later();
    }
  });
}
canvas.addEventListener("pointerleave", () => look(-1e9, -1e9));
canvas.addEventListener("wheel", (e) => {
  e.preventDefault();
  zoom(...place(e), Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0016)));
}, { passive: false });
canvas.addEventListener("keydown", (e) => {
  const step = 60 * ratio, move = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[e.key];
  if (move) {
    left += move[0];
    top_ += move[1];
    later();
  } else if (e.key === "+" || e.key === "-") zoom(width / 2, height / 2, e.key === "+" ? 1.3 : 1 / 1.3);
  else if (e.key === "0") whole();
  else return;
  e.preventDefault();
});

function search() {
  const asked = $("find").value.toLowerCase().split(/\s+/).filter((word) => word);
  found = asked.length ? Uint8Array.from(words, (text) => (asked.every((word) => text.includes(word)) ? 1 : 0)) : null;
  foundCount = found ? found.reduce((a, b) => a + b, 0) : n;
  $("count").textContent = found ? `${foundCount.toLocaleString("en")} of ${n.toLocaleString("en")}` : `${n.toLocaleString("en")} points`;
  kept = -1;
  look(-1e9, -1e9);
  later();
}
$("find").addEventListener("input", search);

function legend() {
  $("legend").replaceChildren(...group.names.map((name, code) => {
    const item = document.createElement("li"), button = document.createElement("button"), key = document.createElement("canvas");
    key.width = key.height = 36;
    key.style.cssText = "width: 18px; height: 18px";
    const pen = key.getContext("2d");
    pen.fillStyle = (dark.matches ? group.dark : group.light)[code];
    pen.translate(18, 18);
    outline(pen, group.shapes[code], 11);
    pen.fill();
    const text = document.createElement("span"), count = document.createElement("small");
    text.textContent = name;
    count.textContent = group.counts[code].toLocaleString("en");
    button.type = "button";
    button.setAttribute("aria-pressed", !group.hidden.has(code));
    button.append(key, text, count);
    button.addEventListener("click", () => {
      if (!group.hidden.delete(code)) group.hidden.add(code);
      button.setAttribute("aria-pressed", !group.hidden.has(code));
      later();
    });
    item.append(button);
    return item;
  }));
  const notes = [];
  if (several && group.by !== "modality") notes.push(`filled: ${DATA.modality.names[0]}; outline: ${DATA.modality.names.slice(1).join(", ")}`);
  if (under.length) notes.push(`faint: the ${(under.length / 2).toLocaleString("en")} points of the map`);
  for (const text of notes) {
    const note = document.createElement("li");
    note.className = "faint";
    note.textContent = text;
    $("legend").append(note);
  }
}

groups.forEach((g, i) => $("by").append(new Option(g.by, i)));
$("by").addEventListener("change", () => {
  group = groups[$("by").value];
  legend();
  later();
});
$("lines").checked = pairs.length > 0 && pairs.length <= 2 * MOST_LINES;
$("joined").hidden = !pairs.length;
$("lines").addEventListener("change", later);
$("whole").addEventListener("click", whole);
dark.addEventListener("change", () => {
  legend();
  later();
});
new ResizeObserver(size).observe(canvas.parentElement);
legend();
size();
search();
