// What went wrong and what to do about it, above everything else. One message of each kind at a time.

import { $, h, place } from "./dom.js";
import { t } from "./i18n.js";
import { enterKey } from "./keys.js";
import { limits } from "./model.js";

/** What fails now, in the order in which it failed: by what it is about, {kind, sentence, element}. */
const failing = new Map();
let again = () => {};

/** What "Try again" does. */
export function onTryAgain(run) {
  again = run;
}

/**
 * Shows an error of a call, unless nobody wants the answer any more. It stays until what it is about is `solved`.
 *
 * about: "server", "pictures", or a tab; "page" for what nobody solves.
 */
export function show(error, about = "page") {
  if (error?.kind === "stopped") return;
  const kind = error?.kind ?? "page";
  const sentence = words(error, kind);
  const known = [...failing.values()].find((each) => each.kind === kind && each.sentence === sentence);
  failing.delete(about);
  failing.set(about, known ?? { kind, sentence, element: message(kind, sentence) });
  draw();
}

/** Takes away what is shown about this: it works again, or nobody wants it any more. */
export function solved(about) {
  if (failing.delete(about)) draw();
}

function hide(kind) {
  for (const [about, each] of [...failing]) if (each.kind === kind) failing.delete(about);
  draw();
}

function draw() {
  const latest = new Map([...failing.values()].map((each) => [each.kind, each.element]));
  place($("alerts"), [...latest.values()], latest.size ? null : $("main"));
}

function message(kind, sentence) {
  const buttons = [];
  if (kind === "key") buttons.push(button("error.enterKey", giveKey));
  else if (kind !== "page" && kind !== "refused") buttons.push(button("error.again", () => again()));
  const close = h("button", { type: "button", class: "quiet", onclick: () => hide(kind) }, t("add.dismiss"));
  return h("div", { class: `alert ${kind}` }, h("p", {}, sentence), ...buttons, close);
}

function words(error, kind) {
  if (error?.code === "zero_sum") return t("search.zero");
  if (kind === "refused" && error.status === 413) return t("error.large");
  if (kind === "refused" && error.code === "text_too_long") return t("error.long", { n: Math.floor(limits().max_text_bytes / 1000) });
  if (kind === "page") return t("error.page", { message: String(error?.message ?? error) });
  return t(`error.${kind}`, { message: error.message, id: error.requestId });
}

function button(key, run) {
  return h("button", { type: "button", class: "main", onclick: run }, t(key));
}

async function giveKey() {
  if (!(await enterKey())) return;
  hide("key");
  again();
}
