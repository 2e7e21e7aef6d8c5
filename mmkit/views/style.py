"""The one style sheet of mmkit's HTML pages: system fonts, light and dark, from a phone to a wide screen."""

CSS = """
:root {
  color-scheme: light dark;
  --ground: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --faint: #5b6573; --edge: #dfe3e9; --accent: #0072b2; --code: #eef1f5;
  --right: #0b8f63; --wrong: #d0374b;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #101318; --card: #181c23; --ink: #e8eaee; --faint: #98a2b0; --edge: #2b323c; --accent: #56b4e9; --code: #222833;
    --right: #3ccf9a; --wrong: #ff7a87;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", "DejaVu Sans", sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 2.2rem 1.1rem 3rem; }
h1 { font-size: clamp(1.6rem, 4.5vw, 2.3rem); line-height: 1.18; margin: 0 0 .6rem; letter-spacing: -.015em; }
h2 { font-size: 1.25rem; margin: 0 0 .5rem; letter-spacing: -.005em; }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .3rem 0 .9rem; max-width: 68ch; }
.lead { font-size: 1.1rem; color: var(--faint); }
.kicker {
  color: var(--accent); font-weight: 600; font-size: .82rem; letter-spacing: .08em; text-transform: uppercase; margin: 0 0 .4rem;
}
section {
  background: var(--card); border: 1px solid var(--edge); border-radius: 14px; padding: 1.35rem 1.4rem 1.3rem; margin-top: 1.1rem;
}
.faint, small { color: var(--faint); }
.stats { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .8rem; margin: 1.3rem 0 0; }
.stat { background: var(--card); border: 1px solid var(--edge); border-radius: 14px; padding: .85rem 1rem; }
.stat b { display: block; font-size: 1.75rem; line-height: 1.15; font-variant-numeric: tabular-nums; letter-spacing: -.02em; }
.stat span { display: block; font-size: .86rem; }
.stat small { font-size: .8rem; }
.pair { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem 2rem; align-items: start; }
@media (min-width: 820px) { .pair { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .42rem .6rem; border-bottom: 1px solid var(--edge); }
th { font-weight: 600; color: var(--faint); font-size: .84rem; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
tr:last-child td { border-bottom: 0; }
table.facts td, td.words, th.words { text-align: left; vertical-align: top; }
td:first-child { white-space: nowrap; }
table.facts td:first-child { color: var(--faint); white-space: nowrap; }
table.facts td { overflow-wrap: anywhere; }
figure { margin: 0; }
figure img { display: block; width: 100%; max-width: 560px; height: auto; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .5rem; max-width: 62ch; }
ol.steps { list-style: none; padding: 0; margin: .4rem 0 0; }
ol.steps li { display: grid; grid-template-columns: 1fr auto; gap: 0 1rem; padding: .5rem 0; border-top: 1px solid var(--edge); }
ol.steps li:first-child { border-top: 0; }
ol.steps small { font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: var(--code); border-radius: 10px; padding: .8rem 1rem; overflow-x: auto; margin: .4rem 0 0; }
code, pre { font: .87rem/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
pre i { color: var(--faint); font-style: normal; }
.strip {
  border-top: 1px solid var(--edge); padding: .9rem 0; display: grid; grid-template-columns: minmax(0, 1fr); gap: .6rem 1.2rem;
}
.strip:first-of-type { border-top: 0; }
@media (min-width: 700px) { .strip { grid-template-columns: 190px minmax(0, 1fr); } }
.query { font-weight: 600; overflow-wrap: anywhere; }
.query img { display: block; width: 96px; height: 96px; object-fit: contain; border-radius: 8px; image-rendering: pixelated; }
.query small { display: block; font-weight: 400; }
.answers { display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: .7rem; }
.answers.texts { grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
@media (max-width: 699px) {
  .answers { grid-template-columns: repeat(3, minmax(0, 1fr)); }
  .answers.texts { grid-template-columns: minmax(0, 1fr); }
  .answers.texts .words { min-height: 0; }
}
.tile { min-width: 0; font-size: .82rem; line-height: 1.35; }
.tile .face {
  border-radius: 9px; border: 3px solid transparent; outline: 1px solid var(--edge); outline-offset: -2px;
  overflow: hidden; background: var(--code);
}
.tile img { display: block; width: 100%; height: auto; aspect-ratio: 1; object-fit: contain; }
.tile img.small { image-rendering: pixelated; }
.tile .words { padding: .5rem .6rem; min-height: 3.6em; overflow-wrap: anywhere; }
.tile.right .face { border-color: var(--right); outline: 0; }
.tile.wrong .face { border-color: var(--wrong); outline: 0; }
.tile .score { color: var(--faint); font-variant-numeric: tabular-nums; margin-top: .25rem; display: block; }
.tile.right .score { color: var(--right); font-weight: 600; }
.tile.wrong .score { color: var(--wrong); font-weight: 600; }
footer { color: var(--faint); font-size: .85rem; margin-top: 1.4rem; }
@media print { body { background: none; } section, .stat { break-inside: avoid; } }
"""
