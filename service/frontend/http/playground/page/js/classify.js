// Zero-shot classification: one picture, labels of one's own, a bar for each.

import { call } from "./api.js";
import { $, h, settled, tabKeys } from "./dom.js";
import { dataUri } from "./files.js";
import { blobOf, find, nameOf, pictures } from "./gallery.js";
import { LANGUAGES, currentLanguage, percent, t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { limits, modelField } from "./model.js";
import { setResult } from "./results.js";
import { drawing } from "./search.js";
import { changed, lines, on, state } from "./state.js";

const FIRST = ["cat", "dog", "tiger", "lion", "giraffe", "butterfly"];
const MOST_SHOWN = 120;

let running = null;
let owned = false;
let chosenByHand = false;

/** Once, at the start. */
export function startClassify() {
  owned = state.labels !== "";
  $("labels-language").replaceChildren(...Object.entries(LANGUAGES).map(([tag, name]) => h("option", { value: tag, lang: tag }, name)));
  fill();
  $("labels").addEventListener("input", () => {
    owned = true;
    state.labels = $("labels").value;
    changed("typed");
  });
  $("labels-language").addEventListener("change", () => {
    owned = true;
    state.labelsLanguage = $("labels-language").value;
    changed("typed");
  });
  tabKeys($("classify-pictures"), (radio) => choose(radio.dataset.id));
  on("typed tab server", settled(run, 250));
  on("pictures tab language", settled(drawChoices, 60));
  on("language pictures", settled(suggest, 80));
  on("link", () => {
    owned = true;
    fill();
  });
}

function fill() {
  $("labels").value = state.labels;
  $("labels-language").value = state.labelsLanguage;
}

/** Labels to begin with, in the language of the page, until somebody typed others. */
function suggest() {
  if (owned) return;
  const names = FIRST.map((concept) => find(`bundled:${concept}`)).filter(Boolean).map(nameOf);
  if (!names.length) return;
  state.labels = names.join("\n");
  state.labelsLanguage = currentLanguage();
  fill();
  if (state.tab === "classify") run();
}

function choose(id) {
  chosenByHand = true;
  state.pictureId = id;
  drawChoices();
  $("classify-pictures").querySelector("[aria-checked=true]")?.focus();
  run();
}

/** The picture that is classified: the chosen one, or the newest of the user's own. */
export function chosenPicture() {
  const own = pictures.filter((picture) => picture.own);
  if (!chosenByHand && own.length) return own.at(-1);
  return find(state.pictureId) ?? find("bundled:tiger") ?? pictures[0];
}

/** The newest of the user's own first; the chosen one is always among them. */
function choices(chosen) {
  const all = [...pictures.filter((picture) => picture.own).reverse(), ...pictures.filter((picture) => !picture.own)];
  const shown = all.slice(0, MOST_SHOWN);
  if (chosen && !shown.includes(chosen)) shown.push(chosen);
  return shown;
}

function drawChoices() {
  if (state.tab !== "classify") return;
  const chosen = chosenPicture();
  if (chosen && chosen.id !== state.pictureId) {
    state.pictureId = chosen.id;
    run();
  }
  const choice = (picture) =>
    h("button", { type: "button", role: "radio", "aria-checked": String(picture === chosen), tabindex: picture === chosen ? "0" : "-1", "data-id": picture.id, "aria-label": nameOf(picture), title: nameOf(picture), onclick: () => choose(picture.id) }, drawing(picture));
  const focused = $("classify-pictures").contains(document.activeElement);
  $("classify-pictures").replaceChildren(...choices(chosen).map(choice));
  if (focused) $("classify-pictures").querySelector("[aria-checked=true]")?.focus();
}

async function run() {
  if (state.tab !== "classify") return solved("classify");
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const labels = lines(state.labels).slice(0, limits().max_labels);
  const picture = chosenPicture();
  if (!labels.length || !picture) {
    $("bars").replaceChildren(...(picture ? [h("li", { class: "muted" }, t("classify.need"))] : []));
    setResult("classify", null);
    solved("classify");
    return;
  }
  try {
    const image = await dataUri(await blobOf(picture));
    const body = { images: [image], labels, language: state.labelsLanguage, orientation: "upright", ...modelField() };
    const answer = await call("v1/classify", { body, signal });
    if (signal.aborted) return;
    const found = [...answer.results[0].labels].sort((a, b) => b.probability - a.probability);
    $("bars").replaceChildren(...found.map(bar));
    solved("classify");
    setResult("classify", { picture: picture.name, language: state.labelsLanguage, revision: answer.revision, labels: found });
  } catch (error) {
    if (signal.aborted || error.kind === "stopped") return;
    $("bars").replaceChildren();
    setResult("classify", null);
    show(error, "classify");
  }
}

function bar({ label, probability }) {
  const length = h("span", { class: "bar" });
  length.style.inlineSize = `${100 * probability}%`;
  return h("li", {}, h("bdi", { class: "label", title: label }, label), h("span", { class: "track" }, length), h("span", { class: "value" }, percent(probability)));
}
