// One word in nine languages: how near the nine lie together, and which pictures each finds.

import { embedTexts } from "./api.js";
import { $, fillSelect, h, say, settled } from "./dom.js";
import { nameOf, pictures } from "./gallery.js";
import { heatmap } from "./heatmap.js";
import { currentLanguage, format, LANGUAGES, t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { setResult } from "./results.js";
import { drawing } from "./search.js";
import { changed, on, state } from "./state.js";
import { dot, ranked, weighted } from "./vectors.js";

let running = null;
let known = [];
/** The language of the table's head. */
let headed = "";

/** Once, at the start. */
export function startWords() {
  $("concept").addEventListener("change", () => {
    state.concept = $("concept").value;
    state.words = {};
    drawInputs();
    changed("typed");
  });
  on("typed tab", settled(run, 250));
  on("vectors", settled(drawFound, 200));
  on("pictures", settled(drawInputs, 60));
  on("tab language link", drawInputs);
  on("weights", () => {
    known = [];
    drawFound();
  });
}

const bundled = () => pictures.filter((picture) => picture.names);

/** The nine words: what was typed, or the names of the chosen picture. */
export function nineWords() {
  const names = bundled().find((picture) => picture.concept === state.concept)?.names ?? {};
  return Object.keys(LANGUAGES).map((language) => ({ language, text: state.words[language] ?? names[language] ?? "" }));
}

/** The fields stay: somebody may type in one of them. */
function drawInputs() {
  if (state.tab !== "words") return;
  fillSelect($("concept"), bundled().map((picture) => [picture.concept, nameOf(picture)]), state.concept);
  if (headed !== currentLanguage()) drawTable();
  for (const { language, text } of nineWords()) {
    const input = $(`word-${language}`);
    if (input.value !== text) input.value = text;
  }
  drawFound();
}

function drawTable() {
  headed = currentLanguage();
  const head = ["words.language", "words.word", "words.middle", "words.finds"].map((key) => h("th", { scope: "col" }, t(key)));
  const rows = Object.keys(LANGUAGES).map((language) => {
    const input = h("input", { id: `word-${language}`, lang: language, dir: "auto", spellcheck: "false", "aria-labelledby": `name-${language}` });
    input.addEventListener("input", () => {
      state.words[language] = input.value;
      changed("typed");
    });
    return h("tr", {}, h("th", { scope: "row", lang: language, id: `name-${language}` }, LANGUAGES[language]), h("td", {}, input), h("td", { id: `near-${language}` }), h("td", { id: `finds-${language}` }));
  });
  $("nine").replaceChildren(h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
}

async function run() {
  if (state.tab !== "words" && state.tab !== "map") return solved("words");
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const words = nineWords().filter((word) => word.text.trim());
  try {
    const done = await embedTexts(words.map((word) => word.text), signal);
    if (signal.aborted) return; // a later one has begun, and may have ended before
    known = done.map((each, at) => ({ ...each, ...words[at] }));
    solved("words");
  } catch (error) {
    if (signal.aborted || error.kind === "stopped") return;
    known = [];
    show(error, "words");
  }
  drawFound();
  changed("texts");
}

/** The words with their embeddings, as far as they are known. */
export const knownWords = () => known;

function drawFound() {
  if (state.tab !== "words" || !$("near-en")) return;
  for (const language of Object.keys(LANGUAGES)) for (const column of ["near", "finds"]) $(`${column}-${language}`).replaceChildren();
  if (!known.length) {
    $("nine-summary").textContent = "";
    $("nine-heatmap").replaceChildren();
    setResult("words", null);
    return;
  }
  const centre = weighted(known.map((word) => word.vector), known.map(() => 1));
  const firsts = known.map((word) => {
    const near = centre ? dot(centre, word.vector) : 0;
    const length = h("span", { class: "bar" });
    length.style.inlineSize = `${Math.max(0, near) * 100}%`;
    $(`near-${word.language}`).replaceChildren(h("span", { class: "near" }, h("span", { class: "track" }, length), format(near, 2)));
    const found = ranked(word.vector, pictures).slice(0, 3);
    $(`finds-${word.language}`).replaceChildren(h("span", { class: "finds" }, ...found.map(({ picture }) => drawing(picture, nameOf(picture)))));
    return found[0]?.picture;
  });
  const pairs = known.flatMap((a, at) => known.slice(at + 1).map((b) => dot(a.vector, b.vector)));
  const mean = pairs.length ? pairs.reduce((sum, each) => sum + each, 0) / pairs.length : 1;
  const most = Math.max(...firsts.map((first) => firsts.filter((other) => other && other === first).length));
  say("nine-summary", t("words.summary", { mean: format(mean, 2), same: most, all: known.length }));
  $("nine-heatmap").replaceChildren(heatmap(known, known, t("compare.label")));
  setResult("words", { words: known.map(({ language, text, tokens }, at) => ({ language, text, tokens, finds: firsts[at]?.name })), mean_cosine: mean });
}
