// The page Label of the explorer: one object at a time, large, and one key says what it is.

import { element, fill, typing } from "./dom.js";
import { significant } from "./numbers.js";
import { nameOf } from "./thumbnail.js";

const PERSON = "galflow-person";
const AHEAD = 4;
const WORDS = { interesting: "Interesting", artefact: "Artefact", normal: "Normal" };

export async function labelPage(source, place) {
  const page = new LabelPage(source, place);
  await page.start();
}

class LabelPage {
  constructor(source, place) {
    Object.assign(this, { source, place, person: localStorage.getItem(PERSON) ?? "", queue: [], shown: null, standing: null, own: [], pictures: new Map(), work: Promise.resolve() });
    this.stamp = element("img", { class: "label-stamp", alt: "" });
    this.words = element("div", { class: "label-words" });
    this.keys = element("div", { class: "label-keys", role: "group", "aria-label": "What is it?" });
    this.said = element("p", { class: "label-said", role: "status" });
    this.curve = element("figure", { class: "label-gain" });
    this.name = element("input", { type: "text", id: "person", autocomplete: "username", spellcheck: "false", maxlength: 63, placeholder: "ann" });
    this.name.value = this.person;
    this.exports = element("p", { class: "label-take" }, "Take all labels along: ", ["csv", "parquet", "fits"].map((format) =>
      element("button", { type: "button", onclick: () => this.download(format) }, { csv: "CSV", parquet: "Parquet", fits: "FITS" }[format])));
  }

  async start() {
    const who = element("form", { class: "label-who", onsubmit: (event) => { event.preventDefault(); this.begin(); } },
      element("label", { for: "person" }, "Who labels?"), this.name, element("button", { type: "submit" }, "Begin"));
    this.panel = element("div", { class: "label-panel", hidden: true }, element("div", { class: "label-object" }, this.stamp, this.words),
      element("div", { class: "label-side" }, this.keys, this.said, this.curve, this.help(), this.exports));
    fill(this.place, who, this.panel);
    document.addEventListener("keydown", (event) => this.key(event));
    if (this.person) await this.begin();
    else this.name.focus();
    document.documentElement.dataset.ready = "1";
  }

  help() {
    const line = (keys, words) => element("li", {}, keys.map((key) => element("kbd", {}, key)), ` ${words}`);
    return element("details", { class: "label-help" }, element("summary", {}, "Keys"), element("ul", {},
      line(["1", "–", "9"], "says what it is, and goes on"), line(["→", "n"], "goes on without a word"),
      line(["←", "u"], "takes back what you said last"), line(["c"], "gives a class of your own a name"), line(["o"], "opens the object's page")));
  }

  async begin() {
    const person = this.name.value.trim();
    await this.tried(async () => {
      if (!person) throw new Error("give your name first, such as ann");
      this.person = person;
      this.queue = [];
      this.stand(await this.source.json("labels", { by: person }));
      await this.more();
      localStorage.setItem(PERSON, person);
      this.panel.hidden = false;
      this.name.blur();
      await this.show();
    });
  }

  /** The service's words where it refuses, and nothing is lost: what was not stored is still shown. */
  async tried(work) {
    try {
      await work();
      this.said.classList.remove("wrong");
    } catch (error) {
      this.panel.hidden = false;
      this.said.textContent = error.message;
      this.said.classList.add("wrong");
    }
  }

  /** One after another: a key that is pressed while an answer is awaited is of the next object. */
  then(work) {
    this.work = this.work.then(() => this.tried(work));
    return this.work;
  }

  stand(standing) {
    this.standing = standing;
    this.classes = [...new Set([...standing.classes, ...this.own])].slice(0, 9);
    fill(this.keys, this.classes.map((name, i) => element("button", { type: "button", "data-label": name, onclick: () => this.then(() => this.say(name)) },
      element("kbd", {}, String(i + 1)), element("span", {}, WORDS[name] ?? name), element("span", { class: "count" }, String(standing.counts[name] ?? 0)))),
    element("button", { type: "button", class: "other", onclick: () => this.then(() => this.name_class()) }, element("kbd", {}, "c"), element("span", {}, "Another class …")));
    this.draw(standing.gain);
  }

  async more() {
    const { rows, probability } = await this.source.json("labels/next", { by: this.person, n: AHEAD });
    this.queue = rows.map((row, i) => ({ row, probability: probability[i] }));
    for (const { row } of this.queue) this.picture(row);
  }

  picture(row) {
    const id = row.object_id;
    if (!this.pictures.has(id)) this.pictures.set(id, this.source.ask(`objects/${id}/cutout.png`).then((answer) => answer.blob()).then((blob) => URL.createObjectURL(blob), () => null));
    return this.pictures.get(id);
  }

  async show() {
    const next = this.queue[0];
    this.shown = next?.row ?? null;
    this.keys.toggleAttribute("inert", !next);
    if (!next) {
      this.stamp.removeAttribute("src");
      fill(this.words, element("h2", {}, "Everything is labelled"), element("p", {}, "No object is left that nobody labelled."));
      return;
    }
    const { row, probability } = next;
    const url = await this.picture(row);
    this.stamp.hidden = !url;
    if (url) this.stamp.src = url;
    this.stamp.alt = `Object ${nameOf(row)}, in colour`;
    const fact = (name, value) => (value === null || value === undefined || value === "" ? [] : [element("dt", {}, name), element("dd", {}, value)]);
    fill(this.words, element("h2", { class: "mono" }, nameOf(row)), element("dl", {},
      fact("Rank", row.anomaly_rank?.toLocaleString("en")), fact("Score", row.anomaly_score_sigma === null ? null : `${significant(row.anomaly_score_sigma)} σ`),
      fact("Interesting", probability === null ? null : `${Math.round(100 * probability)}% by the labels so far`),
      fact("Triage", row.triage), fact("Position", row.ra === null || row.ra === undefined ? null : `${row.ra.toFixed(5)} ${row.dec.toFixed(5)}`), fact("Tile", row.tile)));
  }

  async say(label) {
    if (!this.shown) return;
    const id = this.shown.object_id;
    const standing = await this.source.json("labels", {}, { method: "POST", body: JSON.stringify({ ids: [id], label, by: this.person }) });
    this.said.textContent = `${nameOf(this.shown)}: ${WORDS[label] ?? label}. Stored.`;
    this.stand(standing);
    await this.more();
    await this.show();
  }

  async skip() {
    this.queue.push(this.queue.shift());
    await this.show();
  }

  async undo() {
    const found = await this.source.json("labels/undo", {}, { method: "POST", body: JSON.stringify({ by: this.person }) });
    this.stand(found);
    this.said.textContent = found.rows.length ? `${nameOf(found.rows[0])}: taken back.` : "There is nothing to take back.";
    this.queue = [...found.rows.map((row) => ({ row, probability: null })), ...this.queue.filter(({ row }) => row.object_id !== found.rows[0]?.object_id)];
    await this.show();
  }

  async name_class() {
    const name = (prompt("Name of the class, such as ring galaxy") ?? "").trim().toLowerCase();
    if (!name) return;
    this.own = [...new Set([...this.own, name])];
    await this.say(name);
  }

  async download(format) {
    await this.tried(async () => {
      const url = URL.createObjectURL(await (await this.source.ask(`labels/export/${format}`)).blob());
      const link = element("a", { href: url, download: `labels.${format}` });
      link.click();
      URL.revokeObjectURL(url);
    });
  }

  key(event) {
    if (typing(event) || this.panel.hidden) return;
    const number = Number(event.key);
    const label = Number.isInteger(number) && event.key.trim() !== "" ? this.classes[number - 1] : null;
    if (label) this.then(() => this.say(label));
    else if (["ArrowRight", "n"].includes(event.key)) this.then(() => this.skip());
    else if (["ArrowLeft", "u", "Backspace"].includes(event.key)) this.then(() => this.undo());
    else if (event.key === "c") this.then(() => this.name_class());
    else if (event.key === "o" && this.shown) location.assign(`object.html#id=${encodeURIComponent(this.shown.object_id)}`);
    else return;
    event.preventDefault();
  }

  /** Interesting objects found, against the number of labels, and what the run's own ranking would have found. */
  draw({ found, plain }) {
    if (found.length < 2) return void fill(this.curve, element("figcaption", {}, "What labelling finds is drawn here from the second label on."));
    const [width, height, left, below] = [320, 150, 30, 22];
    const most = Math.max(1, ...found, ...plain);
    const x = (i) => left + ((width - left - 8) * i) / Math.max(1, found.length);
    const y = (value) => height - below - ((height - below - 10) * value) / most;
    const line = (values, name) => svg("polyline", { class: name, points: [[0, 0], ...values.map((v, i) => [i + 1, v])].map(([i, v]) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(" ") });
    const text = (at, words, anchor = "start") => svg("text", { x: at[0], y: at[1], "text-anchor": anchor }, words);
    const last = found[found.length - 1];
    const expected = plain[plain.length - 1];
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${last} interesting objects among ${found.length} labels; the run's own order would have found about ${Math.round(expected)}` },
      svg("path", { class: "axis", d: `M${left},6V${height - below}H${width - 8}` }), line(plain, "plain"), line(found, "found"),
      text([left - 5, y(most) + 4], String(Math.round(most)), "end"), text([left - 5, y(0)], "0", "end"), text([width - 8, height - 6], `${found.length} labels`, "end"));
    fill(this.curve, drawn, element("figcaption", {}, element("b", { class: "found" }, `${last} interesting`), ` of ${found.length} labelled; `,
      element("b", { class: "plain" }, `about ${Math.round(expected)}`), ` in the run's own order (dashed)`));
  }
}

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
