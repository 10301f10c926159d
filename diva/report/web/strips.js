// Strips of thumbnails: extremes of weight by class, what rounds added, what was left.
import { make, button, name, picture, figure, count, ordered, LEFT } from "./data.js";
import { turner } from "./gallery.js";

const CLASSES = 8; // a page of extremes
const EXTREMES = 4; // a side
const STRIP = 12;

function strip(known, gallery, rows, told) {
  const open = (row) => () => {
    gallery.show("all");
    gallery.choose(row, true);
  };
  const one = (row) => {
    const inside = [picture(known, row, known.labels[known.label[row]]), make("small", {}, told(row))];
    return make("li", {}, button({ class: "mini", title: known.paths[row] }, open(row), ...inside));
  };
  return make("ul", { class: "strip" }, ...rows.map(one));
}

function grouped(rows, key) {
  const groups = new Map();
  for (const row of rows) groups.has(key(row)) ? groups.get(key(row)).push(row) : groups.set(key(row), [row]);
  return [...groups].sort(([one], [other]) => one - other);
}

/** Of each class, what has the least weight and what has the most. */
export function extremes(known, gallery) {
  const weighed = ordered(known.weight, 1).filter((row) => !Number.isNaN(known.weight[row]));
  const classes = grouped(weighed, (row) => known.label[row]);
  const [place, pager, choice] = ["extremes", "extremes-pages", "weights-class"].map((id) => document.getElementById(id));
  const options = classes.map(([code]) => make("option", { value: code }, known.labels[code]));
  choice.replaceChildren(make("option", { value: "" }, "all"), ...options);
  const side = (rows, words) => {
    const images = strip(known, gallery, rows, (row) => figure(known.weight[row], 2));
    return make("div", {}, make("span", { class: "soft fine" }, words), images);
  };
  const line = ([code, rows]) => {
    const most = Math.min(EXTREMES, Math.ceil(rows.length / 2));
    const ends = [side(rows.slice(0, most), "least"), side(rows.slice(most).slice(-EXTREMES).reverse(), "most")];
    return make("div", { class: "extreme" }, make("h4", {}, name(known.labels[code])), ...ends);
  };
  const draw = (page) => {
    const wanted = classes.filter(([code]) => choice.value === "" || Number(choice.value) === code);
    place.replaceChildren(...wanted.slice(page * CLASSES, (page + 1) * CLASSES).map(line));
    turner(pager, page, Math.max(1, Math.ceil(wanted.length / CLASSES)));
    pager.onclick = (event) => event.target.dataset.page && draw(page + Number(event.target.dataset.page));
  };
  choice.addEventListener("input", () => draw(0));
  draw(0);
}

/** What rounds added, the most wanted first; what was left, by reason, the most harmful first. */
export function pools(known, gallery) {
  const pool = known.origins.indexOf("pool");
  const fill = (place, left, column, names, field) => {
    const wanted = (row) => known.origin[row] === pool && (known.status[row] === LEFT) === left;
    const groups = grouped(ordered(known.derivative, left ? -1 : 1).filter(wanted), (row) => known[column][row]);
    const section = ([code, rows]) => {
      const more = button({ class: "quiet" }, () => gallery.show(place, { [field]: code }), "Show all");
      more.addEventListener("click", () => document.getElementById("gallery").scrollIntoView());
      const title = make("h4", {}, name(names[code] ?? "left"), make("span", { class: "amount" }, count(rows.length)));
      const images = strip(known, gallery, rows.slice(0, STRIP), (row) => known.labels[known.label[row]]);
      return make("div", { class: "pool" }, make("div", { class: "row" }, title, more), images);
    };
    document.getElementById(place).replaceChildren(...(groups.length ? groups.map(section) : ["Nothing."]));
  };
  fill("added", false, "round", known.rounds, "round");
  fill("left", true, "reason", known.reasons, "reason");
}
