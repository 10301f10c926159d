// Charts: the library is unpacked when the first of them comes near; colours are the page's own, light or dark.
import { unpack, make } from "./data.js";

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
  if (typeof value === "string") return value.replace(/^var\(--\w+\)$/, resolved);
  if (Array.isArray(value)) return value.map(colored);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, colored(one)]));
}

function resolved(variable) {
  if (!probe.isConnected) document.body.append(Object.assign(probe, { hidden: true }));
  probe.style.color = variable;
  return getComputedStyle(probe).color;
}

/** What all figures have in common. */
function dressed(figure, narrow) {
  const axis = (own = {}) => ({ gridcolor: "var(--line)", zerolinecolor: "var(--line)", linecolor: "var(--line)", tickcolor: "var(--line)", automargin: true, fixedrange: true, ...own });
  const layout = { ...figure.layout };
  for (const key of Object.keys(layout)) if (/^[xy]axis/.test(key)) layout[key] = axis({ ...layout[key], title: { standoff: 8, ...layout[key].title } });
  Object.assign(layout, {
    font: { family: getComputedStyle(document.body).fontFamily, size: narrow ? 11 : 12, color: "var(--soft)" },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 44, r: 12, t: 8, b: 40 },
    legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" } },
    dragmode: false,
  });
  return colored({ data: figure.data, layout });
}

/** Draws each chart when it comes near, and all of them anew when the colours change. */
export function charts(known) {
  const drawn = new Set();
  const draw = async (place) => {
    library ??= load();
    const plotly = await library;
    const { data, layout } = dressed(known.charts[place.dataset.chart], innerWidth < 640);
    await plotly.react(place, data, layout, { displayModeBar: false, responsive: true });
    drawn.add(place);
    place.dataset.drawn = "";
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries.filter((one) => one.isIntersecting)) {
        near.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "300px" },
  );
  for (const place of document.querySelectorAll("[data-chart]")) near.observe(place);
  for (const details of document.querySelectorAll("[data-figures]")) {
    details.addEventListener("toggle", () => details.childElementCount < 2 && details.append(table(known.charts[details.dataset.figures])), { once: true });
  }
  const again = () => drawn.forEach(draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  return again;
}

/** The figures of a chart as a table, for those who would rather read them. */
function table({ data }) {
  const body = make("tbody");
  for (const trace of data.filter((one) => one.hoverinfo !== "skip")) {
    trace.x.forEach((x, place) => {
      const cells = [trace.name ?? "", x, trace.y[place]].map((cell) => make("td", {}, typeof cell === "number" ? String(Number(cell.toPrecision(4))) : plain(cell)));
      body.append(make("tr", {}, ...cells));
    });
  }
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Figures" }, make("table", {}, body));
}

/** A name as it was before it was written for the library. */
function plain(text) {
  return String(text ?? "").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
}
