// Ten at a time: samples with one suggested label, beside a counter-check, which nobody should relabel.
import { make, name, label, picture, ordered } from "./data.js";

const TEN = 10;
const passed = new Set(); // unticked: they stay for the reader to look at one by one

/** The next undecided samples of the gallery that share the first one's suggestion, the likeliest first. */
function next(known, decisions, gallery) {
  const open = (row) => known.suggested[row] >= 0 && known.suggested[row] !== known.given[row] && !decisions.of(row) && !passed.has(row);
  const rows = Array.from(gallery.found.filter(open));
  return rows.filter((row) => known.suggested[row] === known.suggested[rows[0]]).slice(0, TEN);
}

/** A member that no score doubts, of another label than the suggested; undefined where there is none. */
function check(known, suggested) {
  const sure = (row) => known.status[row] === 0 && !known.called[row] && known.given[row] !== suggested && known.suggested[row] !== suggested;
  return ordered(known.score, 1).find(sure);
}

/** The dialog: those that stay ticked are relabelled as suggested, unless the counter-check is among them. */
export function tens(known, decisions, gallery) {
  const [dialog, opener, list, said, title] = ["tens", "tens-open", "tens-list", "tens-said", "tens-title"].map((id) => document.getElementById(id));
  let [rows, extra] = [[], undefined];
  const entry = (row) => {
    const box = make("input", { type: "checkbox", value: row, checked: true });
    return make("li", {}, make("label", {}, picture(known, row, ""), make("span", {}, box, " ", name(label(known, known.given[row])))));
  };
  const show = () => {
    rows = next(known, decisions, gallery);
    if (!rows.length) return dialog.close();
    const suggested = known.suggested[rows[0]];
    extra = check(known, suggested);
    const mixed = rows.toSpliced(rows[0] % (rows.length + 1), 0, ...(extra === undefined ? [] : [extra]));
    title.replaceChildren("Are all of them ", name(label(known, suggested)), "?");
    list.replaceChildren(...mixed.map(entry));
    said.textContent = "Untick what is not. One that is certainly not is among them, to check.";
  };
  opener.addEventListener("click", () => [dialog.showModal(), show()]);
  dialog.querySelector("form").addEventListener("submit", (event) => {
    if (event.submitter.value !== "take") return;
    event.preventDefault();
    const ticked = [...list.querySelectorAll("input:checked")].map((box) => Number(box.value));
    if (ticked.includes(extra)) return (said.textContent = "The counter-check is still ticked, so nothing was taken: look again.");
    for (const row of ticked) decisions.decide(row, "relabel", label(known, known.suggested[row]), "ten at a time");
    for (const row of rows.filter((one) => !ticked.includes(one))) passed.add(row);
    show();
  });
}
