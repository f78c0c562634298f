// Principal components: the two directions in which vectors differ most. Deterministic: the same vectors give
// the same map, whatever browser computes it.

import { dot } from "./vectors.js";

const ROUNDS = 60;
/** The directions are found from so many vectors, evenly taken: more would hold up the page. */
const MOST = 500;

/** The mean of some vectors, component by component. */
export function mean(vectors) {
  const sum = new Float64Array(vectors[0].length);
  for (const vector of vectors) for (let at = 0; at < sum.length; at += 1) sum[at] += vector[at];
  return sum.map((value) => value / vectors.length);
}

/** Vectors less a mean. */
export function centred(vectors, middle) {
  return vectors.map((vector) => {
    const row = new Float64Array(vector.length);
    for (let at = 0; at < row.length; at += 1) row[at] = vector[at] - middle[at];
    return row;
  });
}

/** Two coordinates of each of some centred vectors. The largest coordinate on each axis is positive. */
export function pca(rows) {
  const axes = [];
  const step = Math.ceil(rows.length / MOST);
  const some = rows.filter((_, at) => at % step === 0);
  for (let axis = 0; axis < 2; axis += 1) axes.push(component(some, axes));
  const points = rows.map((row) => axes.map((axis) => dot(row, axis)));
  for (let axis = 0; axis < 2; axis += 1) {
    const largest = points.reduce((found, point) => (Math.abs(point[axis]) > Math.abs(found) ? point[axis] : found), 0);
    if (largest < 0) for (const point of points) point[axis] = -point[axis];
  }
  return points;
}

/** Power iteration on the covariance, at right angles to the axes that there are. */
function component(rows, axes) {
  const width = rows[0].length;
  let axis = Float64Array.from({ length: width }, (_, at) => 1 + ((at * 7919) % 101) / 101);
  for (let round = 0; round < ROUNDS; round += 1) {
    const next = new Float64Array(width);
    for (const row of rows) {
      const along = dot(row, axis);
      for (let at = 0; at < width; at += 1) next[at] += along * row[at];
    }
    for (const other of axes) {
      const along = dot(next, other);
      for (let at = 0; at < width; at += 1) next[at] -= along * other[at];
    }
    const length = Math.sqrt(dot(next, next));
    if (length < 1e-12) return axis.fill(0);
    axis = next.map((value) => value / length);
  }
  return axis;
}
