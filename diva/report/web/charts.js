// Charts: the library is unpacked when the first of them comes near; colours are the page's own, light or dark.
import { unpack, make, idle } from "./data.js";

const PAPER = 640; // pixels of a chart on paper

let library;

/** Runs the chart library, once. The page's policy knows its hash. */
async function load() {
  const text = await unpack("library");
  document.head.append(Object.assign(document.createElement("script"), { textContent: text }));
  return window.Plotly;
}

const probe = document.createElement("span");

/** The page's colours in place of their names, wherever they stand in a figure. */
function colored(value) {
  if (typeof value === "string" && /^var\(--\w+\)$/.test(value)) {
    if (!probe.isConnected) document.body.append(Object.assign(probe, { hidden: true }));
    probe.style.color = value;
    return getComputedStyle(probe).color;
  }
  if (Array.isArray(value)) return value.map(colored);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, colored(one)]));
}

/** A figure with what all figures have in common. */
function dressed({ data, layout }) {
  const lines = Object.fromEntries(["grid", "zeroline", "line", "tick"].map((part) => [`${part}color`, "var(--line)"]));
  const axes = Object.entries(layout).filter(([key]) => /^[xy]axis/.test(key));
  const axis = ([key, own]) => [key, { ...lines, automargin: true, fixedrange: true, ...own, title: { standoff: 8, ...own.title } }];
  const common = {
    font: { family: getComputedStyle(document.body).fontFamily, size: innerWidth < 640 ? 11 : 12, color: "var(--soft)" },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 12, t: 8, b: 40 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" } },
    dragmode: false,
  };
  return colored({ data, layout: { ...layout, ...Object.fromEntries(axes.map(axis)), ...common } });
}

/** Draws each chart when it comes near; returns what draws them anew in other colours. */
export function charts(known) {
  const drawn = new Set();
  let turn = Promise.resolve(); // one chart at a time, so that whoever uses the page meanwhile hardly waits
  const draw = (place) => (turn = turn.then(idle, idle).then(() => paint(place)));
  const paint = async (place) => {
    const plotly = await (library ??= load());
    const { data, layout } = dressed(known.charts[place.dataset.chart]);
    await plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    drawn.add(place);
    place.dataset.drawn = "";
  };
  const come = (entries) => {
    for (const { target } of entries.filter((one) => one.isIntersecting)) {
      near.unobserve(target);
      draw(target);
    }
  };
  const near = new IntersectionObserver(come, { rootMargin: "300px" });
  for (const place of document.querySelectorAll("[data-chart]")) near.observe(place);
  for (const details of document.querySelectorAll("[data-figures]")) {
    const open = () => details.append(table(known.charts[details.dataset.figures]));
    details.addEventListener("toggle", open, { once: true });
  }
  const resized = (layout) => () => drawn.forEach((place) => window.Plotly.relayout(place, layout));
  addEventListener("beforeprint", resized({ width: PAPER }));
  addEventListener("afterprint", resized({ width: null, autosize: true }));
  const again = () => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  return again;
}

/** The figures of a chart as a table, for those who would rather read them. */
function table({ data }) {
  const plain = (text) => String(text ?? "").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  const cell = (value) => make("td", {}, typeof value === "number" ? String(Number(value.toPrecision(4))) : plain(value));
  const traces = data.filter((one) => one.hoverinfo !== "skip");
  const cells = ({ x, y, z }) => z.flatMap((line, row) => line.map((value, column) => [y[row], x[column], value]));
  const list = ({ name, x, y }) => x.map((value, place) => [name, value, y[place]]);
  const rows = traces.flatMap((one) => (one.z ? cells(one).filter(([, , value]) => value) : list(one)));
  const body = rows.map((row) => make("tr", {}, ...row.map(cell)));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Figures" }, make("table", {}, ...body));
}
