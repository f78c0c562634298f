// The panel with the request of the shown tab as code.

import { chosenPictures, comparedTexts } from "./compare.js";
import { chosenPicture } from "./classify.js";
import { $, address, copy, h, settled, tabKeys } from "./dom.js";
import { find, pictures } from "./gallery.js";
import { t } from "./i18n.js";
import { limits, modelField, serverFacts } from "./model.js";
import { bestPictures } from "./search.js";
import { snippets } from "./snippets.js";
import { lines, on, state } from "./state.js";
import { nineWords } from "./words.js";

const LANGUAGES = ["Python", "curl", "grpcurl", "JavaScript"];
const CANDIDATES = 5;

let shown = "Python";

/** Once, at the start. */
export function startCode() {
  const tabs = LANGUAGES.map((name) => h("button", { type: "button", role: "tab", id: `code-${name}`, "aria-controls": "code-panel", onclick: () => choose(name) }, name));
  $("code-tabs").replaceChildren(...tabs);
  tabKeys($("code-tabs"), (tab) => choose(tab.textContent));
  $("code").addEventListener("toggle", draw);
  $("copy-code").addEventListener("click", async () => {
    $("said").textContent = t((await copy($("code-text").textContent)) ? "code.copied" : "code.failed");
  });
  on("typed tab vectors language server texts", settled(draw, 300));
  choose(shown);
}

function choose(name) {
  shown = name;
  for (const each of LANGUAGES) {
    $(`code-${each}`).setAttribute("aria-selected", String(each === name));
    $(`code-${each}`).tabIndex = each === name ? 0 : -1;
  }
  $("code-panel").setAttribute("aria-labelledby", `code-${name}`);
  draw();
}

function draw() {
  if (!$("code").open) return;
  const facts = serverFacts();
  const base = address("./");
  const server = { base: base.href, grpc: `${base.hostname}:${facts.grpc_port || 50051}`, key: Boolean(facts.keys), model: modelField().model ?? "" };
  $("code-text").textContent = snippets(description(), server)[shown];
}

function description() {
  const candidates = (best) => (best.length ? best : pictures).slice(0, CANDIDATES).map((picture) => picture.name);
  switch (state.tab) {
    case "compare":
      return { kind: "compare", texts: lines(state.texts), pictures: candidates(comparedTexts().length ? chosenPictures() : []) };
    case "classify":
      return { kind: "classify", pictures: [chosenPicture()?.name ?? "cat.png"], labels: lines(state.labels).slice(0, limits().max_labels), language: state.labelsLanguage };
    case "words":
      return { kind: "words", texts: nineWords().map((word) => word.text).filter(Boolean) };
    case "map":
      return { kind: "words", texts: lines(state.texts) };
    default: {
      const parts = state.parts
        .filter((part) => part.picture || part.text)
        .map((part) => ({ weight: part.weight, ...(part.picture ? { picture: find(part.picture)?.name ?? "picture.png" } : { text: part.text }) }));
      return { kind: "search", parts: parts.length ? parts : [{ text: "cat", weight: 1 }], pictures: candidates(bestPictures()) };
    }
  }
}
