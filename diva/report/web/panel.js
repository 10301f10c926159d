// The chosen sample: its figures, the evidence, and the decision.
import { make, name, picture, label, figure, address } from "./data.js";
import { STATUS, decided } from "./gallery.js";

export class Panel {
  constructor(known, decisions, gallery) {
    Object.assign(this, { known, decisions, gallery, row: -1 });
    this.place = document.getElementById("panel");
    gallery.onChoose = (row) => this.show(row);
    decisions.onChange((row) => this.row >= 0 && (row === null || row === this.row) && this.state());
    this.show(-1);
  }

  show(row) {
    this.row = row;
    this.place.classList.toggle("open", row >= 0);
    this.place.replaceChildren(...(row < 0 ? [this.nothing()] : [this.head(), this.form(), this.evidence(), this.facts()]));
    if (row >= 0) this.state();
  }

  nothing() {
    return make("p", { class: "soft" }, "Choose a sample, or press ", make("kbd", {}, "j"), " to begin. ", make("kbd", {}, "?"), " lists the keys.");
  }

  head() {
    const { known, row } = this;
    const [given, suggested] = [label(known, known.given[row]), label(known, known.suggested[row])];
    const close = make("button", { type: "button", class: "quiet close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => this.gallery.choose(-1));
    return make(
      "div",
      { class: "subject" },
      close,
      picture(known, row, `The sample labelled ${given}`),
      make("h3", {}, name(given), known.suggested[row] >= 0 && known.suggested[row] !== known.given[row] && make("span", { class: "arrow" }, " → ", make("span", { class: "better" }, name(suggested)))),
    );
  }

  form() {
    const { known, row } = this;
    const button = (text, key, act) => {
      const made = make("button", { type: "button", "aria-keyshortcuts": key }, text, make("kbd", {}, key));
      made.addEventListener("click", act);
      return made;
    };
    const labels = known.labels.map((text) => make("option", { value: text }, text));
    this.select = make("select", { "aria-label": "The right label" }, ...labels);
    this.select.value = label(known, known.suggested[row]);
    this.select.addEventListener("keydown", (event) => event.key === "Enter" && this.relabel());
    this.note = make("input", { type: "text", "aria-label": "Note", placeholder: "note (n)", maxlength: 500 });
    this.note.addEventListener("change", () => this.annotate());
    this.note.addEventListener("keydown", (event) => event.key === "Enter" && this.note.blur());
    this.said = make("p", { class: "said", role: "status" });
    return make(
      "div",
      { class: "decide" },
      make("div", { class: "choices" }, button("Accept", "a", () => this.decide("accept")), button("Reject", "r", () => this.decide("reject")), button("Undo", "u", () => this.decisions.undo(row))),
      make("div", { class: "choices" }, this.select, button("Relabel", "l", () => this.relabel())),
      this.note,
      this.said,
    );
  }

  /** What is decided so far, without touching what the reader is writing. */
  state() {
    const made = this.decisions.of(this.row);
    this.said.textContent = made ? decided(made) : "";
    this.said.className = `said ${made?.decision ?? ""}`;
    if (document.activeElement !== this.note) this.note.value = made?.note ?? "";
    if (made?.decision === "relabel" && document.activeElement !== this.select) this.select.value = made.label;
  }

  decide(decision, chosen = "") {
    if (this.row >= 0) this.decisions.decide(this.row, decision, chosen, this.note.value);
  }

  relabel() {
    const { row } = this;
    this.decide("relabel", this.select.value);
    this.gallery.choose(row, true);
  }

  /** Take the suggestion; false where there is none. */
  suggested() {
    const { known, row } = this;
    if (row < 0 || known.suggested[row] < 0) return false;
    this.decide("relabel", label(known, known.suggested[row]));
    return true;
  }

  annotate() {
    const made = this.decisions.of(this.row);
    if (made) this.decisions.decide(this.row, made.decision, made.label, this.note.value);
  }

  evidence() {
    const { known, row } = this;
    const sides = known.evidence[row];
    if (!sides) return "";
    const codes = [known.given[row], known.suggested[row]];
    const strip = (near, side) =>
      make(
        "div",
        { class: "evidence" },
        make("h4", {}, "Nearest labelled ", make("span", { class: side ? "better" : "" }, name(label(known, codes[side])))),
        near.length
          ? make("ul", {}, ...near.map(([other, cosine]) => make("li", {}, picture(known, other, `A core image labelled ${label(known, codes[side])}`), make("small", {}, figure(cosine, 2)))))
          : make("p", { class: "soft fine" }, "No core image that nobody doubts."),
      );
    return make("div", {}, ...sides.map(strip), make("p", { class: "soft fine" }, "Core images nobody doubts; beneath, the cosine of the features."));
  }

  facts() {
    const { known, row } = this;
    const truth = known.true[row] >= 0 ? (known.true[row] === known.given[row] ? "right" : `planted wrong, truly ${label(known, known.true[row])}`) : "";
    const link = address(known, row);
    const path = link ? make("a", { href: link, target: "_blank", rel: "noopener" }, name(known.paths[row])) : name(known.paths[row]);
    const facts = {
      score: figure(this.gallery.scored.score[row], 4),
      margin: figure(known.margin[row]),
      derivative: figure(known.derivative[row]),
      weight: figure(known.weight[row]),
      label: label(known, known.label[row]),
      status: `${STATUS[known.status[row]]}, ${known.origins[known.origin[row]]}`,
      came: `${known.batchs[known.batch[row]]}${known.rounds[known.round[row]] === "none" ? "" : `, ${known.rounds[known.round[row]]}`}`,
      why: known.reason[row] >= 0 ? known.reasons[known.reason[row]] : "",
      truth,
      file: path,
      id: make("code", {}, known.ids[row]),
    };
    const rows = Object.entries(facts).filter(([, value]) => value !== "" && value !== "–");
    return make("dl", { class: "facts" }, ...rows.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));
  }
}
