// Images: arrays of floats in [0, 1], (height, width, channels), and the canvases that show them.

/** Shows an image. The numbers stay on the canvas as `pixels`, those that it was made of as `code`. */
export function show(canvas, values, [height, width, channels], code = null) {
  canvas.width = width;
  canvas.height = height;
  canvas.pixels = values;
  canvas.code = code && [...code];
  const context = canvas.getContext('2d'), image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) {
      image.data[4 * i + c] = Math.round(255 * values[channels * i + (channels === 1 ? 0 : c)]);
    }
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** Shows points of a plane, each an image of two numbers in [0, 1]. */
export function scatter(canvas, points, side = 240) {
  canvas.width = canvas.height = side;
  canvas.pixels = Float32Array.from(points.flatMap((point) => [...point]));
  const context = canvas.getContext('2d');
  context.fillStyle = '#000';
  context.fillRect(0, 0, side, side);
  context.fillStyle = 'rgba(255, 255, 255, .7)';
  for (const [x, y] of points) context.fillRect(x * side - 1, (1 - y) * side - 1, 2, 2);
}

/** The middle of a picture that a browser reads, in the size of an image. */
export async function fromFile(file, [height, width, channels]) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const canvas = document.createElement('canvas');
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.imageSmoothingQuality = 'high';
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  const data = context.getImageData(0, 0, width, height).data, values = new Float32Array(height * width * channels);
  for (let i = 0; i < height * width; i++) {
    const rgb = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (channels === 1) values[i] = (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]) / 255;
    else for (let c = 0; c < 3; c++) values[3 * i + c] = rgb[c] / 255;
  }
  return values;
}

/** A drawing as MNIST has its digits: 20 pixels in its longer side, its mass in the middle of the image. */
export function centred(values, side) {
  let top = side, bottom = -1, left = side, right = -1;
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      if (values[side * y + x] > 0.05) {
        [top, bottom] = [Math.min(top, y), Math.max(bottom, y)];
        [left, right] = [Math.min(left, x), Math.max(right, x)];
      }
    }
  }
  if (bottom < 0) return values.slice();
  const box = Math.max(bottom - top, right - left) + 1, scale = box / (side * 20 / 28);
  const at = (y, x) => {  // linear between the pixels
    const [y0, x0] = [Math.floor(y), Math.floor(x)], [v, u] = [y - y0, x - x0];
    const pixel = (j, i) => (j < 0 || i < 0 || j >= side || i >= side ? 0 : values[side * j + i]);
    return (1 - v) * ((1 - u) * pixel(y0, x0) + u * pixel(y0, x0 + 1)) + v * ((1 - u) * pixel(y0 + 1, x0) + u * pixel(y0 + 1, x0 + 1));
  };
  let mass = 0, [my, mx] = [0, 0];
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) {
      const value = values[side * y + x];
      mass += value;
      my += y * value;
      mx += x * value;
    }
  }
  const middle = (side - 1) / 2, result = new Float32Array(side * side);
  for (let y = 0; y < side; y++) {
    for (let x = 0; x < side; x++) result[side * y + x] = at(my / mass + (y - middle) * scale, mx / mass + (x - middle) * scale);
  }
  return result;
}

/** Numbers of N(0, 1), the same for the same seed (mulberry32, Box and Muller). */
export function normal(n, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({length: n}, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

/** A point between two codes on the arc of a circle around 0: the lengths between have the density of N(0, I). */
export function between(a, b, t) {
  const length = (v) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0)) || 1;
  const cosine = a.reduce((sum, x, i) => sum + x * b[i], 0) / (length(a) * length(b));
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  if (angle < 1e-4) return Float32Array.from(a, (x, i) => (1 - t) * x + t * b[i]);
  const [p, q] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  return Float32Array.from(a, (x, i) => p * x + q * b[i]);
}
