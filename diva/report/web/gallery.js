// The gallery: which samples are shown, in which order, page by page.
import { make, name, picture, label, figure, count } from "./data.js";

const PAGE = 48;
const [MEMBER, REMOVED, LEFT] = [0, 1, 2];
const VIEWS = {
  called: ["Called wrong", (known, row, called) => called[row] === 1],
  added: ["Added", (known, row) => known.origins[known.origin[row]] === "pool" && known.status[row] !== LEFT],
  removed: ["Removed", (known, row) => known.status[row] === REMOVED],
  left: ["Left in the pool", (known, row) => known.status[row] === LEFT],
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
};
const DECISIONS = { open: "undecided", made: "decided", accept: "accepted", reject: "rejected", relabel: "relabelled" };
export const STATUS = ["member", "removed", "in the pool"];

export class Gallery {
  constructor(known, decisions) {
    Object.assign(this, { known, decisions, view: "called", page: 0, found: [], current: -1, orders: new Map() });
    this.form = document.getElementById("filters");
    this.cards = document.getElementById("cards");
    this.onChoose = () => {};
    this.options();
    this.form.addEventListener("input", () => this.refresh());
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.addEventListener("reset", () => setTimeout(() => this.refresh()));
    this.cards.addEventListener("click", (event) => {
      const card = event.target.closest("button.card");
      if (card) this.choose(Number(card.dataset.row), true);
    });
    document.getElementById("pages").addEventListener("click", (event) => {
      if (event.target.dataset.page) this.turn(Number(event.target.dataset.page));
    });
    decisions.onChange((row) => (row === null ? this.draw() : this.redraw(row)));
  }

  /** Choices of the filters, from what the samples hold. */
  options() {
    const { known, form } = this;
    const fill = (field, pairs) => form[field].replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
    fill("label", [["", "any"], ...known.labels.map((text, code) => [code, text])]);
    fill("method", known.methods.map((text) => [text, text]));
    fill("round", [["", "any"], ...known.rounds.map((text, code) => [code, text]).filter(([, text]) => text !== "none")]);
    fill("decision", [["", "any"], ...Object.entries(DECISIONS)]);
    fill("sort", Object.entries(SORTS).map(([value, [text]]) => [value, text]));
    const why = new Set();
    for (let row = 0; row < known.size; row++) if (known.status[row] === LEFT) why.add(known.reason[row]);
    fill("reason", [["", "any"], ...[...why].filter((code) => code >= 0).map((code) => [code, known.reasons[code]])]);
    const views = Object.entries(VIEWS).map(([key, [text]]) => make("button", { type: "button", dataset: { view: key } }, text, make("span", { class: "amount" })));
    document.getElementById("views").replaceChildren(...views);
    for (const button of views) button.addEventListener("click", () => this.show(button.dataset.view));
  }

  /** A view, and perhaps filters to begin with. */
  show(view, filters = {}) {
    this.view = view;
    this.form.reset();
    const sort = { added: "wanted", left: "harmful" }[view] ?? "suspicious";
    for (const [field, value] of Object.entries({ sort, ...filters })) this.form[field].value = value;
    this.refresh();
  }

  get scored() {
    const method = this.form.method.value;
    return this.known.others[method] ?? { score: this.known.score, called: this.known.called };
  }

  /** All rows in an order: computed once for each, then only filtered. */
  order(sort) {
    const [, column, direction] = SORTS[sort];
    const key = `${sort} ${column === "score" ? this.form.method.value : ""}`;
    if (!this.orders.has(key)) {
      const values = column === "score" ? this.scored.score : this.known[column];
      const last = direction > 0 ? Infinity : -Infinity;
      const keyed = Float64Array.from(values, (value) => (Number.isNaN(value) ? last : value));
      this.orders.set(key, Int32Array.from(keyed.keys()).sort((one, other) => direction * (keyed[one] - keyed[other]) || one - other));
    }
    return this.orders.get(key);
  }

  /** Whether a row passes the filters, as one function made for this turn. */
  passes() {
    const { known, decisions } = this;
    const values = new FormData(this.form);
    const code = (field) => (values.get(field) === "" || values.get(field) === null ? null : Number(values.get(field)));
    const { score, called } = this.scored;
    const [label, round, low, high] = ["label", "round", "low", "high"].map(code);
    const reason = this.view === "left" ? code("reason") : null;
    const decision = values.get("decision");
    const within = VIEWS[this.view][1];
    return (row) =>
      within(known, row, called) &&
      (label === null || known.given[row] === label || known.suggested[row] === label || known.label[row] === label) &&
      (round === null || known.round[row] === round) &&
      (reason === null || known.reason[row] === reason) &&
      (low === null || score[row] >= low) &&
      (high === null || score[row] <= high) &&
      (!decision || matches(decisions.of(row), decision));
  }

  /** Filters anew and shows the first page. */
  refresh() {
    const start = performance.now();
    this.form.querySelector(".why").hidden = this.view !== "left";
    this.found = Array.from(this.order(this.form.sort.value).filter(this.passes()));
    this.page = 0;
    this.current = -1;
    this.draw();
    this.onChoose(-1);
    performance.measure("diva-filter", { start, end: performance.now() });
  }

  draw() {
    const { found, known } = this;
    const pages = Math.max(1, Math.ceil(found.length / PAGE));
    const rows = found.slice(this.page * PAGE, (this.page + 1) * PAGE);
    this.cards.replaceChildren(...rows.map((row) => make("li", {}, this.card(row))));
    document.getElementById("found").textContent = found.length
      ? `${count(found.length)} ${found.length === 1 ? "sample" : "samples"}`
      : "No sample is like this.";
    const pager = document.getElementById("pages");
    pager.hidden = pages < 2;
    document.getElementById("page").textContent = `${this.page + 1} of ${count(pages)}`;
    pager.querySelector('[data-page="-1"]').disabled = this.page === 0;
    pager.querySelector('[data-page="1"]').disabled = this.page === pages - 1;
    const { called } = this.scored;
    for (const button of document.getElementById("views").children) {
      const chosen = button.dataset.view === this.view;
      button.setAttribute("aria-pressed", chosen);
      let amount = 0;
      for (let row = 0; row < known.size; row++) if (VIEWS[button.dataset.view][1](known, row, called)) amount++;
      button.lastChild.textContent = count(amount);
    }
  }

  card(row) {
    const { known } = this;
    const [given, suggested] = [label(known, known.given[row]), label(known, known.suggested[row])];
    const made = this.decisions.of(row);
    const differ = known.suggested[row] >= 0 && known.suggested[row] !== known.given[row];
    const said = made && make("span", { class: `chip ${made.decision}` }, decided(made));
    return make(
      "button",
      { type: "button", class: "card", dataset: { row }, "aria-current": row === this.current ? "true" : null },
      picture(known, row, ""),
      make("span", { class: "labels" }, make("span", {}, name(given)), differ && make("span", { class: "arrow", "aria-label": "suggested" }, "→ "), differ && make("span", { class: "better" }, name(suggested))),
      make("span", { class: "figures" }, `score ${figure(this.scored.score[row], 4)}`, known.status[row] !== MEMBER && ` · ${STATUS[known.status[row]]}`),
      said,
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
    const place = this.found.indexOf(row);
    const page = Math.floor(place / PAGE);
    if (place >= 0 && page !== this.page) {
      this.page = page;
      this.draw();
    } else for (const one of [before, row]) if (one >= 0) this.redraw(one);
    this.onChoose(row);
    const card = this.cards.querySelector(`button[data-row="${row}"]`);
    if (focus) card?.focus({ preventScroll: true });
    card?.scrollIntoView({ block: "nearest" });
  }

  /** The next sample, or the one before. */
  move(by) {
    const place = this.current < 0 ? (by > 0 ? this.page * PAGE - 1 : this.page * PAGE + 1) : this.found.indexOf(this.current);
    const next = Math.min(this.found.length - 1, Math.max(0, place + by));
    if (this.found.length) this.choose(this.found[next], true);
  }

  turn(by) {
    const pages = Math.ceil(this.found.length / PAGE);
    this.page = Math.min(pages - 1, Math.max(0, this.page + by));
    this.current = -1;
    this.draw();
    this.onChoose(-1);
    document.getElementById("found").scrollIntoView({ block: "nearest" });
  }
}

/** A decision in words. */
export function decided(made) {
  const words = { accept: "accepted", reject: "rejected", relabel: `relabelled ${made.label}` };
  return `${words[made.decision] ?? made.decision}${made.applied ? ", applied" : ""}`;
}

function matches(made, wanted) {
  if (wanted === "open") return !made;
  return Boolean(made) && (wanted === "made" || made.decision === wanted);
}
