// The map: every sample as a point on a canvas; colours, zoom, and a choice by lasso or box that the gallery follows.
import { make, button, name, labels, picture, figure, count, LEFT, TEST } from "./data.js";
import { STATUS } from "./gallery.js";

const HUES = ["#2f7fb8", "#e0702a", "#3d9a50", "#c9444a", "#8a62b8", "#8c6a50", "#d277b0", "#a39a1c", "#1fa5a8", "#6b74c9"];
const OTHERS = "#8d949b"; // values beyond those, and none
const STEPS = 8; // of a colour that grows with a figure
const NEAR = 9; // pixels from which the pointer is on a point
const TOOLS = { lasso: "Lasso", box: "Box", move: "Move" };

export class PointMap {
  constructor(known, gallery) {
    Object.assign(this, { known, gallery, tool: "lasso", path: [], waiting: false });
    [this.canvas, this.tip, this.legend] = ["map-canvas", "map-tip", "map-legend"].map((id) => document.getElementById(id));
    this.rows = Uint32Array.from(known.ids.keys()).filter((row) => !Number.isNaN(known.x[row]));
    this.choose = document.getElementById("map-colour");
    this.choices();
    this.choose.addEventListener("input", () => this.paint());
    this.fit();
    const act = { pointerdown: "begin", pointermove: "follow", pointerup: "end", pointercancel: "end", pointerleave: "leave", wheel: "zoom", dblclick: "fit" };
    for (const [event, method] of Object.entries(act)) this.canvas.addEventListener(event, (one) => this[method](one), { passive: false });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    gallery.onRefresh = () => this.draw();
    this.paint();
  }

  /** What colours the points: a name, and of each row a code among values, or a figure. */
  choices() {
    const { known } = this;
    const origin = (row) => (known.status[row] === TEST ? 3 : known.status[row] === LEFT ? 2 : known.origins[known.origin[row]] === "pool" ? 1 : 0);
    this.by = [
      { title: "Class", values: known.labels, of: (row) => known.given[row] },
      { title: "Core, added, left", values: ["core", "added", "left in the pool", "test label in doubt"], of: origin },
      { title: "Called wrong", values: ["not called wrong", "called wrong"], of: (row) => known.called[row] },
      { title: "Status", values: STATUS, of: (row) => known.status[row] },
      ...["weight", "score"].map((key) => ({ title: key[0].toUpperCase() + key.slice(1), figures: known[key] })),
      ...known.columns.map(({ name: title, values, codes }) => ({ title, values, of: (row) => codes[row] })),
    ];
    this.choose.replaceChildren(...this.by.map(({ title }, place) => make("option", { value: place }, title)));
    const tool = (key) => button({}, () => this.take(key), TOOLS[key]);
    this.tools = Object.keys(TOOLS).map(tool);
    const all = button({ class: "quiet" }, () => [this.fit(), this.gallery.select(null)], "All");
    document.getElementById("map-tools").replaceChildren(...this.tools, all);
    this.take(this.tool);
  }

  take(tool) {
    this.tool = tool;
    Object.keys(TOOLS).forEach((key, place) => this.tools[place].setAttribute("aria-pressed", key === tool));
  }

  /** The whole map. */
  fit() {
    const { x, y } = this.known;
    const ends = [Infinity, -Infinity, Infinity, -Infinity];
    for (const row of this.rows) {
      ends[0] = Math.min(ends[0], x[row]), ends[1] = Math.max(ends[1], x[row]);
      ends[2] = Math.min(ends[2], y[row]), ends[3] = Math.max(ends[3], y[row]);
    }
    this.view = { x: (ends[0] + ends[1]) / 2 || 0, y: (ends[2] + ends[3]) / 2 || 0, scale: 0 };
    this.span = [ends[1] - ends[0] || 1, ends[3] - ends[2] || 1];
    this.draw();
  }

  /** Colours anew, and the legend: each value a button that chooses its samples. */
  paint() {
    const by = this.by[this.choose.value || 0];
    const groups = by.figures ? this.graded(by.figures) : this.named(by);
    this.groups = groups;
    const entry = (group) => {
      const dot = make("span", { class: "dot", style: `background:${group.color}` });
      return button({ class: "quiet" }, () => this.gallery.select(group.rows), dot, name(group.text), make("span", { class: "amount" }, count(group.rows.length)));
    };
    this.legend.replaceChildren(...groups.map((group) => make("li", {}, entry(group))));
    this.draw();
  }

  named({ values, of }) {
    const found = new Map();
    for (const row of this.rows) found.get(of(row))?.push(row) ?? found.set(of(row), [row]);
    const ordered = [...found].sort(([one, some], [other, more]) => (values.length > HUES.length ? more.length - some.length : one - other));
    const own = ordered.filter(([code]) => code >= 0).slice(0, HUES.length);
    const rest = ordered.filter((group) => !own.includes(group)).flatMap(([, rows]) => rows);
    const groups = own.map(([code, rows], place) => ({ text: values[code], rows, color: HUES[place] }));
    return rest.length ? [{ text: "others", rows: rest, color: OTHERS }, ...groups] : groups;
  }

  graded(figures) {
    const rows = this.rows.filter((row) => !Number.isNaN(figures[row])).sort((one, other) => figures[one] - figures[other]);
    const part = (step) => rows.subarray((step * rows.length) / STEPS, ((step + 1) * rows.length) / STEPS);
    const parts = [...Array(STEPS).keys()].map(part).filter((some) => some.length);
    const text = (some) => `${figure(figures[some[0]])} to ${figure(figures[some.at(-1)])}`;
    const color = (step) => `hsl(${210 - (190 * step) / (STEPS - 1)} 65% 48%)`;
    return parts.map((some, step) => ({ text: text(some), rows: some, color: color(step) }));
  }

  /** Draws once, when the browser is about to show. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => [(this.waiting = false), this.show()]);
  }

  show() {
    const { canvas, known, view } = this;
    const [wide, high, sharp] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio || 1];
    if (!wide || !this.groups) return;
    [canvas.width, canvas.height] = [wide * sharp, high * sharp];
    view.scale ||= 0.92 * Math.min(wide / this.span[0], high / this.span[1]);
    const pen = canvas.getContext("2d");
    pen.scale(sharp, sharp);
    const size = Math.max(2, Math.min(7, 900 / Math.sqrt(this.rows.length) / 6 + 1));
    const shown = new Uint8Array(known.ids.length);
    for (const row of this.gallery.found) shown[row] = 1;
    const dots = (rows, wanted) => {
      for (const row of rows) {
        if (shown[row] !== wanted) continue;
        const [left, top] = [(known.x[row] - view.x) * view.scale + wide / 2, (view.y - known.y[row]) * view.scale + high / 2];
        if (left > -size && top > -size && left < wide && top < high) pen.fillRect(left - size / 2, top - size / 2, size, size);
      }
    };
    pen.globalAlpha = 0.28;
    pen.fillStyle = OTHERS;
    dots(this.rows, 0);
    pen.globalAlpha = 0.85;
    for (const { color, rows } of this.groups) [(pen.fillStyle = color), dots(rows, 1)];
    pen.globalAlpha = 1;
    pen.strokeStyle = getComputedStyle(canvas).color;
    if (this.path.length) pen.stroke(this.outline());
  }

  outline() {
    const line = new Path2D();
    for (const [left, top] of this.path) line.lineTo(left, top);
    line.closePath();
    return line;
  }

  /** From the canvas to the map. */
  at([left, top]) {
    const { canvas, view } = this;
    return [(left - canvas.clientWidth / 2) / view.scale + view.x, view.y - (top - canvas.clientHeight / 2) / view.scale];
  }

  begin(event) {
    if (event.button) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.start = [event.offsetX, event.offsetY];
    this.path = this.tool === "move" ? [] : [this.start];
    this.tip.hidden = true;
  }

  follow({ offsetX, offsetY, movementX, movementY }) {
    const here = [offsetX, offsetY];
    if (!this.start) return this.hover(here);
    const [[left, top], { view }] = [this.start, this];
    if (this.tool === "move") [(view.x -= movementX / view.scale), (view.y += movementY / view.scale)];
    if (this.tool === "lasso") this.path.push(here);
    if (this.tool === "box") this.path = [this.start, [offsetX, top], here, [left, offsetY]];
    this.draw();
  }

  end({ offsetX, offsetY }) {
    if (!this.start) return;
    const still = Math.hypot(offsetX - this.start[0], offsetY - this.start[1]) < 4 && this.path.length < 4;
    const shape = this.path.map((corner) => this.at(corner));
    Object.assign(this, { start: null, path: [] });
    if (still) return this.open(this.nearest([offsetX, offsetY]));
    if (shape.length > 2) this.gallery.select(this.within(shape));
    this.draw();
  }

  leave() {
    this.tip.hidden = true;
  }

  /** Rows whose points lie within a closed line; its corners as two arrays, which are read for every row. */
  within(shape) {
    const { x, y } = this.known;
    const [across, up] = [0, 1].map((axis) => Float64Array.from(shape, (corner) => corner[axis]));
    const [west, east, south, north] = [across, up].flatMap((ends) => [Math.min(...ends), Math.max(...ends)]);
    const inside = (row) => {
      const [left, top] = [x[row], y[row]];
      if (left < west || left > east || top < south || top > north) return false;
      let odd = false;
      for (let one = 0, other = up.length - 1; one < up.length; other = one++) {
        const slope = (across[other] - across[one]) / (up[other] - up[one]);
        if (up[one] > top !== up[other] > top && left < slope * (top - up[one]) + across[one]) odd = !odd;
      }
      return odd;
    };
    return this.rows.filter(inside);
  }

  /** The row whose point is nearest, −1 where none is near. */
  nearest(here) {
    const [left, top] = this.at(here);
    const { x, y } = this.known;
    let [best, least] = [-1, (NEAR / this.view.scale) ** 2];
    for (const row of this.rows) {
      const far = (x[row] - left) ** 2 + (y[row] - top) ** 2;
      if (far < least) [best, least] = [row, far];
    }
    return best;
  }

  hover(here) {
    const row = this.nearest(here);
    this.tip.hidden = row < 0;
    if (row < 0 || row === this.hovered) return this.beside(here);
    this.hovered = row;
    const words = make("span", { class: "figures" }, `score ${figure(this.known.score[row])}`);
    this.tip.replaceChildren(picture(this.known, row, ""), make("span", { class: "labels" }, ...labels(this.known, row)), words);
    this.beside(here);
  }

  beside([left, top]) {
    const turn = left > this.canvas.clientWidth / 2;
    this.tip.style.cssText = `top:${top}px;${turn ? "right" : "left"}:${(turn ? this.canvas.clientWidth - left : left) + 14}px`;
  }

  open(row) {
    if (row < 0) return;
    if (!this.gallery.found.includes(row)) this.gallery.show("all");
    this.gallery.choose(row);
  }

  zoom(event) {
    if (!event.ctrlKey && this.tool !== "move") return; // the page scrolls
    event.preventDefault();
    const { view, canvas } = this;
    const [left, top] = this.at([event.offsetX, event.offsetY]);
    view.scale *= Math.exp(-event.deltaY / 400);
    view.x = left - (event.offsetX - canvas.clientWidth / 2) / view.scale;
    view.y = top + (event.offsetY - canvas.clientHeight / 2) / view.scale;
    this.draw();
  }
}
