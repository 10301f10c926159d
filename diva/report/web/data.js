// What the page carries: samples as columns, thumbnails, and how to show them. Names become text, never markup.

/** The text of a compressed block of the page. */
export async function unpack(id) {
  const text = atob(document.getElementById(id).textContent);
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

/** Samples as the report wrote them; figures as typed arrays, NaN where there is none. */
export async function samples() {
  const known = JSON.parse(await unpack("known"));
  known.size = known.ids.length;
  for (const name of ["score", "margin", "derivative", "weight"]) known[name] = figures(known[name]);
  for (const other of Object.values(known.others)) other.score = figures(other.score);
  known.row = new Map(known.ids.map((id, row) => [id, row]));
  return known;
}

function figures(values) {
  return Float64Array.from(values, (value) => (value === null ? NaN : value));
}

let images; // row → base64, read once it is asked for

/** The thumbnail of a row as an address, or null where the page carries none. */
export function thumbnail(row) {
  if (!images) {
    images = new Map();
    for (const line of document.getElementById("thumbnails").textContent.split("\n")) {
      const space = line.indexOf(" ");
      if (space > 0) images.set(Number(line.slice(0, space)), line.slice(space + 1));
    }
  }
  const found = images.get(row);
  return found ? `data:image/${found.startsWith("iVBOR") ? "png" : "webp"};base64,${found}` : null;
}

/** Where a sample's file lies, seen from this page; null where it lies outside the data. */
export function address(known, row) {
  if (!known.linked[row]) return null;
  const path = known.paths[row];
  const safe = path.split("/").map(encodeURIComponent).join("/");
  return path.startsWith("/") ? `file://${safe}` : `../../${safe}`;
}

/** An element with attributes and children; strings become text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child || child === 0));
  return element;
}

/** A name that somebody gave: its own direction of writing must not turn its neighbours around. */
export function name(text) {
  return make("bdi", {}, text);
}

/** The picture of a sample: its thumbnail, else its file, else its path as text. */
export function picture(known, row, alt) {
  const small = thumbnail(row);
  const file = small ? null : address(known, row);
  if (!small && !file) return frame(missing(known, row));
  const image = make("img", { src: small ?? file, alt, loading: "lazy", decoding: "async" });
  if (small?.startsWith("data:image/png")) image.className = "pixels";
  image.addEventListener("error", () => image.replaceWith(missing(known, row)), { once: true });
  return frame(image);
}

function frame(inside) {
  return make("span", { class: "frame" }, inside);
}

function missing(known, row) {
  return make("span", { class: "missing" }, name(known.paths[row].split("/").slice(-2).join("/")));
}

/** A label's name; a dash where there is none. */
export function label(known, code) {
  return code >= 0 ? known.labels[code] : "–";
}

/** A figure in few digits; of scores four, for they crowd below 1. */
export function figure(value, digits = 3) {
  if (Number.isNaN(value)) return "–";
  const small = value !== 0 && Math.abs(value) < 0.001;
  return (small ? value.toExponential(1) : String(Number(value.toPrecision(digits)))).replace("-", "−");
}

export const count = new Intl.NumberFormat("en").format;
