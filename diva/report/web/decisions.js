// What the reader decides: kept in this browser, saved by `diva review --serve` where that serves the page.

const meta = (key) => document.querySelector(`meta[name="${key}"]`)?.content;

/** Decisions of one project: { id: { decision, label, note } }. */
export class Decisions {
  constructor(known) {
    this.known = known;
    this.key = `diva-review:${meta("diva-project")}`;
    this.server = meta("diva-review"); // only where the review server put it
    this.token = new URLSearchParams(location.search).get("token") ?? "";
    this.made = new Map();
    this.message = "";
    this.listeners = [];
    this.queue = Promise.resolve();
    this.waiting = 0;
    this.failed = new Map(); // by sample: what the server said
    this.restore();
  }

  onChange(listener) {
    this.listeners.push(listener);
  }

  tell(row = null) {
    for (const listener of this.listeners) listener(row);
  }

  /** The reader's own decision on a row, else the one that an earlier review left. */
  of(row) {
    const own = this.made.get(this.known.ids[row]);
    if (own) return { ...own, applied: false };
    const [decision, label, note] = this.known.decided[row] ?? [];
    return decision ? { decision, label: label ?? "", note: note ?? "", applied: true } : null;
  }

  decide(row, decision, label = "", note = null) {
    const kept = note ?? this.of(row)?.note ?? "";
    this.made.set(this.known.ids[row], { decision, label: decision === "relabel" ? label : "", note: kept });
    this.changed(row);
  }

  undo(row) {
    if (this.made.delete(this.known.ids[row])) this.changed(row);
  }

  changed(row) {
    this.message = this.store() ? "kept in this browser" : "this browser keeps nothing: export before you close the page";
    if (this.server) this.send(row);
    this.tell(row);
  }

  store() {
    try {
      localStorage.setItem(this.key, JSON.stringify([...this.made]));
      return true;
    } catch {
      return false;
    }
  }

  restore() {
    try {
      const kept = JSON.parse(localStorage.getItem(this.key) ?? "[]");
      this.made = new Map(kept.filter(([id, one]) => this.known.row.has(id) && typeof one?.decision === "string"));
    } catch {
      this.made = new Map();
    }
  }

  /** Decisions that the server holds; they replace this browser's. */
  async fetch() {
    if (!this.server) return;
    try {
      const answer = await this.ask("GET", this.server);
      this.made = new Map((await answer.json()).map(({ sample_id, ...one }) => [sample_id, { label: "", note: "", ...one }]));
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
    this.waiting += 1;
    this.message = "saving …";
    this.queue = this.queue
      .then(save)
      .then(() => this.failed.delete(id), (error) => this.failed.set(id, error.message))
      .then(() => {
        this.waiting -= 1;
        const [first] = this.failed.values();
        this.message = first ? `not saved: ${first}` : this.waiting ? "saving …" : "saved";
        this.tell(row);
      });
  }

  async ask(method, address, body) {
    const headers = { "X-DIVA-Token": this.token, ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(address, { method, headers, ...(body && { body: JSON.stringify(body) }) });
    if (!answer.ok) throw new Error((await answer.text()).slice(0, 300) || `the server answered ${answer.status}`);
    return answer;
  }

  /** What `diva review --apply` reads, ordered by sample. */
  csv() {
    const rows = [...this.made].sort(([one], [other]) => (one < other ? -1 : 1));
    const lines = rows.map(([id, { decision, label, note }]) => [id, decision, label, note].map(cell).join(","));
    return ["sample_id,decision,label,note", ...lines, ""].join("\r\n");
  }

  export() {
    const address = URL.createObjectURL(new Blob([this.csv()], { type: "text/csv" }));
    make("a", { href: address, download: "review.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
