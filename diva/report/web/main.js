// Puts the page together: colours first, then samples, then charts.
import { samples, picture, idle, button, name, count } from "./data.js";
import { Decisions } from "./decisions.js";
import { Gallery } from "./gallery.js";
import { PointMap } from "./map.js";
import { Panel } from "./panel.js";
import { tens } from "./tens.js";
import { extremes, pools } from "./strips.js";
import { charts } from "./charts.js";

const THEMES = { system: "◐", light: "○", dark: "●" };

/** Light, dark, or as the system has it; kept in this browser where it may be. */
function theme(changed) {
  const place = document.getElementById("theme");
  const set = (chosen) => {
    document.documentElement.dataset.theme = chosen;
    place.textContent = THEMES[chosen];
    place.setAttribute("aria-label", `Colours: ${chosen === "system" ? "as the system" : chosen}`);
  };
  let kept = null;
  try {
    kept = localStorage.getItem("diva-theme");
  } catch {
    // it lasts as long as the page is open
  }
  set(kept in THEMES ? kept : "system");
  place.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    set(names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length]);
    changed();
    try {
      localStorage.setItem("diva-theme", document.documentElement.dataset.theme);
    } catch {
      // as above
    }
  });
}

/** Keys of the review, wherever the focus is; they rest while the reader writes. Arrows scroll the page elsewhere. */
function keys(gallery, panel, decisions) {
  const help = document.getElementById("keys");
  const [next, back] = [() => gallery.move(1), () => gallery.move(-1)];
  const chosen = (act) => () => panel.row >= 0 && act();
  const judged = (act) => chosen(() => act() !== false && next());
  const acts = {
    j: next, ArrowRight: next, ArrowDown: next, k: back, ArrowLeft: back, ArrowUp: back,
    a: judged(() => panel.decide("accept")), r: judged(() => panel.decide("reject")), s: judged(() => panel.suggested()),
    l: chosen(() => panel.other()), n: chosen(() => panel.note.focus()), u: () => undo(gallery, panel, decisions),
    "[": () => gallery.turn(-1), "]": () => gallery.turn(1), e: () => decisions.made.size && decisions.export(),
    t: () => document.getElementById("tens-open").click(), f: () => gallery.form.querySelector("select, input").focus(),
    "?": () => help.showModal(), Escape: () => gallery.choose(-1),
  };
  gallery.views.forEach((view, place) => (acts[place + 1] = () => view.click()));
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const writing = at.matches("input, select, textarea");
    const here = !event.key.startsWith("Arrow") || at === document.body || at.closest("#cards");
    if (writing && event.key === "Escape") [at.blur(), gallery.choose(panel.row, true)];
    if (writing || !acts[event.key] || !here) return;
    event.preventDefault();
    acts[event.key]();
  });
  document.getElementById("help").addEventListener("click", acts["?"]);
  document.getElementById("export").addEventListener("click", acts.e);
}

/** Take the chosen sample's decision back; where it has none, the last one made, and go to its sample. */
function undo(gallery, panel, decisions) {
  const row = panel.row >= 0 && decisions.has(panel.row) ? panel.row : decisions.last;
  if (row === undefined) return;
  decisions.undo(row);
  gallery.choose(row, true);
}

/** How far the review has come. */
function progress(known, decisions) {
  const called = known.called.flatMap((one, row) => (one ? [row] : []));
  const tell = () => {
    const amount = (wanted) => [...decisions.made.values()].filter(({ decision }) => decision === wanted).length;
    const words = `${amount("accept")} kept, ${amount("reject")} left out, ${amount("relabel")} relabelled`;
    const done = called.filter((row) => decisions.of(row)).length;
    const share = done && `${count(done)} of ${count(called.length)} called wrong decided`;
    const parts = [decisions.made.size ? words : "Nothing decided yet.", share, decisions.message].filter(Boolean);
    document.getElementById("progress").textContent = parts.join(" · ");
    document.getElementById("export").disabled = !decisions.made.size;
  };
  decisions.listeners.push(tell);
  if (decisions.made.size) decisions.message = "kept in this browser";
  tell();
}

/** A button for each of these slices, which shows its samples. */
function slices(found) {
  const act = (column, value) => () => {
    gallery.show("all", { column, value: known.columns[column].values.indexOf(value) });
    document.getElementById("gallery").scrollIntoView();
  };
  const places = found.map(([title, value]) => [known.columns.findIndex((column) => column.name === title), value]);
  const show = ([column, value]) => button({}, act(column, value), "Show ", name(`${known.columns[column].name} = ${value}`));
  return places.filter(([column, value]) => known.columns[column]?.values.includes(value)).map(show);
}

let again = () => {};
theme(() => again());
const known = await samples(); // while thumbnails still arrive
if (document.readyState === "loading") await new Promise((whole) => document.addEventListener("DOMContentLoaded", whole));
const decisions = new Decisions(known);
const gallery = new Gallery(known, decisions);
const panel = new Panel(known, decisions, gallery);
const map = new PointMap(known, gallery);
gallery.show(gallery.opening);
progress(known, decisions);
keys(gallery, panel, decisions);
tens(known, decisions, gallery);
document.documentElement.dataset.ready = String(Math.round(performance.now()));
decisions.restore();
await idle(); // what follows lies further down
extremes(known, gallery);
await idle();
pools(known, gallery);
for (const place of document.querySelectorAll("[data-slices]")) place.replaceChildren(...slices(JSON.parse(place.dataset.slices)));
for (const link of document.querySelectorAll("a[data-view]")) link.addEventListener("click", () => gallery.show(link.dataset.view));
for (const place of document.querySelectorAll("[data-picture]")) place.replaceWith(picture(known, Number(place.dataset.picture), ""));
const repaint = charts(known);
again = () => [repaint(), map.draw()];
gallery.prepare();
