// Flux in sky sigmas as colours: Lupton's asinh of the bands' mean, grey of one band, and residuals from blue to red.

const MISSING = [0, 150, 136];

/** How brightness is compressed: linear up to `softening` sky sigmas, white at `white`. */
export function curve({ kind, softening, white, black = 0 }) {
  const spread = {
    asinh: (x) => Math.asinh(x / softening) / Math.asinh(white / softening),
    linear: (x) => x / white,
    sqrt: (x) => Math.sqrt(Math.max(0, x) / white),
    log: (x) => Math.log1p(Math.max(0, x) / softening) / Math.log1p(white / softening),
  }[kind];
  return (x) => spread(x - black);
}

function canvasOf(canvas, width, height) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  return { image, done: () => canvas.getContext("2d").putImageData(image, 0, 0) };
}

/** Three bands as red, green and blue: each c f(I)/I with I their mean (Lupton+04), the hue kept where one exceeds 1. */
export function drawColour(canvas, { width, height, sigma }, [red, green, blue], stretch) {
  const bright = curve(stretch);
  const { image, done } = canvasOf(canvas, width, height);
  const none = (band) => band.every(Number.isNaN);
  const used = [red, green, blue].map((i) => sigma[i]);
  const empty = used.map(none);
  for (let p = 0; p < width * height; p++) {
    const lost = used.every((band, c) => empty[c] || Number.isNaN(band[p])) || used.some((band, c) => !empty[c] && Number.isNaN(band[p]));
    const light = used.map((band) => (Number.isNaN(band[p]) ? 0 : band[p] - (stretch.black ?? 0)));
    const mean = (light[0] + light[1] + light[2]) / 3;
    const scale = mean > 0 ? Math.max(0, bright(mean + (stretch.black ?? 0))) / mean : 0;
    const colours = light.map((value) => Math.max(0, value * scale));
    const most = Math.max(1, ...colours);
    put(image, p, lost ? MISSING : colours.map((value) => (255 * value) / most));
  }
  done();
}

/** One band in grey. */
export function drawGrey(canvas, { width, height }, band, stretch) {
  const bright = curve(stretch);
  const { image, done } = canvasOf(canvas, width, height);
  for (let p = 0; p < width * height; p++) {
    const grey = 255 * Math.min(1, Math.max(0, bright(band[p])));
    put(image, p, Number.isNaN(band[p]) ? MISSING : [grey, grey, grey]);
  }
  done();
}

/** Data minus model in sky sigmas: blue where the model is too bright, red where it is too faint, white at 0. */
export function drawResidual(canvas, { width, height }, band, model, limit) {
  const { image, done } = canvasOf(canvas, width, height);
  for (let p = 0; p < width * height; p++) {
    const off = Math.max(-1, Math.min(1, (band[p] - model[p]) / limit));
    put(image, p, Number.isNaN(off) ? MISSING : diverging(off));
  }
  done();
}

const BLUE = [[255, 255, 255], [146, 197, 222], [33, 102, 172], [5, 48, 97]];
const RED = [[255, 255, 255], [244, 165, 130], [178, 24, 43], [103, 0, 31]];

function diverging(off) {
  const [ends, at] = [off < 0 ? BLUE : RED, Math.abs(off) * 3];
  const [from, part] = [Math.min(2, Math.floor(at)), at - Math.min(2, Math.floor(at))];
  return ends[from].map((value, c) => value + part * (ends[from + 1][c] - value));
}

function put(image, p, [red, green, blue]) {
  image.data[4 * p] = red;
  image.data[4 * p + 1] = green;
  image.data[4 * p + 2] = blue;
  image.data[4 * p + 3] = 255;
}

/** The largest finite value of bands, so that a picture can be white at its own brightest pixel. */
export function brightest(bands) {
  let most = 1;
  for (const band of bands) for (const value of band) if (value > most) most = value;
  return most;
}
