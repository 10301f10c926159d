// What the page carries: samples as columns, thumbnails, and how to show them. Names become text, never markup.

export const [LEFT, TEST, WAITING] = [2, 3, 4]; // status: in the pool, of the test set, of a label; before: member, removed

/** What the head says of the page, undefined where it says nothing. */
export const meta = (key) => document.querySelector(`meta[name="${key}"]`)?.content;

/** What the review server wants to hear; empty where it does not serve the page. */
export const token = (meta("diva-review") && new URLSearchParams(location.search).get("token")) ?? "";

/** What base64 stands for. */
function binary(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return bytes;
}

/** The text of a compressed block of the page. */
export async function unpack(id) {
  const bytes = binary(document.getElementById(id).textContent);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** Samples as the report wrote them; figures as typed arrays, NaN where there is none. */
export async function samples() {
  const known = JSON.parse(await unpack("known"));
  wait(known);
  const figures = (values) => {
    const found = new Float64Array(values.length);
    for (let row = 0; row < found.length; row++) found[row] = values[row] ?? NaN;
    return found;
  };
  for (const name of ["score", "margin", "derivative", "weight", "rank", "x", "y"]) known[name] = figures(known[name]);
  for (const other of Object.values(known.others)) other.score = figures(other.score);
  return known;
}

/** Samples that wait for a label come after all others, as the review server names them: the first to label first. */
function wait(known) {
  const rows = JSON.parse(document.getElementById("waiting")?.textContent ?? "[]");
  const code = (names, text) => (text === null ? -1 : names.indexOf(text) >= 0 ? names.indexOf(text) : names.push(text) - 1);
  known.rank = known.ids.map(() => null);
  rows.forEach((one, rank) => {
    const says = { ids: one.sample_id, paths: one.path, linked: 1, status: WAITING, called: 0, score: one.probability, rank };
    says.suggested = code(known.labels, one.suggested_label);
    says.reason = code(known.reasons, one.reason);
    says.origin = code(known.origins, "pool");
    for (const name of ["label", "given", "true", "batch", "round"]) says[name] = -1;
    for (const name of ["margin", "derivative", "weight", "x", "y"]) says[name] = null;
    for (const [name, value] of Object.entries(says)) known[name].push(value);
    for (const column of [known.captions, known.sounds]) column?.push(null);
    for (const column of known.columns) column.codes.push(-1);
    for (const other of Object.values(known.others)) [other.score.push(null), other.called.push(0)];
  });
}

/** Rows by value times direction, equal ones as they come, those without one last: radix sort, three times 11 bits. */
export function ordered(values, direction) {
  const size = values.length;
  const floats = new Float32Array(size); // four digits survive that
  for (let row = 0; row < size; row++) floats[row] = Number.isNaN(values[row]) ? Infinity : direction * values[row] + 0;
  const keys = new Uint32Array(floats.buffer);
  for (let row = 0; row < size; row++) keys[row] ^= keys[row] >>> 31 ? 0xffffffff : 0x80000000; // as integers that sort alike
  let [rows, next] = [new Uint32Array(size), new Uint32Array(size)];
  for (let row = 0; row < size; row++) rows[row] = row;
  for (const shift of [0, 11, 22]) {
    const ends = new Uint32Array(2049);
    for (let row = 0; row < size; row++) ends[((keys[row] >>> shift) & 2047) + 1]++;
    for (let bin = 1; bin < 2049; bin++) ends[bin] += ends[bin - 1];
    for (const row of rows) next[ends[(keys[row] >>> shift) & 2047]++] = row;
    [rows, next] = [next, rows];
  }
  return rows;
}

/** When nothing else is to be done, or soon. */
export const idle = () => new Promise((free) => (window.requestIdleCallback ?? setTimeout)(free, { timeout: 1000 }));

let images; // row → base64, read once it is asked for

/** The thumbnail of a row as an address, or null where the page carries none. */
function thumbnail(row) {
  images ??= new Map(document.getElementById("thumbnails").textContent.split("\n").map((line) => line.split(" ")));
  const found = images.get(String(row));
  return found ? `data:image/${found.startsWith("iVBOR") ? "png" : "webp"};base64,${found}` : null;
}

/** Where a sample's file lies, seen from this page: on disk, or at the server, whose token stands for the disk's root. */
export const address = (known, row) => (known.linked[row] ? locate(known.paths[row]) : null); // null: outside the data

function locate(file) {
  const path = file.split("/").map(encodeURIComponent).join("/");
  if (!path.startsWith("/")) return `../../${path}`;
  return meta("diva-review") ? `/${token}${path}` : `file://${path}`;
}

/** An element with attributes and children; strings become text, what is empty or false is left out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter(Boolean));
  return element;
}

/** A button, and what it does. */
export function button(attributes, act, ...children) {
  const made = make("button", { type: "button", ...attributes }, ...children);
  made.addEventListener("click", act);
  return made;
}

/** A name that somebody gave: its own direction of writing must not turn its neighbours around. */
export const name = (text) => make("bdi", {}, text);

/** A label's name; a dash where there is none. */
export const label = (known, code) => (code >= 0 ? known.labels[code] : "–");

/** Given → suggested, where they differ. */
export function labels(known, row) {
  const [given, suggested] = [known.given[row], known.suggested[row]];
  const better = make("span", { class: "better" }, name(label(known, suggested)));
  const arrow = make("span", { class: "arrow" }, "→ ");
  return [make("span", {}, name(label(known, given))), ...(suggested >= 0 && suggested !== given ? [arrow, better] : [])];
}

const TABLES = /\.(npz|npy|parquet|h5|hdf5)$/i; // files of ready features: nothing to see in them

/** The picture of a sample: its thumbnail, else its file, else what is said of it, its path or its id as text. */
export function picture(known, row, alt) {
  const small = thumbnail(row);
  const table = TABLES.test(known.paths[row]);
  const source = small ?? (table ? null : address(known, row));
  const words = known.captions?.[row] ?? (table ? known.ids[row] : known.paths[row].split("/").slice(-2).join("/"));
  const missing = () => make("span", { class: "missing" }, name(words));
  if (!source) return make("span", { class: "frame" }, missing());
  const kind = small?.startsWith("data:image/png") ? "pixels" : null;
  const image = make("img", { src: source, alt, class: kind, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(missing()), { once: true });
  return make("span", { class: "frame" }, image);
}

/** What plays a sample's recording, or its path where the browser cannot; null where there is none. */
export function player(known, row) {
  const file = known.sounds?.[row];
  if (!file) return null;
  const sound = make("audio", { src: locate(file), controls: true, preload: "metadata" });
  sound.addEventListener("error", () => sound.replaceWith(name(file)), { once: true });
  return sound;
}

/** A figure in few digits. */
export function figure(value, digits = 3) {
  if (Number.isNaN(value)) return "–";
  const small = value !== 0 && Math.abs(value) < 0.001;
  return (small ? value.toExponential(1) : String(Number(value.toPrecision(digits)))).replace("-", "−");
}

export const count = new Intl.NumberFormat("en").format;
