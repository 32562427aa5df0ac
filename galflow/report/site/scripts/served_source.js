// The explorer's source: all rows of a catalogue, asked of the service on this machine (galflow.explore.service).

import { placeOf, rangeOf } from "./numbers.js";
import { decoded } from "./static_source.js";

const KEPT_AS = "galflow-explore-token";
const SPRITE_ROWS = 100;
const PICTURES_KEPT = 4000;
/** Columns that a page of pictures needs of each row. */
const BRIEF = ["object_id", "source_name", "tile", "row", "ra", "dec", "anomaly_rank", "anomaly_score_sigma", "triage", "artefact_p", "flags"];

export class ServedSource {
  #token = takeToken();
  #schema = null;
  #pictures = new Map();
  #sprites = [];

  /** What the service answers; its own words where it refuses. */
  async ask(path, words = {}, options = {}) {
    const given = new URLSearchParams();
    for (const [name, value] of Object.entries(words)) {
      for (const one of Array.isArray(value) ? value : [value]) if (one !== null && one !== undefined && one !== "") given.append(name, one);
    }
    const headers = { Authorization: `Bearer ${this.#token ?? ""}`, ...(options.body ? { "Content-Type": "application/json" } : {}) };
    let answer;
    try {
      answer = await fetch(`api/${path}?${given}`, { ...options, headers });
    } catch {
      throw new Error("the explorer does not answer; start `galflow explore` again");
    }
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `${answer.status} ${answer.statusText}`);
    return answer;
  }

  async json(path, words, options) {
    return (await this.ask(path, words, options)).json();
  }

  schema() {
    this.#schema ??= this.json("schema");
    return this.#schema;
  }

  /** What selects rows, as the service takes it. */
  async selected(where) {
    const { flags } = await this.schema();
    const place = where?.text ? placeOf(where.text) : null;
    return {
      where: expressionOf(where ?? {}, flags),
      text: place ? "" : where?.text,
      cone: place ? [place.ra, place.dec, place.radius].join(",") : "",
      lasso: where?.area ? JSON.stringify(where.area) : "",
      label: where?.label,
    };
  }

  async question({ where, order, descending }) {
    return { ...(await this.selected(where)), order, descending: Boolean(descending) };
  }

  async rows({ offset = 0, limit = 100, columns, ...question }) {
    const schema = await this.schema();
    const there = new Set(schema.columns.map(({ name }) => name));
    const column = columns ?? [...new Set([...BRIEF, question.order, schema.magnitude])].filter((name) => there.has(name));
    const found = await this.json("rows", { ...(await this.question(question)), offset, limit, column });
    for (const row of found.rows) row.index = row._row;
    this.#draw(found.rows, schema);
    return found;
  }

  async placeOf(id, question) {
    return (await this.json(`objects/${id}/place`, await this.question(question))).place;
  }

  /** Have the pictures of rows drawn that are not drawn yet, a sheet of many at a time. */
  #draw(rows, { sprites: { size }, bands }) {
    if (!bands.length) return;
    const todo = rows.map((row) => row._row).filter((number) => !this.#pictures.has(number));
    for (let start = 0; start < todo.length; start += SPRITE_ROWS) {
      const some = todo.slice(start, start + SPRITE_ROWS);
      const sheet = this.ask("sprite.png", { row: some, side: size }).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob));
      const down = Math.ceil(some.length / 10);
      some.forEach((number, i) => this.#pictures.set(number, sheet.then((url) => ({
        url, size, x: size * (i % 10), y: size * Math.floor(i / 10), width: size * 10, height: size * down,
      }))));
      sheet.catch(() => some.forEach((number) => this.#pictures.delete(number)));
      this.#sprites.push({ sheet, some });
    }
    while (this.#pictures.size > PICTURES_KEPT) {
      const { sheet, some } = this.#sprites.shift();
      some.forEach((number) => this.#pictures.delete(number));
      sheet.then((url) => URL.revokeObjectURL(url), () => {});
    }
  }

  /** A promise of where the row's picture is. */
  thumbnail(row, schema) {
    if (!schema.bands.length) return null;
    if (!this.#pictures.has(row._row)) this.#draw([row], schema);
    return this.#pictures.get(row._row);
  }

  async object(id) {
    let told;
    try {
      told = await this.json(`objects/${encodeURIComponent(id)}`);
    } catch (error) {
      if (/has no object/.test(error.message)) return null;
      throw error;
    }
    const { row } = told;
    row.index = row._row;
    const { pixels } = await this.json(`objects/${id}/pixels`, { row: row._row });
    if (!pixels) return { row, pixels, explained: [] };
    const { bands, to_north } = pixels;
    return { row, pixels: { ...(await decoded(pixels)), bands, to_north }, explained: this.#explained(id, row) };
  }

  /** The models' reconstructions, which may have to be computed first. */
  async #explained(id, row) {
    const { explained } = await this.json(`objects/${id}/explained`, { row: row._row });
    return Promise.all(explained.map(async (one) => ({ ...one, ...(one.origin ? await decoded(one) : {}) })));
  }

  /** What the run's models make of an object; it is made now. */
  async brief(id) {
    const { row } = await this.json(`objects/${encodeURIComponent(id)}`);
    row.index = row._row;
    return { row };
  }

  async similar(id, count) {
    if (!(await this.schema()).neighbours) return [];
    return (await this.json(`objects/${id}/similar`, { count })).rows;
  }

  /** Points, and where they are too many to be sent, how many there are in each cell of the visible part. */
  async points({ x, y, colour, where, bounds, cells }) {
    const found = await this.json("points", { ...(await this.selected(where)), x, y, colour, bounds: bounds?.join(","), cells });
    const taken = (name) => (found[name] ? Float64Array.from(new Float32Array(bytes(found[name]))) : new Float64Array());
    return {
      ...found, x: taken("x"), y: taken("y"), colour: taken("colour"),
      counts: new Uint32Array(bytes(found.counts)), means: found.means && new Float32Array(bytes(found.means)),
    };
  }

  /** How many of the selected rows lie within a line. */
  async within(where, area) {
    const selected = { ...(await this.selected(where)), lasso: "" };
    return (await this.json("selections", selected, { method: "POST", body: JSON.stringify(area) })).rows;
  }

  lasso(polygon, x, y) {
    return { x, y, points: polygon.map(([px, py]) => [Number(px.toPrecision(9)), Number(py.toPrecision(9))]) };
  }

  /** Whether an expression can be computed; throws what is wrong with it. */
  async check(where) {
    await this.json("rows", { where, limit: 0 });
  }

  /** Have the browser download a selection. */
  async download(question, format, limit) {
    const { ticket, rows } = await this.json("exports", { ...(await this.question(question)), format, limit }, { method: "POST" });
    const link = document.createElement("a");
    link.href = `api/export/${ticket}`;
    link.download = "";
    link.click();
    return rows;
  }

  /** Send a selection to TOPCAT and the like. */
  async sendTable(question, limit) {
    return this.json("samp/table", { ...(await this.question(question)), limit }, { method: "POST" });
  }

  /** Show an object's place in Aladin and the like, or load its pixels there; `what`: position or stamp. */
  async sendObject(id, what) {
    return this.json(`samp/objects/${id}/${what}`, {}, { method: "POST" });
  }
}

/** The token out of the address, where it is not left; kept for this browser, and of no use once the service ends. */
function takeToken() {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const given = words.get("token");
  if (given) {
    localStorage.setItem(KEPT_AS, given);
    words.delete("token");
    history.replaceState(null, "", `${location.pathname}${words.size ? `#${words}` : ""}`);
  }
  return localStorage.getItem(KEPT_AS);
}

const named = (name) => `column("${name}")`;

/** The filters as an expression; `flags`: name -> its bit. */
export function expressionOf(filters, flags) {
  const mask = (names) => (names ?? []).reduce((sum, name) => sum | (flags[name]?.bit ?? 0), 0);
  const parts = [];
  if (filters.where?.trim()) parts.push(`(${filters.where})`);
  if (mask(filters.without)) parts.push(`flags & ${mask(filters.without)} == 0`);
  if (mask(filters.only)) parts.push(`flags & ${mask(filters.only)} != 0`);
  if (filters.not?.length) parts.push(`(triage is null or triage not in (${filters.not.map((name) => `"${name}"`).join(", ")}))`);
  if (filters.tile) parts.push(`tile == "${filters.tile.replaceAll('"', "")}"`);
  for (const [name, given] of Object.entries(filters.ranges ?? {})) {
    const { low, high, crosses } = rangeOf(name, given);
    const limits = [];
    if (low !== null) limits.push(`${named(name)} >= ${low}`);
    if (high !== null) limits.push(`${named(name)} <= ${high}`);
    if (limits.length) parts.push(crosses ? `(${limits.join(" or ")})` : limits.join(" and "));
  }
  return parts.join(" and ");
}

function bytes(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
}
