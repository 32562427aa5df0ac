// The page Object: one galaxy large, band by band, with what the models make of it and all that is known of it.

import { element, fill, typing } from "./dom.js";
import { fromAddress, toAddress } from "./filters.js";
import { sexagesimal, sigmas, significant } from "./numbers.js";
import { pictures } from "./pictures.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const LIKE_IT = 12;

export async function objectPage(source, place) {
  const schema = await source.schema();
  const keys = { ArrowLeft: -1, ArrowRight: 1, j: 1, k: -1 };
  let turn = () => {};
  const show = async () => {
    const found = await asked(source);
    if (!found) return void fill(place, element("p", { class: "empty" }, "No such object is among those that this report has."));
    turn = await draw(source, schema, place, found);
  };
  addEventListener("hashchange", show);
  document.addEventListener("keydown", (event) => {
    if (typing(event) || event.target.closest?.("[role=toolbar]")) return;
    if (event.key in keys) turn(keys[event.key]);
    else if (event.key === "Escape") turn(0);
  });
  await show();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

/** The object that the address names, else the first in its order. */
async function asked(source) {
  const words = new URLSearchParams(location.hash.replace(/^#/, ""));
  const question = { where: fromAddress(location.hash), order: words.get("sort") ?? "anomaly_rank", descending: words.get("down") === "1" };
  const id = words.get("id") ?? (await source.rows({ ...question, offset: 0, limit: 1 })).rows[0]?.object_id;
  const found = id === undefined ? null : await source.object(id);
  return found && { ...found, id, question };
}

async function draw(source, schema, place, found) {
  const { row, question } = found;
  const title = document.getElementById("title");
  title.textContent = `${nameOf(row)}`;
  document.title = `${nameOf(row)} · ${schema.run}`;
  const turner = element("div", { class: "turner" });
  const side = element("div", {},
    facts(schema, row), links(source, schema, row), scores(schema, row), element("section", { class: "panel likes-panel", hidden: true }));
  fill(place, turner, element("div", { class: "one" }, element("div", {}, pictures(source, schema, found)), side));
  likeIt(source, schema, row, side.querySelector(".likes-panel"));
  return walk(source, turner, row, question);
}

/** Links to the object before and after in the gallery's order; the function that goes there. */
async function walk(source, turner, row, question) {
  const view = { sort: question.order, down: question.descending ? 1 : "" };
  const gallery = `anomalies.html#${toAddress(question.where, view)}`;
  const place = await source.placeOf(row.object_id, question);
  const near = place < 0 ? [] : (await source.rows({ ...question, offset: Math.max(0, place - 1), limit: 3 })).rows;
  const at = near.findIndex((one) => one.object_id === row.object_id);
  const [before, after] = [near[at - 1], near[at + 1]];
  const address = (one) => `#id=${encodeURIComponent(one.object_id)}&${toAddress(question.where, view)}`;
  const button = (one, words) => one ? element("a", { class: "button", href: address(one) }, words) : null;
  fill(turner, element("a", { href: gallery }, "Back to the gallery"), button(before, "← before"), button(after, "after →"),
    element("span", { class: "where" }, place < 0 ? "" : `no. ${(place + 1).toLocaleString("en")} in this order`));
  return (step) => {
    const target = step === 0 ? gallery : step < 0 ? before && address(before) : after && address(after);
    if (target) location.assign(target);
  };
}

function facts(schema, row) {
  const list = element("dl", { class: "facts-list" });
  const add = (words, ...content) => list.append(element("dt", {}, words), element("dd", {}, content));
  add("Rank", `${significant(row.anomaly_rank)} of ${schema.objects.toLocaleString("en")}`);
  add("Ranking score", sigmas(row.anomaly_score_sigma));
  add("p, q", `${significant(row.anomaly_score_p, 2)}, ${significant(row.anomaly_q, 2)}`);
  if (row.triage) add("Most probably", row.triage + (row.artefact_p === null || row.artefact_p === undefined ? "" : ` (artefact: ${(100 * row.artefact_p).toFixed(0)}%)`));
  if (row.label) add("Label", row.label);
  if (row.ra !== null && row.dec !== null) {
    add("RA, Dec (ICRS)", copied(`${row.ra.toFixed(6)} ${row.dec.toFixed(6)}`));
    add("", copied(sexagesimal(row.ra, row.dec)));
  } else add("Position", "not known");
  if (schema.magnitude) add("Magnitude", `${significant(row[schema.magnitude], 4)} (${schema.magnitude})`);
  add("Object", copied(row.object_id));
  if (row.source_name) add("Name", copied(row.source_name));
  add("Tile", element("a", { href: `anomalies.html#${toAddress({ ...fromAddress(""), tile: row.tile })}` }, row.tile), `row ${row.row}`);
  const flags = Object.values(schema.flags).filter(({ bit }) => row.flags & bit);
  add("Flags", flags.length ? flags.map(({ words }) => element("span", { class: "flag" }, words)) : "none");
  return element("section", { class: "panel" }, element("h2", {}, "What it is"), list);
}

/** A text, and a button that copies it. */
function copied(text) {
  const button = element("button", { type: "button", class: "copy", "aria-label": `Copy ${text}`, onclick: async () => {
    button.textContent = (await copy(text)) ? "copied" : "select and copy it by hand";
  } }, "copy");
  return [element("span", { class: "mono" }, text), button];
}

/** Whether the text is in the clipboard now; a page out of a file or a sandbox may have none to write to. */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", {});
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

function links(source, schema, row) {
  if (row.ra === null || row.dec === null) return null;
  const side = ((schema.cutout_pixels * (schema.pixel_scale_arcsec ?? 0.2)) / 3600) * 4;
  const address = (url) => url.replaceAll("{ra}", row.ra.toFixed(6)).replaceAll("{dec}", row.dec.toFixed(6)).replaceAll("{fov}", side.toFixed(4));
  return element("section", { class: "panel" }, element("h2", {}, "Look elsewhere"),
    element("nav", { class: "links", "aria-label": "Other viewers" }, schema.viewers.map(({ name, url }) =>
      element("a", { class: "button", href: address(url), target: "_blank", rel: "noopener noreferrer" }, name))),
    source.sendObject ? sampButtons(source, row) : null);
}

/** What the explorer can send to programs on this machine. */
function sampButtons(source, row) {
  const said = element("p", { class: "note", role: "status" });
  const button = (what, words) => element("button", { type: "button", onclick: async () => {
    try {
      said.textContent = `Sent to ${(await source.sendObject(row.object_id, what)).told.join(", ")}.`;
    } catch (error) {
      said.textContent = error.message;
    }
  } }, words);
  return element("div", {}, element("p", { class: "links" }, button("position", "Point Aladin here (SAMP)"), " ", button("stamp", "Send its FITS stamp (SAMP)")), said);
}

/** All scores, the largest first, with the share of the run's objects that each exceeds. */
function scores(schema, row) {
  const known = schema.scores.map((name) => ({ name, value: row[name] })).sort((a, b) => (b.value ?? -Infinity) - (a.value ?? -Infinity));
  const line = ({ name, value }) => {
    const score = name.replace(/_sigma$/, "");
    const share = name === "anomaly_score_sigma" ? higherThan(schema, row) : percentile(schema.distributions, name, value);
    const words = share === null ? "–" : `${share.toFixed(share > 99 ? 2 : 1)}%`;
    const bar = element("i", {});
    bar.style.width = `${share ?? 0}%`;
    return element("tr", { title: schema.meanings[score] ?? "" }, element("th", { scope: "row", class: score === "anomaly_score" ? "primary" : "" }, score),
      element("td", { class: "n" }, sigmas(value)), element("td", {}, words, element("span", { class: "bar-of", "aria-hidden": "true" }, bar)));
  };
  return element("section", { class: "panel" }, element("h2", {}, "Scores"),
    element("table", { class: "scores" }, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "score"), element("th", { scope: "col", class: "n" }, "σ"), element("th", { scope: "col" }, "exceeds of all objects"))),
      element("tbody", {}, known.map(line))));
}

/** Percent of all objects that rank lower. */
function higherThan({ objects }, { anomaly_rank: rank }) {
  return rank === null ? null : (100 * (objects - rank)) / objects;
}

/** Percent of all objects with a lower value, from the run's histogram; null where either is not known. */
export function percentile({ edges, counts }, name, value) {
  const known = counts[name];
  if (!known || value === null || value === undefined) return null;
  let below = 0;
  let total = 0;
  known.forEach((count, bin) => {
    total += count;
    const [from, to] = [edges[bin - 1] ?? -Infinity, edges[bin] ?? Infinity];
    if (to <= value) below += count;
    else if (from < value && Number.isFinite(from) && Number.isFinite(to)) below += (count * (value - from)) / (to - from);
  });
  return total ? (100 * below) / total : null;
}

async function likeIt(source, schema, row, panel) {
  const found = await source.similar(row.object_id, LIKE_IT);
  if (!found.length) return;
  const address = (one) => `#id=${encodeURIComponent(one.object_id)}`;
  fill(panel, element("h2", {}, "Objects like it"), element("ul", { class: "likes" }, found.map((one) =>
    element("li", {}, element("a", { href: address(one) }, thumbnail(source, schema, one, nameOf(one)), element("span", {}, `#${one.anomaly_rank ?? "–"}`))))));
  panel.hidden = false;
}
