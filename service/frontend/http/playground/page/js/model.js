// The models that this server has for us, and which of them answers.

const UNKNOWN = { name: "", max_tokens: 77, max_images: 64, max_labels: 1000, max_text_bytes: 32_768, max_image_bytes: 32 << 20 };

let models = [];
let chosen = "";
let server = null;
/** The model that answers, with the last revision of its weights that the server has told. */
let answering = { name: "", revision: "" };

/** From /playground/status. Returns whether other weights answer than before. */
export function learn(status) {
  server = status;
  models = status.models;
  if (!models.some((model) => model.name === chosen)) chosen = "";
  return compareWeights();
}

/** Whether other weights answer than when this was asked last. */
function compareWeights() {
  const before = answering;
  const { name, revision } = limits();
  if (!name) return false;
  const same = name === before.name;
  // A server that starts listens before it knows the revision. That says nothing of other weights.
  answering = { name, revision: revision || (same ? before.revision : "") };
  if (same) return before.revision !== "" && before.revision !== answering.revision;
  return before.name !== "";
}

/** Whether the server has told its models. */
export const isKnown = () => server !== null;
export const allModels = () => models;
export const serverFacts = () => server ?? {};

/** The model that answers, with its limits. */
export const limits = () => models.find((model) => model.name === chosen) ?? models[0] ?? UNKNOWN;

/** Another model shall answer; whoever calls this embeds everything anew. */
export function choose(name) {
  chosen = name;
  compareWeights();
}

/** The field of a request that names the model: that of the page need not be the server's first. */
export const modelField = () => (limits().name ? { model: limits().name } : {});
