// The same request in other languages. Pure: from a description to program texts.
//
//   description  {kind: "search" | "compare" | "classify" | "words", parts, texts, pictures, labels, language}
//   server       {base, grpc, key, model}; key: whether it asks for one, which itself never stands in a snippet
//
// A picture is named by its file, which the reader has beside the program. It is taken upright, as the page does.

const json = (value) => JSON.stringify(value);
const KEY = "ALTCLIP_API_KEY";
const UPRIGHT = { orientation: "upright" };
const GRPC_UPRIGHT = { orientation: "ORIENTATION_UPRIGHT" };

/** A program text for each of Python, curl, grpcurl and JavaScript. */
export function snippets(description, server) {
  return {
    Python: python(description, server),
    curl: curl(description, server),
    grpcurl: grpcurl(description, server),
    JavaScript: javascript(description, server),
  };
}

const file = (name) => ({ file: name });
const plain = (parts) => parts.length === 1 && parts[0].weight === 1;
const item = ({ text, picture, weight }) => ({ ...(picture ? { image: file(picture) } : { text }), ...(weight === 1 ? {} : { weight }) });

/** The HTTP request: its path and body, in which {file: name} stands for a picture. */
export function request({ kind, parts = [], texts = [], pictures = [], labels = [], language }, model) {
  const named = model ? { model } : {};
  if (kind === "classify") return { path: "v1/classify", body: { ...named, images: pictures.map(file), labels, language, ...UPRIGHT } };
  if (kind === "words") return { path: "v1/embeddings", body: { ...named, input: texts } };
  const query = plain(parts) ? item(parts[0]) : { content: parts.map(item) };
  const queries = kind === "search" ? [query] : texts.map((text) => ({ text }));
  return { path: "v1/similarity", body: { ...named, queries, candidates: pictures.map((name) => ({ image: file(name) })), ...UPRIGHT } };
}

/** JSON with every {file: name} replaced by what `fill` makes of the name. */
function filled(value, fill) {
  return JSON.stringify(value, null, 2).replace(/\{\s*"file": ("(?:[^"\\]|\\.)*")\s*\}/g, (_, name) => fill(JSON.parse(name)));
}

const shell = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** JSON as a here-document, in which the shell puts the pictures. What it would read as its own is escaped. */
function hereDocument(value) {
  const names = [];
  const text = filled(value, (name) => `"\u0000${names.push(name) - 1}\u0000"`);
  const escaped = text.replace(/[\\$`]/g, "\\$&");
  return `<<EOF\n${escaped.replace(/\u0000(\d+)\u0000/g, (_, at) => `$(base64 < ${shell(names[at])} | tr -d '\\n')`)}\nEOF`;
}

function curl(description, { base, key, model }) {
  const { path, body } = request(description, model);
  const headers = ["-H 'content-type: application/json'", ...(key ? [`-H "authorization: Bearer $${KEY}"`] : [])];
  return `curl ${headers.join(" ")} -d @- ${shell(base + path)} ${hereDocument(body)}`;
}

function grpcurl(description, { base, grpc, key, model }) {
  const { kind, parts = [], texts = [], pictures = [], labels = [], language } = description;
  const options = [...(base.startsWith("https:") ? [] : ["-plaintext"]), ...(key ? [`-H "authorization: Bearer $${KEY}"`] : []), "-d @"].join(" ");
  const call = (method, body) => `grpcurl ${options} ${shell(grpc)} altclip.v1.EmbeddingService/${method} ${hereDocument({ ...(model ? { model } : {}), ...body })}`;
  const images = (names) => names.map((name) => ({ content: file(name) }));
  const items = (names) => names.map((name) => ({ image: { content: file(name) } }));
  if (kind === "words") return call("EmbedText", { texts });
  if (kind === "classify") return call("ClassifyImage", { images: images(pictures), labels, language, ...GRPC_UPRIGHT });
  if (kind === "compare") return call("Similarity", { queries: texts.map((text) => ({ text })), candidates: items(pictures), ...GRPC_UPRIGHT });
  if (plain(parts)) return call("Similarity", { queries: parts[0].picture ? items([parts[0].picture]) : [{ text: parts[0].text }], candidates: items(pictures), ...GRPC_UPRIGHT });
  const said = parts.filter((part) => !part.picture).map((part) => part.text);
  const seen = parts.filter((part) => part.picture).map((part) => part.picture);
  const calls = [...(said.length ? [call("EmbedText", { texts: said })] : []), ...(seen.length ? [call("EmbedImage", { images: images(seen), options: GRPC_UPRIGHT })] : [])];
  const weights = parts.map((part) => `${part.weight} × ${json(part.picture ?? part.text)}`).join(" + ");
  return `# Over gRPC the sum is yours to make: ${weights}, scaled to length 1.\n${calls.join("\n")}`;
}

function javascript(description, { base, key, model }) {
  const { path, body } = request(description, model);
  const text = filled(body, (name) => `await image(${json(name)})`);
  const reads = text.includes("await image(");
  return [
    ...(reads ? ['import { readFile } from "node:fs/promises";', "", 'const image = async (name) => (await readFile(name)).toString("base64");'] : []),
    `const answer = await fetch(${json(base + path)}, {`,
    '  method: "POST",',
    `  headers: { "content-type": "application/json"${key ? `, authorization: \`Bearer \${process.env.${KEY}}\`` : ""} },`,
    `  body: JSON.stringify(${text.replaceAll("\n", "\n  ")}),`,
    "});",
    "if (!answer.ok) throw new Error(await answer.text());",
    "console.log(await answer.json());",
  ].join("\n");
}

function python(description, { base, grpc, key, model }) {
  const { kind, parts = [], texts = [], pictures = [], labels = [], language } = description;
  const path = (name) => `Path(${json(name)})`;
  const list = (values) => `[${values.join(", ")}]`;
  const named = model ? `, model=${json(model)}` : "";
  const upright = `, orientation="upright"${named}`;
  const body = [];
  const imports = [];
  if (kind === "words") body.push(`found = client.embed_text(${list(texts.map(json))}${named})`, "print(found.vectors @ found.vectors.T)");
  if (kind === "classify") {
    body.push(`found = client.classify(${list(pictures.map(path))}, ${list(labels.map(json))}, language=${json(language)}${upright})`);
    body.push("for score in found.results[0]:", "    print(score.label, score.probability)");
  }
  if (kind === "compare" || kind === "search") {
    let queries = list(texts.map(json));
    if (kind === "search" && plain(parts)) queries = list(parts.map((part) => (part.picture ? path(part.picture) : json(part.text))));
    if (kind === "search" && !plain(parts)) {
      imports.push("import numpy as np");
      const term = ({ text, picture, weight }) => `${weight} * client.${picture ? `embed_image([${path(picture)}]${upright}` : `embed_text([${json(text)}]${named}`}).vectors[0]`;
      body.push(`query = (\n        ${parts.map(term).join("\n        + ")}\n    )`, "query /= np.linalg.norm(query)");
      queries = "[query]";
    }
    body.push(`print(client.similarity(${queries}, ${list(pictures.map(path))}${upright}).scores)`);
  }
  const options = [...(base.startsWith("https:") ? ["tls=True"] : []), ...(key ? [`api_key=os.environ["${KEY}"]`] : [])];
  const code = body.map((line) => `    ${line}`).join("\n");
  if (code.includes("Path(")) imports.unshift("from pathlib import Path");
  if (key) imports.unshift("import os");
  return [...imports, ...(imports.length ? [""] : []), "from altclip import Client", "", `with Client(${[json(grpc), ...options].join(", ")}) as client:`, code].join("\n");
}
