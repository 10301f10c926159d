// What the reader decides: kept in this browser, and saved by `diva review --serve` where that serves the page.
import { make, meta, name, label, token } from "./data.js";

/** The reader's decisions, by sample: decision, label, note. */
export class Decisions {
  constructor(known) {
    this.known = known;
    this.key = `diva-review:${meta("diva-project")}`;
    this.server = meta("diva-review"); // only where the review server put it
    this.message = "";
    this.listeners = [];
    this.queue = Promise.resolve();
    this.waiting = 0;
    this.failed = new Map(); // by sample: what the server said
    this.made = this.kept();
    this.recent = []; // row and what was decided of it before, in the order in which decisions were made here
  }

  tell(row = null) {
    for (const listener of this.listeners) listener(row);
  }

  /** The reader's own decision on a row, else the one that an earlier review left. */
  of(row) {
    const own = this.made.get(this.known.ids[row]);
    if (own) return { ...own, applied: false };
    const [decision, label, note, reviewer] = this.known.decided[row] ?? [];
    return decision ? { decision, label: label ?? "", note: note ?? "", reviewer, applied: true } : null;
  }

  /** Whether the reader decided on a row. */
  has(row) {
    return this.made.has(this.known.ids[row]);
  }

  /** The row that was decided last, of those whose decision still stands; undefined where there is none. */
  get last() {
    return this.recent.findLast(({ row }) => this.has(row))?.row;
  }

  decide(row, decision, label, note) {
    const id = this.known.ids[row];
    this.recent.push({ row, before: this.made.get(id) });
    this.made.set(id, { decision, label: decision === "relabel" ? label : "", note });
    this.changed(row);
  }

  /** A step back: what was decided of a row before its last decision stands again. */
  undo(row) {
    if (!this.has(row)) return;
    const step = this.recent.findLastIndex((one) => one.row === row);
    const [{ before }] = step < 0 ? [{}] : this.recent.splice(step, 1);
    if (before) this.made.set(this.known.ids[row], before);
    else this.made.delete(this.known.ids[row]);
    this.changed(row);
  }

  changed(row) {
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.made]));
      this.message = "kept in this browser";
    } catch {
      this.message = "this browser keeps nothing: export before you close the page";
    }
    if (this.server) this.send(row);
    this.tell(row);
  }

  /** What this browser kept, of samples that there still are. */
  kept() {
    try {
      const found = JSON.parse(localStorage.getItem(this.key) ?? "[]");
      if (!found.length) return new Map();
      const ids = new Set(this.known.ids);
      const whole = (one) => typeof one?.decision === "string" && (one.decision !== "relabel" || one.label);
      return new Map(found.filter(([id, one]) => ids.has(id) && whole(one)));
    } catch {
      return new Map();
    }
  }

  /** Decisions that the server holds; they replace this browser's. */
  async restore() {
    if (!this.server) return;
    try {
      const rows = await (await this.ask("GET", this.server)).json();
      const text = (one) => ({ decision: one.decision, label: one.label ?? "", note: one.note ?? "" });
      this.made = new Map(rows.map((one) => [one.sample_id, text(one)]));
      this.message = "saved";
    } catch (error) {
      this.message = `not saved: ${error.message}`;
    }
    this.tell();
  }

  /** One request after the other: the last decision on a sample is the one that stays. */
  send(row) {
    const id = this.known.ids[row];
    const one = this.made.get(id);
    const save = one
      ? () => this.ask("PUT", this.server, { sample_id: id, ...one })
      : () => this.ask("DELETE", `${this.server}/${encodeURIComponent(id)}`);
    const done = () => {
      this.waiting -= 1;
      const [first] = this.failed.values();
      this.message = first ? `not saved: ${first}` : this.waiting ? "saving …" : "saved";
      this.tell(row);
    };
    this.waiting += 1;
    this.message = "saving …";
    this.queue = this.queue.then(save);
    this.queue = this.queue.then(() => this.failed.delete(id), (error) => this.failed.set(id, error.message)).then(done);
  }

  async ask(method, address, body) {
    const headers = { "X-DIVA-Token": token, ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(address, { method, headers, body: body && JSON.stringify(body) });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `the server answered ${answer.status}`);
    return answer;
  }

  /** review.csv, which `diva review --apply` reads, ordered by sample. */
  export() {
    const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const rows = [...this.made].sort(([one], [other]) => (one < other ? -1 : 1));
    const harmless = (note) => (/^[=+@-]/.test(note) ? `'${note}` : note); // no formula in a spreadsheet
    const lines = rows.map(([id, one]) => [id, one.decision, one.label, harmless(one.note)].map(cell).join(","));
    const text = ["sample_id,decision,label,note", ...lines, ""].join("\r\n");
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: address, download: "review.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

/** What became of a sample by a decision, as parts of an element: which label stands, and who said so. */
export function decided(known, row, { decision, label: text, reviewer, applied }) {
  const end = `${reviewer ? `, by ${reviewer}` : ""}${applied ? ", applied" : ""}`;
  if (decision === "reject") return [`left out${end}`];
  return decision === "relabel" ? ["now: ", name(text), end] : ["kept: ", name(label(known, known.given[row])), end];
}
