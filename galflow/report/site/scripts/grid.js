// A grid of equal cells of which only those in view exist: as many rows as a catalogue has.
//
// All cells have one size, so what is in view is a division; the measuring of general virtual lists, which keep a
// record for each row, would not hold ten million. Browsers lay out some 16 million pixels: a longer grid is scrolled
// in proportion.

const TALLEST = 8_000_000;
const SPARE_ROWS = 2;

export class Grid {
  #rows = [];
  #first = 0;
  #total = 0;
  #asked = 0;

  /**
   * @param {HTMLElement} list      an element that holds the cells and is as high as all of them
   * @param {{least: number, caption: number, gap: number}} size   least width of a cell, what it is higher than wide
   * @param {(offset: number, limit: number) => Promise<{total, rows}>} fetch
   * @param {(row: Object, place: number, total: number) => HTMLElement} cell
   */
  constructor(list, size, fetch, cell) {
    Object.assign(this, { list, size, fetch, cell });
    addEventListener("scroll", () => this.draw(), { passive: true });
    new ResizeObserver(() => this.draw()).observe(list.parentElement);
  }

  get total() {
    return this.#total;
  }

  /** Columns, width of a cell and height of a row. */
  get layout() {
    const { least, caption, gap } = this.size;
    const wide = this.list.parentElement.clientWidth;
    const across = Math.max(2, Math.floor((wide + gap) / (least + gap)));
    const width = Math.floor((wide - gap * (across - 1)) / across);
    return { across, width, height: width + caption + gap };
  }

  /** Show other rows, from the top. */
  async reset() {
    this.#rows = [];
    this.#first = 0;
    await this.draw(true);
  }

  /** Fetch and place the cells in view. */
  async draw(fresh = false) {
    const { across, width, height } = this.layout;
    const tall = Math.ceil(this.#total / across) * height;
    const shown = Math.min(tall, TALLEST);
    const above = fresh ? 0 : Math.max(0, -this.list.getBoundingClientRect().top);
    const scale = tall > shown ? (tall - innerHeight) / (shown - innerHeight) : 1;
    const row = Math.max(0, Math.floor((above * scale) / height) - SPARE_ROWS);
    const offset = row * across;
    const limit = (Math.ceil(innerHeight / height) + 2 * SPARE_ROWS + 1) * across;
    const there = !fresh && offset >= this.#first && offset + limit <= this.#first + this.#rows.length;
    const asked = ++this.#asked;
    if (!there) {
      const found = await this.fetch(offset, limit + 4 * across);
      if (asked !== this.#asked) return;
      this.#rows = found.rows;
      this.#first = offset;
      if (found.total !== this.#total) {
        this.#total = found.total;
        this.list.style.height = `${Math.min(Math.ceil(found.total / across) * height, TALLEST)}px`;
        if (!fresh) return void (await this.draw());
      }
    }
    this.list.style.height = `${Math.min(Math.ceil(this.#total / across) * height, TALLEST)}px`;
    this.#place(offset, limit, { across, width, height }, scale === 1 ? 0 : above - above * scale);
  }

  #place(offset, limit, { across, width, height }, shift) {
    const focused = document.activeElement?.closest("[data-place]")?.dataset.place;
    const cells = [];
    const end = Math.min(this.#total, offset + limit, this.#first + this.#rows.length);
    const known = new Map([...this.list.children].map((cell) => [cell.dataset.key, cell]));
    for (let place = offset; place < end; place++) {
      const row = this.#rows[place - this.#first];
      const key = `${row.object_id} ${row.row} ${place}`;
      const cell = known.get(key) ?? this.cell(row, place, this.#total);
      cell.dataset.key = key;
      cell.dataset.place = place;
      cell.setAttribute("aria-posinset", place + 1);
      cell.setAttribute("aria-setsize", this.#total);
      cell.style.width = `${width}px`;
      cell.style.transform = `translate(${(place % across) * (width + this.size.gap)}px, ${Math.floor(place / across) * height + shift}px)`;
      cells.push(cell);
    }
    this.list.replaceChildren(...cells);
    if (focused !== undefined) this.focus(Number(focused), false);
  }

  /** Give the keyboard to the cell at this place; true if it is there. */
  focus(place, scroll = true) {
    const link = this.list.querySelector(`[data-place="${place}"] a`);
    link?.focus({ preventScroll: true });
    if (link && scroll) link.scrollIntoView({ block: "nearest" });
    return Boolean(link);
  }

  /** Scroll to a place and give it the keyboard. */
  async go(place) {
    const wanted = Math.max(0, Math.min(this.#total - 1, place));
    const { across, height } = this.layout;
    const tall = Math.ceil(this.#total / across) * height;
    const scale = tall > TALLEST ? (tall - innerHeight) / (TALLEST - innerHeight) : 1;
    if (!this.focus(wanted)) {
      const top = (Math.floor(wanted / across) * height) / scale;
      scrollTo({ top: this.list.getBoundingClientRect().top + scrollY + top - innerHeight / 3 });
      await this.draw();
      this.focus(wanted);
    }
  }
}
