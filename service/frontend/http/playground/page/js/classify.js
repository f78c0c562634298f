// Zero-shot classification: one picture, labels of one's own, a bar for each.

import { call } from "./api.js";
import { $, h, place, say, settled, tabKeys } from "./dom.js";
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

/** What stands for each picture, by its id. */
const radios = new Map();
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
  on("language", () => radios.clear());
  on("pictures tab language", settled(drawChoices, 60));
  on("language pictures", settled(suggest, 80));
  on("link", () => {
    owned = true;
    fill();
  });
  on("weights", () => draw([]));
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
  radios.get(id)?.focus();
  run();
}

/** The picture that is classified: the chosen one, or the newest of the user's own. */
export function chosenPicture() {
  if (!find(state.pictureId)) chosenByHand = false;
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
  const shown = choices(chosen).map((picture) => {
    if (!radios.has(picture.id)) radios.set(picture.id, newRadio(picture));
    const made = radios.get(picture.id);
    made.setAttribute("aria-checked", String(picture === chosen));
    made.tabIndex = picture === chosen ? 0 : -1;
    return made;
  });
  place($("classify-pictures"), shown, radios.get(chosen?.id));
  for (const id of radios.keys()) if (!find(id)) radios.delete(id);
}

function newRadio(picture) {
  return h("button", { type: "button", role: "radio", "data-id": picture.id, "aria-label": nameOf(picture), title: nameOf(picture), onclick: () => choose(picture.id) }, drawing(picture));
}

async function run() {
  if (state.tab !== "classify") return solved("classify");
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const most = limits().max_labels;
  const labels = lines(state.labels).slice(0, most);
  const picture = chosenPicture();
  if (!labels.length || !picture) {
    draw(picture ? [h("li", { class: "muted" }, t("classify.need"))] : [], picture ? t("classify.need") : "");
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
    const cut = lines(state.labels).length > most ? [h("li", { class: "muted" }, t("compare.most", { n: most }))] : [];
    draw([...found.map(bar), ...cut], `${found[0].label}: ${percent(found[0].probability)}`);
    solved("classify");
    setResult("classify", { picture: picture.name, language: state.labelsLanguage, revision: answer.revision, labels: found });
  } catch (error) {
    if (signal.aborted || error.kind === "stopped") return;
    draw([]);
    setResult("classify", null);
    show(error, "classify");
  }
}

/** said: to a screen reader, which would read a hundred bars after each key. */
function draw(bars, said = "") {
  $("bars").replaceChildren(...bars);
  say("bars-said", said);
}

function bar({ label, probability }) {
  const length = h("span", { class: "bar" });
  length.style.inlineSize = `${100 * probability}%`;
  return h("li", {}, h("bdi", { class: "label", title: label }, label), h("span", { class: "track" }, length), h("span", { class: "value" }, percent(probability)));
}
