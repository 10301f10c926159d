// Strips of thumbnails: extremes of weight by class, what rounds added, what was left.
import { make, name, picture, figure, count } from "./data.js";

const CLASSES = 8; // a page of extremes
const EXTREMES = 4; // a side
const STRIP = 12;

function strip(known, gallery, rows, told) {
  const items = rows.map((row) => {
    const open = make("button", { type: "button", class: "mini", title: known.paths[row] }, picture(known, row, known.labels[known.label[row]]), make("small", {}, told(row)));
    open.addEventListener("click", () => {
      gallery.show("all");
      gallery.choose(row, true);
      document.getElementById("gallery").scrollIntoView();
    });
    return make("li", {}, open);
  });
  return make("ul", { class: "strip" }, ...items);
}

/** Of each class, what has the least weight and what has the most. */
export function extremes(known, gallery) {
  const rows = [...known.weight.keys()].filter((row) => !Number.isNaN(known.weight[row]));
  const by = new Map();
  for (const row of rows.sort((one, other) => known.weight[one] - known.weight[other] || one - other)) {
    const code = known.label[row];
    by.set(code, [...(by.get(code) ?? []), row]);
  }
  const codes = [...by.keys()].sort((one, other) => one - other);
  const place = document.getElementById("extremes");
  const pager = document.getElementById("extremes-pages");
  const choice = document.getElementById("weights-class");
  choice.replaceChildren(make("option", { value: "" }, "all"), ...codes.map((code) => make("option", { value: code }, known.labels[code])));
  let page = 0;
  const told = (row) => figure(known.weight[row], 2);
  const line = (code) => {
    const all = by.get(code);
    const most = Math.min(EXTREMES, Math.ceil(all.length / 2));
    const ends = [all.slice(0, most), all.slice(Math.max(most, all.length - EXTREMES)).reverse()];
    const side = (found, words) => make("div", {}, make("span", { class: "soft fine" }, words), strip(known, gallery, found, told));
    return make("div", { class: "extreme" }, make("h3", {}, name(known.labels[code])), side(ends[0], "least"), side(ends[1], "most"));
  };
  const draw = () => {
    const wanted = choice.value === "" ? codes : [Number(choice.value)];
    const pages = Math.ceil(wanted.length / CLASSES);
    pager.hidden = pages < 2;
    pager.querySelector("span").textContent = `${page + 1} of ${pages}`;
    pager.querySelector('[data-page="-1"]').disabled = page === 0;
    pager.querySelector('[data-page="1"]').disabled = page === pages - 1;
    place.replaceChildren(...wanted.slice(page * CLASSES, (page + 1) * CLASSES).map(line));
  };
  choice.addEventListener("input", () => ((page = 0), draw()));
  pager.addEventListener("click", (event) => {
    if (event.target.dataset.page) (page += Number(event.target.dataset.page)), draw();
  });
  draw();
}

/** What rounds added, the most wanted first; what was left, by reason. */
export function pools(known, gallery) {
  const added = new Map();
  const left = new Map();
  for (let row = 0; row < known.size; row++) {
    if (known.origins[known.origin[row]] !== "pool") continue;
    const [groups, code] = known.status[row] === 2 ? [left, known.reason[row]] : [added, known.round[row]];
    groups.set(code, [...(groups.get(code) ?? []), row]);
  }
  const told = (row) => known.labels[known.label[row]];
  const section = (title, rows, sign, view, filters) => {
    rows.sort((one, other) => sign * (known.derivative[one] - known.derivative[other]) || one - other);
    const more = make("button", { type: "button", class: "quiet" }, "Show all");
    more.addEventListener("click", () => {
      gallery.show(view, filters);
      document.getElementById("gallery").scrollIntoView();
    });
    const head = make("div", { class: "row" }, make("h4", {}, title, make("span", { class: "amount" }, count(rows.length))), more);
    return make("div", { class: "pool" }, head, strip(known, gallery, rows.slice(0, STRIP), told));
  };
  const ordered = (groups) => [...groups].sort(([one], [other]) => one - other);
  document.getElementById("added").replaceChildren(...ordered(added).map(([code, rows]) => section(known.rounds[code], rows, 1, "added", { round: code })), added.size ? "" : "Nothing was added.");
  document.getElementById("left").replaceChildren(...ordered(left).map(([code, rows]) => section(known.reasons[code] ?? "left", rows, -1, "left", { reason: code })), left.size ? "" : "Nothing was left.");
}
