// The report's source: columns of the highest-ranked objects in files beside the page, sorted and filtered here.

import { dataFile, inflated } from "./data_files.js";
import { matcher } from "./filters.js";

const number = (index) => String(index).padStart(5, "0");

export class StaticSource {
  #columns = null;
  #place = new Map();
  #orders = new Map();

  schema() {
    return dataFile("schema");
  }

  /** Name -> array of all rows, in order of rank; with a model's latents where `names` ask for them. */
  async columns(names = []) {
    this.#columns ??= this.#read();
    const columns = await this.#columns;
    if (names.some((name) => name.startsWith("latent_")) && !columns.latent_1) {
      (await dataFile("latents")).axes.forEach((axis, i) => (columns[`latent_${i + 1}`] = axis));
    }
    return columns;
  }

  async #read() {
    const { chunks } = await this.schema();
    const parts = await Promise.all(Array.from({ length: chunks }, (_, i) => dataFile(`rows-${number(i)}`)));
    const whole = {};
    for (const name of Object.keys(parts[0] ?? {})) whole[name] = parts.flatMap((part) => part[name]);
    whole.object_id?.forEach((id, i) => this.#place.set(id, i));
    return whole;
  }

  /** Row i as an object; `index` is its place in the order of rank. */
  #row(columns, i) {
    const row = { index: i };
    for (const name of Object.keys(columns)) row[name] = columns[name][i];
    return row;
  }

  /** All rows in this order, missing values last; kept, since filters come oftener than orders. */
  #ordered(columns, order, descending) {
    const key = `${order} ${descending}`;
    if (!this.#orders.has(key)) this.#orders.set(key, ordered(columns[order], descending));
    return this.#orders.get(key);
  }

  async #matching({ where, order = "anomaly_rank", descending = false }, names = []) {
    const area = where.area ? [where.area.x, where.area.y] : [];
    const [{ flags }, columns] = await Promise.all([this.schema(), this.columns([...names, ...area])]);
    const bits = Object.fromEntries(Object.entries(flags).map(([name, { bit }]) => [name, bit]));
    const passes = matcher(where, columns, bits);
    return { columns, places: this.#ordered(columns, order, descending).filter(passes) };
  }

  async rows({ offset = 0, limit = 100, ...question }) {
    const { columns, places } = await this.#matching(question);
    return { total: places.length, rows: places.slice(offset, offset + limit).map((i) => this.#row(columns, i)) };
  }

  /** Where an object stands in an order; -1 if it does not pass. */
  async placeOf(id, question) {
    const { places } = await this.#matching(question);
    return places.indexOf(this.#place.get(id));
  }

  thumbnail(row, { sprites }) {
    if (!sprites) return null;
    const { size, across, each, kind, lost } = sprites;
    const [sheet, cell] = [Math.floor(row.index / each), row.index % each];
    if (lost.includes(sheet)) return null;
    const down = Math.ceil(Math.min(each, sprites.objects - sheet * each) / across);
    return {
      url: `sprites/${number(sheet)}.${kind}`, size, width: size * across, height: size * down,
      x: size * (cell % across), y: size * Math.floor(cell / across),
    };
  }

  async object(id) {
    const [schema, columns] = await Promise.all([this.schema(), this.columns()]);
    const place = this.#place.get(id);
    if (place === undefined) return null;
    const row = this.#row(columns, place);
    const { each, objects, lost } = schema.pixels ?? { each: 1, objects: 0, lost: [] };
    const file = Math.floor(place / each);
    if (place >= objects || lost.includes(file)) return { row, pixels: null, explained: [] };
    const stored = (await dataFile(`pixels-${number(file)}`))[place % each];
    if (!stored) return { row, pixels: null, explained: [] };
    const pixels = await decoded(stored);
    const explained = await Promise.all(
      (stored.explained ?? []).map(async (one) => ({ model: one.model, ...(await decoded({ ...stored, ...one })) })),
    );
    return { row, pixels: { ...pixels, bands: stored.bands, to_north: stored.to_north }, explained };
  }

  /** An object without its pixels. */
  async brief(id) {
    const columns = await this.columns();
    return { row: this.#row(columns, this.#place.get(id)) };
  }

  tiles() {
    return dataFile("tiles");
  }

  async similar(id, count) {
    const { latents } = await this.schema();
    if (!latents) return [];
    const columns = await this.columns();
    const found = (await dataFile("latents")).near[this.#place.get(id)] ?? [];
    return found.slice(0, count).map((i) => this.#row(columns, i));
  }

  async points({ x, y, colour, where }) {
    const { columns, places } = await this.#matching({ where }, [x, y]);
    const known = places.filter((i) => columns[x][i] !== null && columns[y][i] !== null);
    // 64 bits: 32 would move a position by a tenth of an arcsec and more.
    const taken = (name) => Float64Array.from(known, (i) => columns[name]?.[i] ?? NaN);
    return { x: taken(x), y: taken(y), colour: taken(colour), ids: known.map((i) => columns.object_id[i]) };
  }

  lasso(polygon, x, y) {
    return { x, y, points: polygon.map(([px, py]) => [Number(px.toPrecision(6)), Number(py.toPrecision(6))]) };
  }
}

/** Places of values in order, the first among equals first; missing ones last. */
function ordered(values, descending) {
  const places = Array.from(values.keys());
  const sign = descending ? -1 : 1;
  const before = typeof values.find((value) => value !== null) === "string"
    ? (a, b) => sign * (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : 0)
    : (a, b) => sign * (values[a] - values[b]);
  return places.sort((a, b) => (values[a] === null) - (values[b] === null) || (values[a] === null ? 0 : before(a, b)) || a - b);
}

/** Sky sigmas of each band: a byte a pixel, 0 missing, else linear in asinh between each band's low and high. */
export async function decoded({ data, width, height, low, high }) {
  const bytes = await inflated(data);
  const side = width * height;
  const sigma = low.map((least, band) => {
    const step = (high[band] - least) / 254;
    const levels = Float32Array.from({ length: 256 }, (_, code) => (code ? Math.sinh(least + (code - 1) * step) : NaN));
    return Float32Array.from(bytes.subarray(band * side, (band + 1) * side), (code) => levels[code]);
  });
  return { width, height, sigma };
}
