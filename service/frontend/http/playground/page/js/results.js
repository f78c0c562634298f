// The last result of each tab, for the download.

import { $, h } from "./dom.js";
import { t } from "./i18n.js";
import { limits } from "./model.js";
import { state } from "./state.js";

const results = new Map();

/** result: plain values, or null where there is none any more. */
export function setResult(tab, result) {
  results.set(tab, result);
}

/** Other weights answer now: nothing that was found before is theirs. */
export const forgetResults = () => results.clear();

/** Saves what the tab shows as a JSON file. */
export function download() {
  const result = results.get(state.tab);
  if (!result) {
    $("said").textContent = t("json.nothing");
    return;
  }
  const { name, revision, dimension } = limits();
  const whole = { tab: state.tab, model: name, revision, dimension, ...result };
  const url = URL.createObjectURL(new Blob([JSON.stringify(whole, null, 1)], { type: "application/json" }));
  const link = h("a", { href: url, download: `altclip-${state.tab}.json` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
  $("said").textContent = "";
}
