// The API key: asked for when the server wants one, and kept in this module's memory only.

import { $ } from "./dom.js";
import { t } from "./i18n.js";

let key = "";
let asking = null;
/** Whether the visitor wants to give no key now. */
let declined = false;

/** The headers that show who calls. */
export const keyHeaders = () => (key ? { authorization: `Bearer ${key}` } : {});
export const hasKey = () => key !== "";

/**
 * Asks for a key; true once there is a new one. All who ask at a time share one dialog. After "Not now" it stays
 * closed until the visitor opens it (`enterKey`).
 */
export function askForKey(used) {
  if (key && used !== key) return Promise.resolve(true); // another call has got a new one meanwhile
  if (declined) return Promise.resolve(false);
  asking ??= show().finally(() => {
    asking = null;
  });
  return asking;
}
export const currentKey = () => key;

/** Asks, whatever was said before. */
export function enterKey() {
  declined = false;
  return askForKey(key);
}

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
        key = dialog.returnValue === "use" ? input.value.trim() : "";
        input.value = "";
        declined = key === "";
        resolve(!declined);
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
    // Header values hold printable ASCII only: anything else cannot be a key.
    if (/^[\x21-\x7e]+$/.test($("key").value.trim())) {
      $("key-dialog").close("use");
      return;
    }
    $("key-wrong").textContent = t("key.wrong");
    $("key").select();
  });
}
