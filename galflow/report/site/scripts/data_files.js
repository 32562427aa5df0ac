// Data beside the page, as script files: a page that was opened by a double click may neither fetch nor import.

const waiting = new Map();
const arrived = new Map();

// Each data file is one call of this.
globalThis.galflowData = (name, content) => {
  arrived.set(name, content);
};

/** What `data/<name>.js` holds; each file is loaded once. */
export function dataFile(name) {
  if (!waiting.has(name)) waiting.set(name, loaded(name));
  return waiting.get(name);
}

async function loaded(name) {
  if (!arrived.has(name)) {
    await new Promise((done, failed) => {
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = done;
      script.onerror = () => failed(new Error(`the report's file data/${name}.js cannot be read: is its folder complete?`));
      document.head.append(script);
    });
  }
  return arrived.get(name);
}

/** The bytes of a text in base64 that was deflated (zlib). */
export async function inflated(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
