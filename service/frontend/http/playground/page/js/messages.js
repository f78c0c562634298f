// What went wrong and what to do about it, above everything else. One message of each kind at a time.

import { $, h } from "./dom.js";
import { t } from "./i18n.js";
import { askForKey, currentKey } from "./keys.js";
import { limits } from "./model.js";

const shown = new Map();
let again = () => {};

/** What "Try again" does. */
export function onTryAgain(run) {
  again = run;
}

/** Shows an error of a call, unless nobody wants the answer any more. */
export function show(error) {
  if (error?.kind === "stopped") return;
  const kind = error?.kind ?? "page";
  const sentence = words(error, kind);
  const known = shown.get(kind);
  if (known?.sentence === sentence) return;
  known?.element.remove();
  const buttons = [];
  if (kind === "key") buttons.push(button("error.enterKey", enterKey));
  else if (kind !== "page" && kind !== "refused") buttons.push(button("error.again", () => again()));
  const hide = h("button", { type: "button", class: "quiet", onclick: () => clear(kind) }, t("add.dismiss"));
  const element = h("div", { class: `alert ${kind}` }, h("p", {}, sentence), ...buttons, hide);
  shown.set(kind, { element, sentence });
  $("alerts").append(element);
}

/** Takes messages away that are no longer true; all of them without a kind. */
export function clear(...kinds) {
  for (const kind of kinds.length ? kinds : [...shown.keys()]) {
    shown.get(kind)?.element.remove();
    shown.delete(kind);
  }
}

function words(error, kind) {
  if (kind === "refused" && error.status === 413) return t("error.large");
  if (kind === "refused" && error.code === "text_too_long") return t("error.long", { n: Math.floor(limits().max_text_bytes / 1000) });
  if (kind === "page") return t("error.page", { message: String(error?.message ?? error) });
  return t(`error.${kind}`, { message: error.message, id: error.requestId });
}

function button(key, run) {
  return h("button", { type: "button", class: "main", onclick: run }, t(key));
}

async function enterKey() {
  if (await askForKey(currentKey())) {
    clear("key");
    again();
  }
}
