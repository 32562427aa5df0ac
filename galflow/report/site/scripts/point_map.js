// A map of points on a canvas: up to a million, moved and magnified, with a line drawn around some of them.

import KDBush from "kdbush";
import { element, settled } from "./dom.js";
import { cividis } from "./palette.js";

const NEAR_PIXELS = 14;
const MANY = 30_000;
const MARGIN = { left: 62, right: 14, top: 12, bottom: 40 };

export class PointMap {
  #points = null;
  #index = null;
  #view = null;
  #home = null;
  #lasso = [];
  #moving = false;
  #pointers = new Map();

  /**
   * @param {{x: string, y: string, flipped?: boolean, equal?: boolean}} axes  words of the axes; x to the left (as right
   *     ascension); whether a unit of x is cos(y) of one of y
   * @param {{under?: Function, viewed?: Function, hover?: Function, pick?: Function, lasso?: Function}} on
   */
  constructor(axes, on) {
    this.axes = axes;
    this.on = on;
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-label": axes.words, "aria-roledescription": "map" });
    this.tip = element("div", { class: "tip", hidden: true });
    this.node = element("div", { class: "map" }, this.canvas, this.tip);
    this.#listen();
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    addEventListener("themechange", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Show these points {x, y, colour, ids} with colours between two ends; the view stays unless `fit`. */
  show(points, range, fit = true) {
    this.#points = points;
    this.range = range;
    const count = points.x.length;
    this.#index = new KDBush(Math.max(1, count));
    if (!count) this.#index.add(NaN, NaN);
    const { spanX, spanY } = extent(points);
    this.#scale = [1 / spanX, 1 / spanY];
    for (let i = 0; i < count; i++) this.#index.add(points.x[i] * this.#scale[0], points.y[i] * this.#scale[1]);
    this.#index.finish();
    if (fit || !this.#view) this.#home = this.#view = this.axes.frame ?? frameOf(points);
    this.draw();
  }

  #scale = [1, 1];

  /** Whether dragging moves the map rather than drawing a line. */
  set moving(yes) {
    this.#moving = yes;
    this.canvas.classList.toggle("moving", yes);
  }

  /** Magnify about a place on the canvas (its middle by default). */
  zoom(factor, at = [this.canvas.clientWidth / 2, this.canvas.clientHeight / 2]) {
    const [x, y] = this.toData(at);
    const { x0, x1, y0, y1 } = this.#view;
    this.#view = { x0: x + (x0 - x) * factor, x1: x + (x1 - x) * factor, y0: y + (y0 - y) * factor, y1: y + (y1 - y) * factor };
    this.draw();
  }

  clearLasso() {
    this.#lasso = [];
    this.draw();
  }

  home() {
    this.#view = this.#home;
    this.#lasso = [];
    this.draw();
  }

  /** The rectangle in pixels, and what it shows, with equal scales where they are asked for. */
  #frame() {
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    const inner = { left: MARGIN.left, top: MARGIN.top, width: width - MARGIN.left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom };
    let { x0, x1, y0, y1 } = this.#view;
    if (this.axes.equal) {
      const squeeze = Math.max(0.05, Math.cos((((y0 + y1) / 2) * Math.PI) / 180));
      const each = Math.max(((x1 - x0) * squeeze) / inner.width, (y1 - y0) / inner.height);
      const [middleX, middleY] = [(x0 + x1) / 2, (y0 + y1) / 2];
      const [halfX, halfY] = [(each * inner.width) / squeeze / 2, (each * inner.height) / 2];
      [x0, x1, y0, y1] = [middleX - halfX, middleX + halfX, middleY - halfY, middleY + halfY];
    }
    return { ...inner, x0, x1, y0, y1 };
  }

  /** Pixels of a place. */
  toScreen(x, y, frame = this.#frame()) {
    const share = (x - frame.x0) / (frame.x1 - frame.x0);
    return [frame.left + frame.width * (this.axes.flipped ? 1 - share : share), frame.top + frame.height * (1 - (y - frame.y0) / (frame.y1 - frame.y0))];
  }

  /** The place at pixels. */
  toData([px, py]) {
    const frame = this.#frame();
    const share = (px - frame.left) / frame.width;
    return [frame.x0 + (this.axes.flipped ? 1 - share : share) * (frame.x1 - frame.x0), frame.y1 - ((py - frame.top) / frame.height) * (frame.y1 - frame.y0)];
  }

  draw() {
    if (!this.#view || !this.canvas.clientWidth) return;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.canvas.clientHeight];
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const frame = this.#frame();
    const style = getComputedStyle(this.node);
    this.#axes(pen, frame, style.color);
    pen.save();
    pen.beginPath();
    pen.rect(frame.left, frame.top, frame.width, frame.height);
    pen.clip();
    this.on.under?.(pen, (x, y) => this.toScreen(x, y, frame), frame);
    if (this.#points) this.#draw(pen, frame, ratio);
    if (this.#lasso.length > 1) this.#drawLasso(pen, frame, style.color);
    pen.restore();
    this.on.viewed?.(frame);
  }

  #draw(pen, frame, ratio) {
    const { x, y, colour } = this.#points;
    const [low, high] = this.range;
    const across = (this.axes.flipped ? -1 : 1) * (frame.width / (frame.x1 - frame.x0));
    const startX = this.axes.flipped ? frame.left + frame.width - frame.x0 * across : frame.left - frame.x0 * across;
    const down = -frame.height / (frame.y1 - frame.y0);
    const startY = frame.top - frame.y1 * down;
    if (x.length > MANY) return this.#drawMany(pen, frame, ratio, { across, startX, down, startY });
    const radius = x.length > 3000 ? 2 : x.length > 500 ? 3 : 4.5;
    // Points of one colour are one path: a stroke each would take ten times as long.
    const paths = new Map();
    for (let i = 0; i < x.length; i++) {
      const [px, py] = [startX + x[i] * across, startY + y[i] * down];
      if (px < frame.left - 5 || px > frame.left + frame.width + 5 || py < frame.top - 5 || py > frame.top + frame.height + 5) continue;
      const step = Number.isNaN(colour[i]) ? -1 : Math.round(20 * Math.max(0, Math.min(1, (colour[i] - low) / (high - low))));
      if (!paths.has(step)) paths.set(step, new Path2D());
      const path = paths.get(step);
      path.moveTo(px + radius, py);
      path.arc(px, py, radius, 0, 7);
    }
    const colours = cividis();
    for (const step of [...paths.keys()].sort((a, b) => a - b)) {
      pen.fillStyle = step < 0 ? "#8a8a8a" : `rgb(${colours(step / 20)})`;
      pen.fill(paths.get(step));
      pen.lineWidth = 0.6;
      pen.strokeStyle = "#8886";
      pen.stroke(paths.get(step));
    }
  }

  /** A million points as pixels: the largest value of each pixel counts, so that what is odd is not buried. */
  #drawMany(pen, frame, ratio, { across, startX, down, startY }) {
    const { x, y, colour } = this.#points;
    const [low, high] = this.range;
    const [wide, tall] = [Math.round(frame.width * ratio), Math.round(frame.height * ratio)];
    const best = new Float32Array(wide * tall).fill(-Infinity);
    for (let i = 0; i < x.length; i++) {
      const px = Math.floor((startX + x[i] * across - frame.left) * ratio);
      const py = Math.floor((startY + y[i] * down - frame.top) * ratio);
      if (px < 0 || py < 0 || px >= wide || py >= tall) continue;
      const value = Number.isNaN(colour[i]) ? low : colour[i];
      if (value > best[py * wide + px]) best[py * wide + px] = value;
    }
    const image = new ImageData(wide, tall);
    const colours = cividis();
    for (let p = 0; p < best.length; p++) {
      if (best[p] === -Infinity) continue;
      const [red, green, blue] = colours((best[p] - low) / (high - low));
      image.data.set([red, green, blue, 255], 4 * p);
    }
    const layer = new OffscreenCanvas(wide, tall);
    layer.getContext("2d").putImageData(image, 0, 0);
    pen.drawImage(layer, frame.left, frame.top, frame.width, frame.height);
  }

  #axes(pen, frame, ink) {
    pen.strokeStyle = ink;
    pen.fillStyle = ink;
    pen.lineWidth = 1;
    pen.globalAlpha = 0.75;
    pen.font = "12px system-ui, sans-serif";
    pen.strokeRect(frame.left + 0.5, frame.top + 0.5, frame.width, frame.height);
    const wrap = (value) => (this.axes.flipped ? ((value % 360) + 360) % 360 : value);
    pen.textAlign = "center";
    for (const [value, words] of ticks(frame.x0, frame.x1, Math.max(2, frame.width / 110), wrap)) {
      const [px] = this.toScreen(value, frame.y0, frame);
      pen.fillRect(px, frame.top + frame.height, 1, 5);
      pen.fillText(words, px, frame.top + frame.height + 18);
    }
    pen.fillText(this.axes.x, frame.left + frame.width / 2, frame.top + frame.height + 35);
    pen.textAlign = "right";
    for (const [value, words] of ticks(frame.y0, frame.y1, Math.max(2, frame.height / 70), (v) => v)) {
      const [, py] = this.toScreen(frame.x0, value, frame);
      pen.fillRect(frame.left - 5, py, 5, 1);
      pen.fillText(words, frame.left - 8, py + 4);
    }
    pen.save();
    pen.translate(12, frame.top + frame.height / 2);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "center";
    pen.fillText(this.axes.y, 0, 0);
    pen.restore();
    pen.globalAlpha = 1;
  }

  #drawLasso(pen, frame, ink) {
    pen.beginPath();
    this.#lasso.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](...this.toScreen(x, y, frame)));
    pen.closePath();
    pen.fillStyle = "#d1720f33";
    pen.fill();
    pen.strokeStyle = ink;
    pen.setLineDash([6, 4]);
    pen.lineWidth = 2;
    pen.stroke();
    pen.setLineDash([]);
  }

  /** The point nearest to a place on the canvas, or -1. */
  nearest([px, py]) {
    if (!this.#points?.x.length) return -1;
    const frame = this.#frame();
    const [x, y] = this.toData([px, py]);
    const reach = Math.max((NEAR_PIXELS * (frame.x1 - frame.x0) * this.#scale[0]) / frame.width, (NEAR_PIXELS * (frame.y1 - frame.y0) * this.#scale[1]) / frame.height);
    let [best, least] = [-1, NEAR_PIXELS ** 2];
    for (const i of this.#index.within(x * this.#scale[0], y * this.#scale[1], reach)) {
      const [sx, sy] = this.toScreen(this.#points.x[i], this.#points.y[i], frame);
      const apart = (sx - px) ** 2 + (sy - py) ** 2;
      if (apart < least) [best, least] = [i, apart];
    }
    return best;
  }

  #listen() {
    const at = (event) => [event.offsetX, event.offsetY];
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, at(event));
      from = { at: at(event), move: this.#moving || event.shiftKey || event.button === 1, far: false };
      if (!from.move) this.#lasso = [this.toData(at(event))];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!from) return this.#hover(at(event));
      const [now, before] = [at(event), this.#pointers.get(event.pointerId)];
      if (Math.hypot(now[0] - from.at[0], now[1] - from.at[1]) > 4) from.far = true;
      if (this.#pointers.size === 2) this.#pinch(event.pointerId, now);
      else if (from.move) this.#shift(before, now);
      else this.#lasso.push(this.toData(now));
      this.#pointers.set(event.pointerId, now);
      this.draw();
    });
    const end = (event) => {
      this.#pointers.delete(event.pointerId);
      if (!from) return;
      const { far, move } = from;
      from = null;
      if (!far) {
        this.#lasso = [];
        const found = this.nearest(at(event));
        if (found >= 0) this.on.pick?.(this.#points.ids[found]);
        else this.on.place?.(this.toData(at(event)));
      } else if (!move && this.#lasso.length > 2) this.on.lasso?.(thinned(this.#lasso));
      this.draw();
    };
    canvas.addEventListener("pointerup", end);
    canvas.addEventListener("pointercancel", end);
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(1.0015 ** event.deltaY, at(event));
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (event.key in steps) this.#shift([0, 0], steps[event.key]);
      else if (event.key === "+" || event.key === "=") this.zoom(0.8);
      else if (event.key === "-") this.zoom(1.25);
      else if (event.key === "0" || event.key === "Escape") this.home();
      else return;
      event.preventDefault();
      this.draw();
    });
    this.#hover = settled((place) => {
      const found = this.nearest(place);
      this.tip.hidden = true;
      if (found >= 0 || this.on.hoverPlace) this.on.hover?.(found >= 0 ? this.#points.ids[found] : null, this.toData(place), place);
    }, 30);
  }

  #hover = () => {};

  #shift([fromX, fromY], [toX, toY]) {
    const [ax, ay] = this.toData([fromX, fromY]);
    const [bx, by] = this.toData([toX, toY]);
    const { x0, x1, y0, y1 } = this.#view;
    this.#view = { x0: x0 + ax - bx, x1: x1 + ax - bx, y0: y0 + ay - by, y1: y1 + ay - by };
  }

  #pinch(moved, now) {
    const [a, b] = [...this.#pointers.values()];
    const before = Math.hypot(a[0] - b[0], a[1] - b[1]);
    const other = [...this.#pointers].find(([id]) => id !== moved)[1];
    const after = Math.hypot(now[0] - other[0], now[1] - other[1]);
    this.#lasso = [];
    if (after > 0) this.zoom(before / after, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
  }

  /** Put the words or pictures of a hover beside a place on the canvas. */
  tell(place, ...content) {
    this.tip.replaceChildren(...content);
    this.tip.hidden = false;
    const [px, py] = place;
    this.tip.style.left = `${Math.min(px + 14, this.canvas.clientWidth - this.tip.offsetWidth - 6)}px`;
    this.tip.style.top = `${Math.min(py + 14, this.canvas.clientHeight - this.tip.offsetHeight - 6)}px`;
  }
}

function extent({ x, y }) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < x.length; i++) {
    if (x[i] < x0) x0 = x[i];
    if (x[i] > x1) x1 = x[i];
    if (y[i] < y0) y0 = y[i];
    if (y[i] > y1) y1 = y[i];
  }
  if (x0 > x1) [x0, x1, y0, y1] = [0, 1, 0, 1];
  return { x0, x1, y0, y1, spanX: x1 - x0 || 1, spanY: y1 - y0 || 1 };
}

/** A view of all points with some room around them. */
export function frameOf(points) {
  const { x0, x1, y0, y1, spanX, spanY } = extent(points);
  return { x0: x0 - 0.05 * spanX, x1: x1 + 0.05 * spanX, y0: y0 - 0.05 * spanY, y1: y1 + 0.05 * spanY };
}

/** Round values between two ends, about so many, with their words. */
function ticks(low, high, count, wrap) {
  const rough = (high - low) / count;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough);
  const digits = Math.max(0, Math.min(8, -Math.floor(Math.log10(step) + 1e-9)));
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high; value += step) found.push([value, wrap(value).toFixed(digits)]);
  return found;
}

/** A line with so few corners that it fits into an address. */
function thinned(line, most = 60) {
  const step = Math.max(1, Math.ceil(line.length / most));
  return line.filter((_, i) => i % step === 0);
}
