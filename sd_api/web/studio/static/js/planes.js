// What is done to a plane of bytes as a whole: growing by a distance, and blurring.

const FAR = 1e12;

/**
 * Grow what is set by so many pixels, or shrink it below 0. Distances are Euclidean, so corners become round
 * (Felzenszwalb and Huttenlocher, "Distance transforms of sampled functions", 2012).
 */
export function grown(plane, width, height, pixels) {
  const shrinks = pixels < 0;
  const distance = new Float64Array(plane.length);
  for (let i = 0; i < plane.length; i++) distance[i] = plane[i] > 127 === shrinks ? FAR : 0;
  const line = new Float64Array(Math.max(width, height));
  for (let x = 0; x < width; x++) transform(distance, x, width, height, line);
  for (let y = 0; y < height; y++) transform(distance, y * width, 1, width, line);
  const limit = Math.abs(pixels);
  return Uint8Array.from(distance, (squared) => {
    const near = Math.min(1, Math.max(0, limit + 0.5 - Math.sqrt(squared)));
    return Math.round(255 * (shrinks ? 1 - near : near));
  });
}

/** The squared distance to the nearest 0 along one line of values, in place. */
function transform(values, start, step, count, line) {
  for (let i = 0; i < count; i++) line[i] = values[start + i * step];
  const places = new Int32Array(count);
  const borders = new Float64Array(count + 1);
  let last = 0;
  borders[0] = -FAR;
  borders[1] = FAR;
  for (let i = 1; i < count; i++) {
    let cut = crossing(line, i, places[last]);
    while (cut <= borders[last]) cut = crossing(line, i, places[--last]);
    places[++last] = i;
    borders[last] = cut;
    borders[last + 1] = FAR;
  }
  for (let i = 0, k = 0; i < count; i++) {
    while (borders[k + 1] < i) k++;
    values[start + i * step] = (i - places[k]) ** 2 + line[places[k]];
  }
}

const crossing = (line, a, b) => (line[a] + a * a - line[b] - b * b) / (2 * (a - b));

/** Blur by about so many pixels: three boxes after each other are close to a Gaussian. */
export function blurred(plane, width, height, pixels) {
  let now = plane;
  const radius = Math.max(1, Math.round(pixels / 2));
  for (let i = 0; i < 3; i++) {
    now = boxed(now, width, height, 1, width, radius);
    now = boxed(now, height, width, width, 1, radius);
  }
  return now;
}

/** The mean of each value and its neighbours along lines; beyond the ends, the last value goes on. */
function boxed(plane, count, lines, step, lineStep, radius) {
  const result = new Uint8Array(plane.length);
  const span = 2 * radius + 1;
  for (let line = 0; line < lines; line++) {
    const start = line * lineStep;
    const at = (i) => plane[start + Math.min(count - 1, Math.max(0, i)) * step];
    let sum = 0;
    for (let i = -radius; i <= radius; i++) sum += at(i);
    for (let i = 0; i < count; i++) {
      result[start + i * step] = Math.round(sum / span);
      sum += at(i + radius + 1) - at(i - radius);
    }
  }
  return result;
}
