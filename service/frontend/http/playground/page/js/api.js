// Calls to the server that this page came from. Every failure is an ApiError, whose kind says what to do.
//
//   offline   no answer at all            key        a key is missing, or wrong
//   busy      429: full, or over a quota  forbidden  the key may not do this
//   draining  503: stopping or starting   refused    the request itself (400, 404, 413 …)
//   failed    all other answers           stopped    we do not want the answer any more

import { address } from "./dom.js";
import { askForKey, currentKey, keyHeaders } from "./keys.js";
import { isKnown, modelField } from "./model.js";
import { fromBase64 } from "./vectors.js";

const TIMEOUT = 60_000;
const TRIES = 4;
/** A server that tells us to come back later than this is shown as busy at once. Milliseconds. */
const PATIENCE = 8_000;

export class ApiError extends Error {
  constructor(kind, message = "", more = {}) {
    super(message);
    Object.assign(this, { kind, status: 0, code: "", param: "", requestId: "", wait: 0 }, more);
  }
}

const KINDS = { 401: "key", 403: "forbidden", 429: "busy", 502: "offline", 503: "draining" };

/** Aborted once other weights come to answer. */
let weights = new AbortController();

/**
 * GET and POST of JSON. signal: stops waiting. tries: how often in all, where the server says it is busy. patience: how
 * long a wait it may ask for then.
 *
 * A POST asks a model. It is stopped while the models are not known, and once other weights answer than when it began.
 */
export async function call(path, { body, signal, tries = TRIES, patience = PATIENCE, ask = true } = {}) {
  const stop = AbortSignal.any([signal, body && weights.signal].filter(Boolean));
  for (let left = tries; ; left -= 1) {
    if (stop.aborted || (body && !isKnown())) throw new ApiError("stopped");
    const used = currentKey();
    try {
      const answer = await once(path, body, stop);
      if (!stop.aborted) return answer;
    } catch (error) {
      if (stop.aborted) continue;
      if (error.kind === "key" && ask) {
        if (await askForKey(used)) continue;
        throw error;
      }
      const again = (error.kind === "busy" || error.kind === "draining") && left > 1;
      if (!again || error.wait > patience) throw error;
      await rest(error.wait || 500 * 2 ** (tries - left), stop);
    }
  }
}

async function once(path, body, signal) {
  const timeout = AbortSignal.timeout(TIMEOUT);
  const headers = { accept: "application/json", ...keyHeaders() };
  if (body) headers["content-type"] = "application/json";
  let answer;
  let read;
  try {
    answer = await fetch(address(path), {
      method: body ? "POST" : "GET",
      body: body && JSON.stringify(body),
      headers,
      signal: AbortSignal.any([signal, timeout]),
      cache: "no-store",
      credentials: "same-origin",
    });
    read = await answer.text();
  } catch (error) {
    if (signal.aborted) throw new ApiError("stopped");
    throw new ApiError("offline", String(error?.message ?? ""));
  }
  let parsed = null;
  try {
    parsed = JSON.parse(read);
  } catch {
    // What is no JSON is a proxy's page, or cut off.
  }
  const requestId = answer.headers.get("x-request-id") ?? "";
  // Not enumerable: it is no part of the answer, and stays out of what is saved.
  if (answer.ok && typeof parsed === "object" && parsed !== null) return Object.defineProperty(parsed, "requestId", { value: requestId });
  throw failure(answer, parsed, requestId);
}

function failure(answer, parsed, requestId) {
  const detail = parsed?.error ?? {};
  const { status } = answer;
  const kind = KINDS[status] ?? (status >= 400 && status < 500 ? "refused" : "failed");
  // A proxy's answer is no JSON.
  return new ApiError(kind, typeof detail.message === "string" ? detail.message : `${status} ${answer.statusText}`.trim(), {
    status,
    code: detail.code ?? "",
    param: detail.param ?? "",
    requestId,
    wait: Number(answer.headers.get("retry-after-ms")) || 1000 * Number(answer.headers.get("retry-after")) || 0,
  });
}

function rest(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new ApiError("stopped"));
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", stop);
  });
}

/** One answer of POST /v1/embeddings: for each item {vector} or {error}; tokens of them all. */
export async function embed(items, { signal, priority = "interactive", tries, patience } = {}) {
  const body = { input: items, encoding_format: "base64", error_policy: "per_item", orientation: "upright", priority, ...modelField() };
  const answer = await call("v1/embeddings", { body, signal, tries, patience });
  const rows = answer.data.map((row) =>
    row.object === "error" ? { error: itemError(row.error, answer.requestId) } : { vector: fromBase64(row.embedding) },
  );
  return { rows, tokens: answer.usage.prompt_tokens, truncated: new Set(answer.truncated), model: answer.model, revision: answer.revision };
}

function itemError(error, requestId) {
  const kind = error.type === "server_error" ? "failed" : "refused";
  return new ApiError(kind, error.message, { ...error, requestId });
}

const MOST_KEPT = 1000;
const texts = new Map();

/** {vector, tokens, truncated} of one text. What was asked before is remembered. */
export async function embedText(text, signal) {
  const known = texts.get(text);
  if (known) return known;
  const done = await embed([{ text }], { signal });
  const [row] = done.rows;
  if (row.error) throw row.error;
  const made = { vector: row.vector, tokens: done.tokens, truncated: done.truncated.has(0), model: done.model, revision: done.revision };
  if (texts.size >= MOST_KEPT) texts.delete(texts.keys().next().value);
  texts.set(text, made);
  return made;
}

/** The same of many, a few at a time, in their order. */
export function embedTexts(wanted, signal) {
  return inParallel(wanted, 4, (text) => embedText(text, signal));
}

/** The results of `work` for each, with so many under way at a time. */
export async function inParallel(wanted, width, work) {
  const results = new Array(wanted.length);
  let next = 0;
  const lane = async () => {
    while (next < wanted.length) {
      const at = next;
      next += 1;
      results[at] = await work(wanted[at], at);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, wanted.length) }, lane));
  return results;
}

/** Forgets embeddings, and stops calls that are under way: another set of weights answers now. */
export function forgetTexts() {
  weights.abort();
  weights = new AbortController();
  texts.clear();
}
