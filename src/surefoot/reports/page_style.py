"""Style sheet of the report page: light and dark, screen, phone and print."""

STYLE = """
:root {
  color-scheme: light dark;
  --font: ui-sans-serif, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d232b; --faint: #626c78; --grid: #e3e6ea; --line: #e1e4e8;
  --accent: #0b6aa6; --good: #14774e; --bad: #b3400b;
  --series-0: #0072b2; --series-1: #d55e00; --series-2: #009e73; --series-3: #b8588f; --series-4: #c98a00;
  --series-5: #3d9bd6; --series-6: #000000;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12161b; --card: #191f26; --ink: #e6e9ed; --faint: #98a3b0; --grid: #2c343d; --line: #2a323b;
    --accent: #6bb7ea; --good: #5fd1a0; --bad: #ff9b6a;
    --series-0: #5ab0e8; --series-1: #ff8b4a; --series-2: #3fce9f; --series-3: #e59ac8; --series-4: #f0bb4e;
    --series-5: #8fd0f8; --series-6: #ffffff;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 var(--font); font-variant-numeric: tabular-nums;
}
main { max-width: 66rem; margin: 0 auto; padding: clamp(1.25rem, 4vw, 3.5rem) clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 {
  font-size: clamp(1.9rem, 1.3rem + 2.6vw, 3.1rem); line-height: 1.08; letter-spacing: -0.025em;
  margin: 0.15em 0 0.35em;
}
h2 { font-size: 1.35rem; letter-spacing: -0.012em; margin: 3.25rem 0 0.35rem; line-height: 1.25; }
h3 { font-size: 1rem; margin: 2rem 0 0.5rem; }
p { margin: 0.5rem 0 1rem; max-width: 44rem; }
.eyebrow {
  color: var(--accent); font-weight: 650; letter-spacing: 0.09em; text-transform: uppercase; font-size: 0.78rem;
  margin: 0;
}
.lead { font-size: 1.12rem; color: var(--faint); max-width: 46rem; margin-bottom: 1.75rem; }
.lead b { color: var(--ink); font-weight: 600; }
.note { color: var(--faint); font-size: 0.93rem; }
.tiles {
  display: flex; flex-wrap: wrap; gap: 1px; margin: 0;
  background: var(--line); border: 1px solid var(--line); border-radius: 14px; overflow: hidden;
}
.tiles div {
  background: var(--card); padding: 0.95rem 1.1rem 1rem;
  flex: 1 1 max(9rem, calc(100% / var(--columns) - 1px));
}
.tiles dt { color: var(--faint); font-size: 0.82rem; }
.tiles dd { margin: 0; }
.tiles .value { font-size: 1.75rem; font-weight: 640; letter-spacing: -0.02em; line-height: 1.25; display: block; }
.tiles .unit { font-size: 0.95rem; font-weight: 500; letter-spacing: 0; color: var(--faint); }
.tiles .more { color: var(--faint); font-size: 0.82rem; line-height: 1.4; display: block; }
.good { color: var(--good); } .bad { color: var(--bad); }
.film { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1.25rem; margin-top: 1.5rem; }
@media (min-width: 56rem) { .film.two { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr); align-items: start; } }
video {
  width: 100%; height: auto; display: block; border-radius: 14px; background: #dfe6ec;
  border: 1px solid var(--line);
}
.film figure { margin: 0; }
.film .scroll { margin: 0 0 1rem; }
.beside figure {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 0.85rem 0.9rem;
  max-width: 26rem;
}
figcaption { color: var(--faint); font-size: 0.86rem; line-height: 1.45; margin-top: 0.45rem; }
.panels {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18.5rem), 1fr)); gap: 1rem;
  margin: 1rem 0;
}
.panels.large { grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.panels figure, .wide, .card {
  margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 0.85rem 0.9rem;
  min-width: 0;
}
.wide { overflow-x: auto; margin: 1rem 0; }
.wide svg { min-width: 30rem; max-width: 48rem; margin: 0 auto; }
svg { display: block; width: 100%; height: auto; overflow: visible; stroke-linejoin: round; }
.scroll {
  overflow-x: auto; margin: 1rem 0; border: 1px solid var(--line); border-radius: 14px; background: var(--card);
}
.scroll:focus-visible, .wide:focus-visible, summary:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; line-height: 1.4; }
th, td { padding: 0.5rem 0.9rem; text-align: right; border-top: 1px solid var(--line); white-space: nowrap; }
thead th {
  color: var(--faint); font-weight: 550; font-size: 0.82rem; border-top: 0; vertical-align: bottom;
  white-space: normal;
}
tbody th, thead th:first-child { text-align: left; font-weight: 550; }
tbody .group th { color: var(--faint); font-size: 0.82rem; padding-top: 0.85rem; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
table.facts th { width: 11rem; vertical-align: top; font-weight: 550; color: var(--faint); white-space: normal; }
table.facts tr:first-child > * { border-top: 0; }
td small { color: var(--faint); }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--accent); font-weight: 550; }
pre {
  background: var(--card); border: 1px solid var(--line); border-radius: 14px; padding: 1rem; overflow-x: auto;
  font: 0.82rem/1.5 var(--mono);
}
code { font-family: var(--mono); font-size: 0.88em; overflow-wrap: anywhere; }
@media (min-width: 56rem) { dl.terms { columns: 2; column-gap: 3rem; } }
dl.terms div { break-inside: avoid; padding-bottom: 0.9rem; }
dl.terms dt { font-weight: 600; }
dl.terms dd { margin: 0.1rem 0 0; color: var(--faint); max-width: 46rem; }
footer {
  margin-top: 3.5rem; padding-top: 1rem; border-top: 1px solid var(--line); color: var(--faint);
  font-size: 0.86rem;
}
@media (max-width: 34rem) {
  h2 { margin-top: 2.5rem; }
  .tiles div { padding: 0.8rem 0.85rem; flex-basis: 40%; }
  .tiles .value { font-size: 1.4rem; }
  th, td { padding: 0.45rem 0.6rem; }
  table.facts th { width: 7.2rem; }
}
@media print { .film video { display: none; } .panels figure, .wide, .scroll { break-inside: avoid; } }
"""
