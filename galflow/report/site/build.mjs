// `make pages`: scripts/*.js and the npm packages become built/site.js, one classic script, as a page needs that was
// opened by a double click. Its first line names the sources by a hash, so that a test sees when it is older than them.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = new URL(".", import.meta.url).pathname;
const hash = createHash("sha256");
for (const name of readdirSync(`${here}scripts`).sort()) hash.update(name).update(readFileSync(`${here}scripts/${name}`));
hash.update(readFileSync(`${here}package-lock.json`));
const made = await build({
  entryPoints: [`${here}scripts/main.js`], bundle: true, format: "iife", target: "es2022", minify: true, write: false,
  legalComments: "eof", charset: "utf8",
});
const text = `/* galflow pages; sources sha256 ${hash.digest("hex")} */\n${made.outputFiles[0].text}`;
writeFileSync(`${here}built/site.js`, text);
console.log(`built/site.js: ${text.length} bytes`);
