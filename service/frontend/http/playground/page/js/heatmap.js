// A matrix of cosines as a table: read by people as colours, by screen readers as numbers.

import { h } from "./dom.js";
import { nameOf } from "./gallery.js";
import { format } from "./i18n.js";
import { drawing } from "./search.js";
import { dot } from "./vectors.js";

/** The cosines of every row with every column. Both are lists of {vector}. */
export const cosines = (rows, columns) => rows.map((row) => columns.map((column) => dot(row.vector, column.vector)));

/** A table. rows, columns: {vector, text} or {vector, picture}. The best of each row is marked. */
export function heatmap(rows, columns, caption) {
  const scores = cosines(rows, columns);
  const all = scores.flat();
  const low = Math.min(...all);
  const span = Math.max(...all) - low || 1;
  const head = h("tr", {}, h("td"), ...columns.map((column) => h("th", { scope: "col" }, heading(column))));
  const body = scores.map((line, at) => {
    const best = Math.max(...line.filter((_, column) => columns[column] !== rows[at]));
    return h("tr", {}, h("th", { scope: "row" }, heading(rows[at])), ...line.map((score) => cell(score, (score - low) / span, score === best)));
  });
  return h("table", { class: "heat" }, h("caption", { class: "hidden" }, caption), h("thead", {}, head), h("tbody", {}, ...body));
}

function cell(score, heat, top) {
  const made = h("td", { class: `${heat > 0.6 ? "hot" : ""}${top ? " best" : ""}` }, format(score, 2));
  made.style.setProperty("--heat", `${Math.round(heat > 0.6 ? 70 + 30 * heat : 75 * heat)}%`);
  return made;
}

function heading({ text, picture }) {
  if (picture) return h("span", { title: nameOf(picture) }, drawing(picture, nameOf(picture)));
  return h("bdi", { title: text }, text);
}
