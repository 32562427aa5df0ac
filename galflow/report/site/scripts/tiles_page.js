// The page Sky and tiles: a map of all tiles by one of their properties, the objects on it, and one tile in words.

import { element, fill } from "./dom.js";
import { noFilters, toAddress } from "./filters.js";
import { mapButtons } from "./latents_page.js";
import { significant } from "./numbers.js";
import { cividis, ends } from "./palette.js";
import { frameOf, PointMap } from "./point_map.js";
import { nameOf, thumbnail } from "./thumbnail.js";

const SHOWN = 500;
/** Of more objects a map of tiles would show nothing else. */
const PROPERTIES = [
  ["share", "share among the 1% most anomalous"], ["objects", "objects"], ["depth_mag", "depth (5σ point source, mag)"],
  ["seeing_arcsec", "seeing (FWHM, arcsec)"], ["sky_sigma", "sky noise"], ["defect_share", "share with a defect"],
];

export async function tilesPage(source, place) {
  const [schema, tiles] = await Promise.all([source.schema(), source.tiles()]);
  tiles.share = tiles.top.map((top, i) => (tiles.ranked[i] ? top / tiles.ranked[i] : null));
  tiles.defect_share = tiles.defects.map((bad, i) => (tiles.objects[i] ? bad / tiles.objects[i] : null));
  const placed = tiles.tile.map((_, i) => i).filter((i) => tiles.ra[i] !== null);
  const said = element("div", { class: "panel", role: "status", hidden: true });
  const finder = tileFinder(tiles, (i) => describe(said, tiles, i));
  if (!placed.length) {
    fill(place, element("p", {}, "No object of this run has a position on the sky, so there is no map."), finder, said);
    document.documentElement.dataset.ready = performance.now().toFixed(0);
    return;
  }
  const known = PROPERTIES.filter(([name]) => tiles[name].some((value) => value !== null));
  const select = element("select", { onchange: () => show(false) }, known.map(([name, words]) => element("option", { value: name }, words)));
  const objects = element("input", { type: "checkbox", checked: true, onchange: () => show(false) });
  const scale = element("span", { class: "scale" });
  let [low, high] = [0, 1];
  const middle = middleRa(placed.map((i) => tiles.ra[i]));
  const around = (ra) => ((((ra - middle + 180) % 360) + 360) % 360) - 180 + middle;

  /** Where a tile's objects lie: from west to east and from south to north, in degrees. */
  const box = (i) => [around(tiles.ra[i]) - tiles.ra_range[i] / 2, around(tiles.ra[i]) + tiles.ra_range[i] / 2, tiles.dec[i] - tiles.dec_range[i] / 2, tiles.dec[i] + tiles.dec_range[i] / 2];

  const map = new PointMap({ x: "right ascension (deg)", y: "declination (deg)", flipped: true, equal: true,
    words: "Map of the sky, north up and east left: click a tile or an object, drag to draw a line around objects, + and − to magnify" }, {
    under: (pen, toScreen) => {
      const colours = cividis();
      for (const i of placed) {
        const value = tiles[select.value][i];
        const [west, east, south, north] = box(i);
        const [left, top] = toScreen(east, north);
        const [right, bottom] = toScreen(west, south);
        pen.fillStyle = value === null ? "#888" : `rgb(${colours((value - low) / (high - low))})`;
        pen.globalAlpha = objects.checked ? 0.45 : 1;
        pen.fillRect(left, top, Math.max(3, right - left), Math.max(3, bottom - top));
        pen.globalAlpha = 1;
        if (tiles.outcome[i] !== "done") {
          pen.strokeStyle = "#d1720f";
          pen.lineWidth = 2;
          pen.strokeRect(left, top, Math.max(3, right - left), Math.max(3, bottom - top));
        }
      }
    },
    hover: async (id, data, at) => {
      if (id === null) return;
      const { row } = await source.brief(id);
      map.tell(at, thumbnail(source, schema, row, nameOf(row)), element("b", {}, `#${row.anomaly_rank} `), nameOf(row));
    },
    pick: (id) => location.assign(`object.html#id=${encodeURIComponent(id)}`),
    place: ([ra, dec]) => {
      const [, best] = placed.map((i) => [Math.hypot((around(tiles.ra[i]) - ra) * Math.cos((dec * Math.PI) / 180), tiles.dec[i] - dec), i]).sort(([a], [b]) => a - b)[0];
      describe(said, tiles, best);
    },
    lasso: (polygon) => location.assign(`anomalies.html#${toAddress({ ...noFilters(), area: source.lasso(polygon, "ra", "dec") })}`),
  });
  map.axes.frame = frameOf({ x: placed.flatMap((i) => box(i).slice(0, 2)), y: placed.flatMap((i) => box(i).slice(2)) });
  async function show(fit = true) {
    [low, high] = ends(placed.map((i) => tiles[select.value][i]).filter((value) => value !== null));
    fill(scale, significant(low), element("i", {}), significant(high));
    const points = objects.checked ? await source.points({ x: "ra", y: "dec", colour: "anomaly_score_sigma", where: { ...noFilters(), ranges: { anomaly_rank: [null, SHOWN] } } }) : { x: new Float64Array(), y: new Float64Array(), colour: new Float32Array(), ids: [] };
    points.x = points.x.map(around);
    map.show(points, ends(points.colour), fit);
  }
  fill(place, element("div", { class: "tools" }, element("label", {}, "Tiles by", select), scale, element("label", {}, objects, `the ${Math.min(SHOWN, schema.rows)} most anomalous`), mapButtons(map), finder), map.node, said);
  await show();
  document.documentElement.dataset.ready = performance.now().toFixed(0);
}

function tileFinder(tiles, found) {
  const input = element("input", { type: "search", list: "tile-names", placeholder: "name", onchange: () => {
    const i = tiles.tile.indexOf(input.value.trim());
    if (i >= 0) found(i);
  } });
  return element("span", { class: "tools" }, element("label", {}, "Tile", input), element("datalist", { id: "tile-names" }, tiles.tile.slice(0, 2000).map((name) => element("option", { value: name }))));
}

/** One tile in words: is it bad? */
function describe(panel, tiles, i) {
  const percent = (value) => (value === null ? "–" : `${(100 * value).toPrecision(2)}%`);
  const doubts = verdicts(tiles, i);
  const list = element("dl", { class: "facts-list" });
  const add = (words, ...content) => list.append(element("dt", {}, words), element("dd", {}, content));
  add("Outcome", tiles.outcome[i], tiles.reasons[i].join("; "));
  add("Objects", `${tiles.objects[i].toLocaleString("en")}, ${tiles.ranked[i].toLocaleString("en")} ranked`);
  add("Anomalies", `${percent(tiles.share[i])} among the 1% most anomalous of the run (others ${percent(tiles.expected)})`);
  add("Defects", percent(tiles.defect_share[i]));
  if (tiles.depth_mag[i] !== null) add("Depth", `${tiles.depth_mag[i].toFixed(2)} mag, 5σ point source in ${tiles.band}`);
  if (tiles.sky_sigma[i] !== null) add("Sky noise", `${significant(tiles.sky_sigma[i])} ${tiles.unit} per pixel in ${tiles.band}`);
  if (tiles.seeing_arcsec[i] !== null) add("Seeing", `${tiles.seeing_arcsec[i].toFixed(2)}″`);
  fill(panel, element("h2", {}, `Tile ${tiles.tile[i]}: ${doubts.length ? `doubtful, ${doubts.join(", ")}` : "like the others"}`), list,
    element("p", { class: "more" }, element("a", { class: "button", href: `anomalies.html#${toAddress({ ...noFilters(), tile: tiles.tile[i] })}` }, "Its anomalies")));
  panel.hidden = false;
}

/** In what a tile stands apart from the others; [] if in nothing. */
export function verdicts(tiles, i) {
  const found = [];
  if (tiles.outcome[i] !== "done") found.push(tiles.outcome[i]);
  const { top, ranked, expected } = { top: tiles.top[i], ranked: tiles.ranked[i], expected: tiles.expected };
  // Three standard deviations of a count above what tiles have on average.
  if (ranked && top > expected * ranked + 3 * Math.sqrt(Math.max(1, expected * ranked))) found.push("many anomalies");
  const apart = (name, words, sign) => {
    const known = tiles[name].filter((value) => value !== null).sort((a, b) => a - b);
    if (known.length < 8 || tiles[name][i] === null) return;
    const at = (share) => known[Math.round(share * (known.length - 1))];
    const spread = (at(0.84) - at(0.16)) / 2;
    if (spread > 0 && sign * (tiles[name][i] - at(0.5)) > 4 * spread) found.push(words);
  };
  apart("depth_mag", "shallow", -1);
  apart("seeing_arcsec", "bad seeing", 1);
  apart("sky_sigma", "noisy", 1);
  apart("defect_share", "many defects", 1);
  return found;
}

function middleRa(all) {
  const sum = (f) => all.reduce((total, ra) => total + f((ra * Math.PI) / 180), 0);
  return (Math.atan2(sum(Math.sin), sum(Math.cos)) * 180) / Math.PI;
}
