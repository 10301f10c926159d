// Puts the page together: colours first, then samples, then charts.
import { samples, picture } from "./data.js";
import { Decisions } from "./decisions.js";
import { Gallery } from "./gallery.js";
import { Panel } from "./panel.js";
import { extremes, pools } from "./strips.js";
import { charts } from "./charts.js";

const THEMES = { system: "◐", light: "○", dark: "●" };

/** Light, dark, or as the system has it; kept in this browser. */
function theme(changed) {
  const button = document.getElementById("theme");
  const set = (chosen) => {
    document.documentElement.dataset.theme = chosen;
    button.textContent = THEMES[chosen];
    button.setAttribute("aria-label", `Colours: ${chosen === "system" ? "as the system" : chosen}`);
  };
  const kept = () => {
    try {
      return localStorage.getItem("diva-theme");
    } catch {
      return null;
    }
  };
  set(kept() in THEMES ? kept() : "system");
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme) + 1) % names.length];
    set(next);
    try {
      localStorage.setItem("diva-theme", next);
    } catch {
      // it lasts as long as the page is open
    }
    changed();
  });
}

/** Keys of the review; they rest while the reader writes, or is elsewhere on the page. */
function keys(gallery, panel, decisions) {
  const help = document.getElementById("keys");
  const next = (act) => () => {
    if (panel.row < 0) return;
    if (act() !== false) gallery.move(1);
  };
  const acts = {
    j: () => gallery.move(1), ArrowRight: () => gallery.move(1), ArrowDown: () => gallery.move(1),
    k: () => gallery.move(-1), ArrowLeft: () => gallery.move(-1), ArrowUp: () => gallery.move(-1),
    a: next(() => panel.decide("accept")), r: next(() => panel.decide("reject")), s: next(() => panel.suggested()),
    l: () => panel.select?.focus(), n: () => panel.note?.focus(), u: () => panel.row >= 0 && decisions.undo(panel.row),
    "[": () => gallery.turn(-1), "]": () => gallery.turn(1), e: () => decisions.export(), "?": () => help.showModal(),
    Escape: () => gallery.choose(-1),
  };
  document.addEventListener("keydown", (event) => {
    const at = event.target;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    if (at.matches("input, select, textarea")) {
      if (event.key === "Escape") gallery.choose(panel.row, true);
      return;
    }
    const here = at === document.body || at.closest("#gallery");
    if (event.key !== "?" && (!here || (event.key.startsWith("Arrow") && !at.closest("#cards")))) return;
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });
  document.getElementById("help").addEventListener("click", () => help.showModal());
  document.getElementById("export").addEventListener("click", () => decisions.export());
}

/** How far the review has come. */
function progress(decisions) {
  const place = document.getElementById("progress");
  const tell = () => {
    const amounts = { accept: 0, reject: 0, relabel: 0 };
    for (const { decision } of decisions.made.values()) amounts[decision] = (amounts[decision] ?? 0) + 1;
    const words = `${amounts.accept} accepted, ${amounts.reject} rejected, ${amounts.relabel} relabelled`;
    place.textContent = decisions.made.size ? `${words} · ${decisions.message || "kept in this browser"}` : decisions.message || "Nothing decided yet.";
    document.getElementById("export").disabled = !decisions.made.size;
  };
  decisions.onChange(tell);
  tell();
}

let again = () => {};
theme(() => again());
const known = await samples();
const decisions = new Decisions(known);
const gallery = new Gallery(known, decisions);
const panel = new Panel(known, decisions, gallery);
gallery.show("called");
progress(decisions);
keys(gallery, panel, decisions);
document.documentElement.dataset.ready = String(Math.round(performance.now()));
extremes(known, gallery);
pools(known, gallery);
for (const place of document.querySelectorAll("[data-picture]")) place.replaceWith(picture(known, Number(place.dataset.picture), ""));
again = charts(known);
await decisions.fetch();
