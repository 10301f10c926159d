// The gallery: which samples are shown, in which order, page by page.
import { make, button, labels, picture, figure, count, ordered, idle, LEFT, TEST, WAITING } from "./data.js";
import { decided } from "./decisions.js";

const PAGE = 48;
const VIEWS = {
  called: ["Called wrong", (known, row, called) => called[row] === 1],
  added: ["Added", (known, row) => known.origins[known.origin[row]] === "pool" && known.status[row] < LEFT],
  removed: ["Removed", (known, row) => known.status[row] === 1],
  left: ["Left in the pool", (known, row) => known.status[row] === LEFT],
  test: ["Test labels", (known, row) => known.status[row] === TEST],
  next: ["Label next", (known, row) => known.status[row] === WAITING],
  all: ["All", () => true],
};
const SORTS = {
  suspicious: ["score, highest first", "score", -1],
  trusted: ["score, lowest first", "score", 1],
  wanted: ["derivative, most wanted first", "derivative", 1],
  harmful: ["derivative, most harmful first", "derivative", -1],
  heavy: ["weight, largest first", "weight", -1],
  light: ["weight, smallest first", "weight", 1],
  margin: ["margin, smallest first", "margin", 1],
  class: ["class", "label", 1],
  asked: ["first to label", "rank", 1],
};
const DECISIONS = { open: "undecided", made: "decided", accept: "kept", reject: "left out", relabel: "relabelled" };
export const STATUS = ["member", "removed", "in the pool", "test set", "without a label"];

export class Gallery {
  constructor(known, decisions) {
    Object.assign(this, { known, decisions, view: "called", page: 0, found: [], current: -1 });
    Object.assign(this, { orders: new Map(), amounts: new Map(), selected: null, onChoose: () => {}, onRefresh: () => {} });
    this.form = document.getElementById("filters");
    this.cards = document.getElementById("cards");
    this.options();
    this.values();
    this.form.addEventListener("input", (event) => {
      if (event.target.name === "column") this.values();
      this.refresh();
    });
    this.form.addEventListener("submit", (event) => event.preventDefault());
    const reset = this.form.querySelector('[type="reset"]'); // the event itself comes with every view
    reset.addEventListener("click", () => setTimeout(() => this.select(null)));
    this.cards.addEventListener("click", (event) => {
      const card = event.target.closest("button.card");
      if (card) this.choose(Number(card.dataset.row), true);
    });
    document.getElementById("pages").addEventListener("click", (event) => {
      if (event.target.dataset.page) this.turn(Number(event.target.dataset.page));
    });
    decisions.listeners.push((row) => (row === null ? this.draw() : this.redraw(row)));
  }

  /** Choices of the filters, from what the samples hold. */
  options() {
    const { known } = this;
    if (!known.status.includes(TEST)) delete VIEWS.test;
    if (!known.status.includes(WAITING)) [delete VIEWS.next, delete SORTS.asked];
    const any = ["", "any"];
    const fill = (field, pairs) =>
      this.form[field].replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    fill("label", [any, ...known.labels.map((text, code) => [code, text])]);
    fill("method", known.methods.map((text) => [text, text]));
    fill("round", [any, ...known.rounds.map((text, code) => [code, text]).filter(([, text]) => text !== "none")]);
    fill("decision", [any, ...Object.entries(DECISIONS)]);
    fill("sort", Object.entries(SORTS).map(([value, [text]]) => [value, text]));
    const why = new Set(known.reason.filter((code, row) => code >= 0 && known.status[row] === LEFT));
    fill("column", [["", "none"], ...known.columns.map(({ name }, place) => [place, name])]);
    fill("reason", [any, ...[...why].map((code) => [code, known.reasons[code]])]);
    this.views = Object.entries(VIEWS).map(([key, [text]]) =>
      button({ "data-view": key }, () => this.show(key), text, make("span", { class: "amount" })),
    );
    document.getElementById("views").replaceChildren(...this.views);
  }

  /** The values of the chosen column. */
  values() {
    const { values } = this.known.columns[this.form.column.value] ?? { values: [] };
    const options = ["any", ...values].map((text, place) => make("option", { value: place ? place - 1 : "" }, text));
    this.form.value.replaceChildren(...options);
    this.form.value.disabled = !values.length;
  }

  /** A view, and filters to begin with. */
  show(view, filters = {}) {
    this.view = view;
    this.form.reset();
    const sort = { added: "wanted", left: "harmful", next: "asked" }[view] ?? "suspicious";
    for (const [field, value] of Object.entries({ sort, ...filters })) {
      this.form[field].value = value;
      if (field === "column") this.values();
    }
    this.refresh();
  }

  /** Shows these rows alone, whatever is chosen beside; null for all. */
  select(rows) {
    this.selected = rows && new Set(rows);
    this.show(rows ? "all" : this.view);
  }

  /** Scores and calls by the chosen method. */
  get scored() {
    return this.known.others[this.form.method.value] ?? this.known;
  }

  /** All rows in an order: sorted once, then only filtered. */
  order(sort) {
    const [, column, direction] = SORTS[sort];
    const key = `${sort} ${column === "score" ? this.form.method.value : ""}`;
    if (!this.orders.has(key)) {
      this.orders.set(key, ordered(column === "score" ? this.scored.score : this.known[column], direction));
    }
    return this.orders.get(key);
  }

  /** Sorts what was not asked for yet while nothing else is to be done. */
  async prepare() {
    for (const sort of Object.keys(SORTS)) {
      await idle();
      this.order(sort);
    }
  }

  /** Whether a row passes the filters, as one function made for this turn. */
  passes() {
    const { known, decisions, form } = this;
    const { score, called } = this.scored;
    const fields = ["label", "round", "low", "high", "reason", "value"];
    const [label, round, low, high, reason, value] = fields.map((field) => (form[field].value === "" ? null : Number(form[field].value)));
    const codes = known.columns[form.column.value]?.codes;
    const { selected } = this;
    const wanted = form.decision.value;
    const judged = (row) => {
      const made = decisions.of(row);
      return wanted === "open" ? !made : made !== null && (wanted === "made" || made.decision === wanted);
    };
    const within = VIEWS[this.view][1];
    return (row) =>
      within(known, row, called) &&
      (!selected || selected.has(row)) &&
      (value === null || codes[row] === value) &&
      (label === null || known.given[row] === label || known.suggested[row] === label || known.label[row] === label) &&
      (round === null || known.round[row] === round) &&
      (reason === null || known.reason[row] === reason) &&
      (low === null || score[row] >= low) &&
      (high === null || score[row] <= high) &&
      (!wanted || judged(row));
  }

  /** Filters anew and shows the first page. */
  refresh() {
    this.form.querySelector(".why").hidden = this.view !== "left";
    this.found = this.order(this.form.sort.value).filter(this.passes());
    Object.assign(this, { page: 0, current: -1 });
    this.draw();
    this.onChoose(-1);
    this.onRefresh();
  }

  /** How many samples a view holds, by the chosen method. */
  amount(view) {
    const key = `${view} ${this.form.method.value}`;
    const { called } = this.scored;
    if (!this.amounts.has(key)) {
      let amount = 0;
      for (let row = 0; row < this.known.ids.length; row++) amount += VIEWS[view][1](this.known, row, called);
      this.amounts.set(key, amount);
    }
    return count(this.amounts.get(key));
  }

  /** The first view that holds a sample: nothing opens empty. */
  get opening() {
    return Object.keys(VIEWS).find((view) => this.amount(view) !== count(0)) ?? "all";
  }

  get pages() {
    return Math.max(1, Math.ceil(this.found.length / PAGE));
  }

  draw() {
    const { found, page, pages } = this;
    const rows = found.slice(page * PAGE, (page + 1) * PAGE);
    this.cards.replaceChildren(...Array.from(rows, (row) => make("li", {}, this.card(row))));
    const chosen = this.selected ? `, of ${count(this.selected.size)} chosen on the map` : "";
    const amount = found.length ? `${count(found.length)} ${found.length === 1 ? "sample" : "samples"}${chosen}` : "No sample is like this.";
    document.getElementById("found").textContent = amount;
    turner(document.getElementById("pages"), page, pages);
    for (const one of this.views) {
      one.setAttribute("aria-pressed", one.dataset.view === this.view);
      one.lastChild.textContent = this.amount(one.dataset.view);
    }
  }

  card(row) {
    const { known } = this;
    const made = this.decisions.of(row);
    const status = known.status[row] ? ` · ${STATUS[known.status[row]]}` : "";
    return make(
      "button",
      { type: "button", class: "card", "data-row": row, "aria-current": row === this.current ? "true" : null },
      picture(known, row, ""),
      make("span", { class: "labels" }, ...labels(known, row)),
      make("span", { class: "figures" }, `score ${figure(this.scored.score[row], 4)}${status}`),
      made && make("span", { class: `chip ${made.decision}` }, ...decided(known, row, made)),
    );
  }

  redraw(row) {
    const old = this.cards.querySelector(`button[data-row="${row}"]`);
    if (!old) return;
    const focused = old === document.activeElement;
    const fresh = this.card(row);
    old.replaceWith(fresh);
    if (focused) fresh.focus();
  }

  choose(row, focus = false) {
    const before = this.current;
    this.current = row;
    const page = Math.floor(this.found.indexOf(row) / PAGE);
    if (page >= 0 && page !== this.page) {
      this.page = page;
      this.draw();
    } else for (const one of [before, row]) this.redraw(one);
    this.onChoose(row);
    const card = this.cards.querySelector(`button[data-row="${row}"]`);
    if (focus) card?.focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest" });
  }

  /** The next sample, or the one before. */
  move(by) {
    const start = this.page * PAGE - (by > 0 ? 1 : -1);
    const place = (this.current < 0 ? start : this.found.indexOf(this.current)) + by;
    if (this.found.length) this.choose(this.found[Math.min(this.found.length - 1, Math.max(0, place))], true);
  }

  turn(by) {
    Object.assign(this, { page: Math.min(this.pages - 1, Math.max(0, this.page + by)), current: -1 });
    this.draw();
    this.onChoose(-1);
    document.getElementById("found").scrollIntoView({ block: "nearest" });
  }
}

/** Where one is among pages, and whether there is a way on and back. */
export function turner(place, page, pages) {
  place.hidden = pages < 2;
  place.querySelector("span").textContent = `${page + 1} of ${count(pages)}`;
  place.querySelector('[data-page="-1"]').disabled = page === 0;
  place.querySelector('[data-page="1"]').disabled = page === pages - 1;
}
