// The chosen sample: the decision, the evidence, its figures.
import { make, button, name, labels, label, picture, figure, address, player, WAITING } from "./data.js";
import { decided } from "./decisions.js";
import { STATUS } from "./gallery.js";

export class Panel {
  constructor(known, decisions, gallery) {
    Object.assign(this, { known, decisions, gallery });
    this.place = document.getElementById("panel");
    gallery.onChoose = (row) => this.show(row);
    decisions.listeners.push((row) => this.row >= 0 && (row === null || row === this.row) && this.state());
    this.show(-1);
  }

  show(row) {
    const opened = row >= 0 && this.row < 0;
    this.row = row;
    this.place.classList.toggle("open", row >= 0);
    const empty = () => make("p", { class: "soft" }, "Choose a sample, or press ", make("kbd", {}, "j"), " to begin.");
    const parts = row < 0 ? [empty()] : [this.head(), this.form(), this.evidence(), this.facts()];
    this.place.replaceChildren(...parts.filter(Boolean));
    if (row >= 0) this.state();
    if (opened) this.reveal();
  }

  /** Bring the panel into the window where it lies outside of it, at once: the card's own scrolling comes after it. */
  reveal() {
    const { top, bottom } = this.place.getBoundingClientRect();
    if (top > innerHeight / 2 || bottom < 0) this.place.parentElement.scrollIntoView({ behavior: "instant" });
  }

  head() {
    const { known, row } = this;
    const close = button({ class: "quiet close", "aria-label": "Close" }, () => this.gallery.choose(-1), "×");
    const image = picture(known, row, `The sample labelled ${label(known, known.given[row])}`);
    return make("div", { class: "subject" }, close, image, player(known, row), make("h3", {}, ...labels(known, row)));
  }

  form() {
    const { known, row } = this;
    const [given, suggested] = [known.given[row], known.suggested[row]];
    const act = (key, does, text, code = -1) => {
      const named = code >= 0 && name(label(known, code)); // cut where it is long: the title has all of it
      const title = named && `${text} ${named.textContent}`;
      return button({ "aria-keyshortcuts": key, title }, does, make("span", {}, text), named, make("kbd", {}, key));
    };
    const options = known.labels.map((text) => make("option", { value: text }, text));
    this.select = make("select", { "aria-label": "The right label" }, ...options);
    this.select.value = known.labels[known.suggested[row]] ?? ""; // none is chosen where none is suggested
    this.select.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault(); // or the browser opens its list
      this.relabel();
    });
    const take = button({}, () => this.relabel(), "Make it this");
    this.others = make("div", { class: "row", hidden: true }, this.select, take);
    this.note = make("input", { type: "text", "aria-label": "Note", placeholder: "note (n)", maxlength: 500 });
    this.note.addEventListener("change", () => this.annotate());
    this.note.addEventListener("keydown", (event) => event.key === "Enter" && this.note.blur());
    this.said = make("p", { class: "said", role: "status" });
    const choices = [
      given >= 0 && act("a", () => this.decide("accept"), "Keep", given),
      suggested >= 0 && suggested !== given && act("s", () => this.suggested(), "Make it", suggested),
      act("l", () => this.other(), "Other label…"),
      act("r", () => this.decide("reject"), "Leave out"),
    ];
    const undo = act("u", () => this.decisions.undo(row), "Undo");
    const written = make("div", { class: "row" }, this.note, undo);
    return make("div", { class: "decide" }, make("div", { class: "choices" }, ...choices.filter(Boolean)), this.others, written, this.said);
  }

  /** Another label than those of the buttons: the list of all. */
  other() {
    this.others.hidden = false;
    this.select.focus();
  }

  /** What is decided so far, without touching what the reader is writing. */
  state() {
    const made = this.decisions.of(this.row);
    this.said.replaceChildren(...(made ? decided(this.known, this.row, made) : []));
    this.said.className = `said ${made?.decision ?? ""}`;
    if (document.activeElement !== this.note) this.note.value = made?.note ?? "";
    if (made?.decision === "relabel" && document.activeElement !== this.select) this.select.value = made.label;
  }

  /** Accept, of a sample that waits for a label, is to take the one that is suggested; false where there is none. */
  decide(decision, chosen = "") {
    if (decision === "accept" && this.known.status[this.row] === WAITING) return this.suggested();
    return this.decisions.decide(this.row, decision, chosen, this.note.value);
  }

  relabel() {
    if (!this.select.value) return;
    this.decide("relabel", this.select.value);
    this.gallery.move(1);
  }

  /** Take the suggestion; false where there is none. */
  suggested() {
    const code = this.known.suggested[this.row];
    if (code >= 0) this.decide("relabel", label(this.known, code));
    return code >= 0;
  }

  annotate() {
    const made = this.decisions.of(this.row);
    if (made) this.decide(made.decision, made.label);
  }

  evidence() {
    const { known, row } = this;
    const names = [known.given[row], known.suggested[row]].map((code) => label(known, code));
    const image = (text) => ([other, cosine]) =>
      make("li", {}, picture(known, other, `A core image labelled ${text}`), make("small", {}, figure(cosine, 2)));
    const strip = (near, side) => {
      const title = make("h4", {}, "Nearest labelled ", make("span", { class: side ? "better" : "" }, name(names[side])));
      const none = make("p", { class: "soft fine" }, "No core image that nobody doubts.");
      return make("div", { class: "evidence" }, title, near.length ? make("ul", {}, ...near.map(image(names[side]))) : none);
    };
    const hint = make("p", { class: "soft fine" }, "Core images nobody doubts; beneath, the cosine of the features.");
    return known.evidence[row] && make("div", {}, ...known.evidence[row].map(strip), hint);
  }

  facts() {
    const { known, row } = this;
    const [truth, link] = [known.true[row], address(known, row)];
    const path = name(known.paths[row]);
    const facts = {
      score: figure(this.gallery.scored.score[row], 4),
      margin: figure(known.margin[row]),
      derivative: figure(known.derivative[row]),
      weight: figure(known.weight[row]),
      label: label(known, known.label[row]),
      status: `${STATUS[known.status[row]]}, ${known.origins[known.origin[row]]}`,
      came: [known.batchs[known.batch[row]], known.rounds[known.round[row]]].filter((one) => one !== "none").join(", "),
      says: known.captions?.[row],
      ...Object.fromEntries(known.columns.slice(1).map((column) => [column.name, column.values[column.codes[row]]])),
      why: known.reasons[known.reason[row]],
      truth: truth >= 0 && (truth === known.given[row] ? "right" : `planted wrong, truly ${label(known, truth)}`),
      file: link ? make("a", { href: link, target: "_blank", rel: "noopener" }, path) : path,
      id: make("code", {}, known.ids[row]),
    };
    const rows = Object.entries(facts).filter(([, value]) => value && value !== "–");
    return make("dl", { class: "facts" }, ...rows.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));
  }
}
