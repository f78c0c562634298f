// Texts and pictures against each other, as a heat map.

import { embedTexts } from "./api.js";
import { $, h, settled } from "./dom.js";
import { ownFirst, pictures } from "./gallery.js";
import { heatmap } from "./heatmap.js";
import { t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { setResult } from "./results.js";
import { tokenWords } from "./search.js";
import { changed, lines, on, state } from "./state.js";
import { dot, ranked } from "./vectors.js";

const MOST_TEXTS = 24;
const MOST_PICTURES = 16;
const MOST_OWN = 8;
const FIRST = "a cat\n火箭\nguitarra\nпингвин\nイチゴ\nوردة";

let known = [];
let running = null;

/** Once, at the start. */
export function startCompare() {
  state.texts ||= FIRST;
  fill();
  $("texts").addEventListener("input", () => {
    state.texts = $("texts").value;
    changed("typed");
  });
  $("compare-with").addEventListener("change", () => {
    state.show = $("compare-with").value;
    draw();
  });
  on("typed tab", settled(run, 250));
  on("vectors language", settled(draw, 150));
  on("link", fill);
  on("weights", () => {
    known = [];
    $("texts-tokens").replaceChildren();
    $("heatmap").replaceChildren();
  });
}

function fill() {
  $("texts").value = state.texts;
}

/** The texts of the box with their embeddings, as far as they are known. */
export const comparedTexts = () => known;

async function run() {
  if (state.tab !== "compare" && state.tab !== "map") return solved("compare");
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const texts = lines(state.texts).slice(0, MOST_TEXTS);
  try {
    const done = await embedTexts(texts, signal);
    if (signal.aborted) return; // a later one has begun, and may have ended before
    known = done.map((each, at) => ({ ...each, text: texts[at] }));
    solved("compare");
  } catch (error) {
    if (signal.aborted || error.kind === "stopped") return;
    known = [];
    show(error, "compare");
  }
  draw();
  changed("texts");
}

function draw() {
  if (state.tab !== "compare") return;
  const notes = known.map((each) => h("li", { class: each.truncated ? "cut" : "" }, h("bdi", {}, each.text.slice(0, 40)), ` · ${tokenWords(each)}`));
  if (lines(state.texts).length > MOST_TEXTS) notes.push(h("li", {}, t("compare.most", { n: MOST_TEXTS })));
  $("texts-tokens").replaceChildren(...notes);
  const chosen = chosenPictures().map((picture) => ({ picture, vector: picture.vector }));
  const [rows, columns] = { tp: [known, chosen], tt: [known, known], pp: [chosen, chosen] }[state.show];
  const usable = rows.length && columns.length && rows[0].vector.length === columns[0].vector.length;
  $("heatmap").replaceChildren(...(usable ? [heatmap(rows, columns, t("compare.label"))] : []));
  setResult("compare", usable ? { rows: rows.map(label), columns: columns.map(label), cosines: rows.map((row) => columns.map((column) => dot(row.vector, column.vector))) } : null);
}

const label = ({ text, picture }) => (picture ? { picture: picture.name } : { text });

/** The user's own, and for each text the picture that it finds first. */
export function chosenPictures() {
  const own = ownFirst().filter((picture) => picture.own && picture.vector).slice(-MOST_OWN);
  const best = known.map((each) => ranked(each.vector, pictures)[0]?.picture).filter(Boolean);
  const chosen = new Set([...own, ...best]);
  for (const picture of pictures) if (chosen.size < 8 && picture.vector) chosen.add(picture);
  return [...chosen].slice(0, MOST_PICTURES);
}
