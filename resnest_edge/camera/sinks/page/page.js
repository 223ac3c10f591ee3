"use strict";

// A browser opens about six connections to one host. Up to four sources stream; above that, each picture is fetched.
const MOST_STREAMS = 4;
const PERIOD_MS = 1000;
const COUNTS = ["captured", "inferred", "dropped", "failed", "reconnects", "corrupt"];
const KINDS = { streaming: "good", ended: "plain", connecting: "warn", reconnecting: "warn", stalled: "bad", failed: "bad" };

const cards = new Map();
const find = (id) => document.getElementById(id);

function element(name, text, className) {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

function badge(node, text, kind) {
  node.textContent = text;
  node.dataset.kind = kind;
}

function card(name) {
  if (!cards.has(name)) {
    const made = find("source").content.firstElementChild.cloneNode(true);
    made.querySelector(".name").textContent = name;
    find("sources").append(made);
    cards.set(name, made);
  }
  return cards.get(name);
}

function picture(made, name, last, streams) {
  const image = made.querySelector("img");
  const path = streams ? `stream/${encodeURIComponent(name)}` : `snapshot/${encodeURIComponent(name)}?${last.frame_id}`;
  if (image.getAttribute("src") !== path) {
    image.src = path;
    image.alt = `newest picture of ${name}`;
  }
  image.hidden = false;
  made.querySelector(".waiting").hidden = true;
}

function answer(each) {
  const item = document.createElement("li");
  const bar = document.createElement("progress");
  bar.max = 1;
  bar.value = each.probability;
  bar.setAttribute("aria-label", each.label);
  item.append(element("span", each.label, "label"), element("span", `${(100 * each.probability).toFixed(1)} %`), bar);
  return item;
}

function count([key, value]) {
  const pair = document.createElement("div");
  pair.append(element("dt", key), element("dd", value.toLocaleString()));
  return pair;
}

function show(name, source, streams) {
  const made = card(name);
  const state = source.counts ? source.counts.state : "connecting";
  badge(made.querySelector(".state"), state, KINDS[state] || "plain");
  if (source.last) {
    picture(made, name, source.last, streams);
    const answers = source.last.answers.map(answer);
    if (!answers.length) answers.push(element("li", "no class reaches the threshold", "waiting"));
    made.querySelector(".answers").replaceChildren(...answers);
  }
  const speed = [`${source.rate.toFixed(1)} answers a second`];
  if (source.p50_ms !== null) speed.push(`p50 ${source.p50_ms.toFixed(1)} ms`, `p90 ${source.p90_ms.toFixed(1)} ms`);
  made.querySelector(".speed").textContent = speed.join(" · ");
  const counts = source.counts || {};
  made.querySelector("dl").replaceChildren(...COUNTS.map((key) => count([key, counts[key] || 0])));
}

function draw(status) {
  const sources = Object.entries(status.sources);
  find("empty").hidden = sources.length > 0;
  for (const [name, source] of sources) show(name, source, sources.length <= MOST_STREAMS);
  const troubles = status.troubles;
  badge(find("health"), troubles.length ? troubles.join("; ") : "all well", troubles.length ? "bad" : "good");
  const bundles = [...new Set(sources.map(([, source]) => source.last && source.last.bundle).filter(Boolean))];
  find("run").textContent = [...bundles, `${status.classes} classes`, `up ${status.uptime_s.toFixed(0)} s`].join(" · ");
  const sinks = Object.entries(status.sinks).map(([name, counters]) =>
    element("li", `${name}: ${Object.entries(counters).map(([key, value]) => `${value} ${key}`).join(", ")}`));
  find("sinks").replaceChildren(...sinks);
  find("others").hidden = sinks.length === 0;
}

async function status() {
  try {
    const response = await fetch("status.json", { signal: AbortSignal.timeout(5 * PERIOD_MS) });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

async function look() {
  const found = await status();
  if (found) draw(found);
  else badge(find("health"), "the run does not answer", "bad");
  setTimeout(look, PERIOD_MS);
}

look();
