// Draws Mermaid texts, one JSON string a line on stdin, and tells of each on a line what can be seen in its picture:
//   {"title", "nodes": {id: text}, "edges": [[source, target, text]], "groups": {id: {"text", "members": [id]}},
//    "elements": [names of elements within labels]}
// or {"error": message}. In texts a line break is "\n".
import { createInterface } from "node:readline";
import { JSDOM } from "jsdom";

const { window } = new JSDOM("<!DOCTYPE html><body></body>");
Object.assign(globalThis, { window, document: window.document, CSSStyleSheet: window.CSSStyleSheet });
// jsdom computes no layout. Where things stand is not looked at, but a shape must be where its outline is: else an edge
// does not find its border.
window.SVGElement.prototype.getComputedTextLength = () => 80;
window.SVGElement.prototype.getBBox = function () {
  const outline = this.matches("[points], [d]") ? this : this.querySelector("[points], [d]");
  const text = outline?.getAttribute("points") ?? outline?.getAttribute("d") ?? "-40,-8 40,8";
  const numbers = (text.match(/-?[\d.]+/g) ?? []).map(Number);
  const [width, height] = [0, 1].map((axis) => {
    const along = numbers.filter((_, i) => i % 2 === axis);
    return Math.max(...along) - Math.min(...along);
  });
  return { x: -width / 2, y: -height / 2, width, height };
};

const { default: mermaid } = await import("mermaid/dist/mermaid.esm.min.mjs");
mermaid.initialize({ startOnLoad: false }); // else as a page has it that sets nothing up

const elements = new Set();

function seen(label) {
  if (label === null) return "";
  for (const element of label.querySelectorAll("*")) elements.add(element.localName);
  for (const line of label.querySelectorAll("br")) line.replaceWith("\n");
  return label.textContent;
}

async function draw(text) {
  elements.clear();
  const { db } = await mermaid.mermaidAPI.getDiagramFromText(text);
  const { svg } = await mermaid.render("drawing", text);
  const page = new JSDOM(svg).window.document;
  const nodes = {};
  for (const node of page.querySelectorAll("g.node")) {
    nodes[/-flowchart-(\w+)-\d+$/.exec(node.id)[1]] = seen(node.querySelector(".nodeLabel"));
  }
  const labels = {};
  for (const label of page.querySelectorAll("g.edgeLabel > g.label")) {
    labels[label.dataset.id] = seen(label.querySelector(".edgeLabel"));
  }
  const drawn = new Set(Array.from(page.querySelectorAll("path[data-edge]"), (path) => path.dataset.id));
  const edges = db.getEdges().filter((edge) => drawn.has(edge.id));
  const groups = {};
  for (const group of db.getSubGraphs()) {
    const cluster = Array.from(page.querySelectorAll("g.cluster")).find((g) => g.id.endsWith(`-${group.id}`));
    groups[group.id] = { text: seen(cluster.querySelector(".nodeLabel")), members: group.nodes };
  }
  const title = page.querySelector(".flowchartTitleText")?.textContent ?? "";
  return {
    title,
    nodes,
    edges: edges.map((edge) => [edge.start, edge.end, labels[edge.id] ?? ""]),
    groups,
    elements: [...elements].sort(),
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await draw(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
