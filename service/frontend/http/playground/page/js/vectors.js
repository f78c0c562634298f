// Arithmetic on embeddings: Float32Array of length 1, so that a dot product is a cosine.

/** Little-endian float32 in base64. */
export function fromBase64(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let at = 0; at < raw.length; at += 1) bytes[at] = raw.charCodeAt(at);
  const view = new DataView(bytes.buffer);
  const vector = new Float32Array(bytes.length / 4);
  for (let at = 0; at < vector.length; at += 1) vector[at] = view.getFloat32(4 * at, true);
  return vector;
}

export function dot(a, b) {
  let sum = 0;
  for (let at = 0; at < a.length; at += 1) sum += a[at] * b[at];
  return sum;
}

/** The sum of vectors, each times its weight, scaled to length 1; null where they cancel each other out. */
export function weighted(vectors, weights) {
  const most = Math.max(...weights.map(Math.abs)) || 1; // scaled first: the largest numbers would overflow in the sum
  const sum = new Float64Array(vectors[0].length);
  vectors.forEach((vector, part) => {
    const weight = weights[part] / most;
    for (let at = 0; at < sum.length; at += 1) sum[at] += weight * vector[at];
  });
  const length = Math.sqrt(dot(sum, sum));
  return length < 1e-6 ? null : Float32Array.from(sum, (value) => value / length);
}

/** Pictures that have an embedding, best first, as {picture, score}. Equal scores keep their order. */
export function ranked(vector, pictures) {
  return pictures
    .filter((picture) => picture.vector?.length === vector.length)
    .map((picture) => ({ picture, score: dot(vector, picture.vector) }))
    .sort((a, b) => b.score - a.score);
}
