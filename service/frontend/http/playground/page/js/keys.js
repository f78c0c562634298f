// The API key: asked for when the server wants one, and kept in this module's memory only.

import { $ } from "./dom.js";
import { t } from "./i18n.js";

let key = "";
let asking = null;

/** The headers that show who calls. */
export const keyHeaders = () => (key ? { authorization: `Bearer ${key}` } : {});
export const hasKey = () => key !== "";

/** Asks for a key; true once there is a new one. All who ask at a time share one dialog. */
export function askForKey(used) {
  if (key && used !== key) return Promise.resolve(true); // another call has got a new one meanwhile
  asking ??= show().finally(() => {
    asking = null;
  });
  return asking;
}
export const currentKey = () => key;

function show() {
  const dialog = $("key-dialog");
  const input = $("key");
  $("key-wrong").textContent = key ? t("key.wrong") : "";
  key = "";
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    dialog.addEventListener(
      "close",
      () => {
        const given = dialog.returnValue === "use" ? input.value.trim() : "";
        input.value = "";
        // Header values hold printable ASCII only: anything else cannot be a key.
        key = /^[\x21-\x7e]+$/.test(given) ? given : "";
        resolve(key !== "");
      },
      { once: true },
    );
  });
}

/** Once, at the start. */
export function watchKeyDialog() {
  $("key-later").addEventListener("click", () => $("key-dialog").close(""));
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    $("key-dialog").close("use");
  });
}
