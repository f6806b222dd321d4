// The explorer: controls, linked charts, and tables of what is shown. Bundled with Vega by
// explorer_page.py. The data are JSON in the page; every name reaches the page as text.

const {charts, studies, heads} = JSON.parse(document.getElementById("explorer-data").textContent);
const root = document.getElementById("explorer");
const dark = matchMedia("(prefers-color-scheme: dark)");
// Colors of the palette that are too dark on a dark page.
const ON_DARK = {"#000000": "#f2f2f2", "#0072B2": "#4aa8e0", "#332288": "#9b8cf0",
                 "#882255": "#d46a9a", "#AA4499": "#d07cc4"};
const THEMES = [["auto", "as the system"], ["light", "light"], ["dark", "dark"]];
const NO_METHOD = "all";

const number = (value, digits) => value == null ? "–" : value.toFixed(digits).replace("-", "−");

/** Make an element with properties, attributes (names with a hyphen, or role) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "role" || name === "for" || name.includes("-")) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter(child => child != null));
  return element;
}

// ---- What is shown, and the part of the address that says it ---------------------------------

const state = {};

function reset(study) {
  Object.assign(state, {
    study, measure: study.measures[0]?.[0], method: study.methods[0],
    models: new Set(study.models.map(model => model.name)), emotions: new Set(study.emotions),
    heat: study.models[0]?.name, twins: true, numbers: false,
  });
}

/** Take the view from the address; return what it names that is not here. */
function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const unknown = [];
  const known = (name, options, otherwise) => {
    if (!asked.has(name)) return otherwise;
    if (options.includes(asked.get(name))) return asked.get(name);
    unknown.push(`${name} “${asked.get(name)}”`);
    return otherwise;
  };
  const several = (name, options) => {
    const all = asked.getAll(name);
    const there = all.filter(value => options.includes(value));
    unknown.push(...all.filter(value => value && !options.includes(value)).map(v => `${name} “${v}”`));
    return new Set(there.length || all.includes("") ? there : options);
  };
  const names = studies.map(study => study.name);
  const study = studies[Math.max(names.indexOf(known("study", names, names[0])), 0)];
  reset(study);
  const models = study.models.map(model => model.name);
  state.measure = known("measure", study.measures.map(([name]) => name), state.measure);
  state.method = known("method", study.methods, state.method);
  state.heat = known("heat", models, state.heat);
  state.models = several("model", models);
  state.emotions = several("concept", study.emotions);
  state.twins = asked.get("twins") !== "no";
  state.numbers = asked.get("numbers") === "yes";
  state.theme = known("theme", THEMES.map(([name]) => name), state.theme ?? "auto");
  return unknown;
}

function address() {
  const {study} = state;
  const said = new URLSearchParams({study: study.name, measure: state.measure});
  if (state.method !== NO_METHOD) said.set("method", state.method);
  const chosen = (name, set, size) => {
    if (set.size === size) return;
    for (const value of set.size ? set : [""]) said.append(name, value);
  };
  chosen("model", state.models, study.models.length);
  chosen("concept", state.emotions, study.emotions.length);
  if (state.heat !== study.models[0]?.name) said.set("heat", state.heat);
  if (!state.twins) said.set("twins", "no");
  if (state.numbers) said.set("numbers", "yes");
  if (state.theme !== "auto") said.set("theme", state.theme);
  return `#${said}`;
}

// ---- The data of the view ---------------------------------------------------------------------

const isDark = () => state.theme === "dark" || (state.theme === "auto" && dark.matches);
const shade = color => isDark() ? ON_DARK[color] ?? color : color;
const label = () => state.study.measures.find(([name]) => name === state.measure)?.[1] ?? "";
const position = (list, name) => list.indexOf(name);

function chosen(curve) {
  const {study} = state;
  return study.measures[curve.metric][0] === state.measure
    && (study.methods[curve.method] === state.method || curve.trained === false);
}

/** Return a layer's mean over the chosen concepts; a baseline has a single row of another name. */
function mean(curve, layer) {
  const {study} = state;
  const counts = emotion => state.emotions.has(emotion) || !study.emotions.includes(emotion);
  const values = curve.emotions
    .map((emotion, i) => counts(emotion) ? curve.scores[i][layer] : null)
    .filter(value => value != null);
  return values.length ? values.reduce((a, b) => a + b) / values.length : null;
}

function view() {
  const {study} = state;
  const whole = state.emotions.size === study.emotions.length;
  const profiles = [], bands = [];
  for (const curve of study.curves.filter(chosen)) {
    const model = study.models[curve.model];
    if (!state.models.has(model.name) || (!curve.trained && !state.twins)) continue;
    curve.layers.forEach((layer, i) => {
      const facts = {model: model.name, color: shade(model.color), layer, depth: curve.depths[i],
                     weights: curve.trained ? "trained" : "untrained"};
      const score = mean(curve, i);
      if (score == null) return;
      const [low, high] = whole && curve.low ? [curve.low[i], curve.high[i]] : [null, null];
      profiles.push({...facts, score, low, high, opacity: curve.trained ? 1 : 0.45});
      if (low != null) bands.push({...facts, low, high});
    });
  }
  const cut = end => end == null ? null : Math.min(Math.max(end, 0), 1);
  const peaks = study.peaks
    .filter(peak => study.measures[peak.metric][0] === state.measure
      && study.methods[peak.method] === state.method
      && state.models.has(study.models[peak.model].name))
    .map(({model, shape, reason, peak, low, high}) => ({
      model: study.models[model].name, color: shade(study.models[model].color), shape, reason,
      peak, low: cut(low), high: cut(high)}))
    .sort((a, b) => order(a) - order(b));
  const band = study.band ? [{low: study.band[0], high: study.band[1]}] : [];
  return {profiles, bands, peaks, band, heat: heat()};
}

const order = row => position(state.study.models.map(model => model.name), row.model);

function heat() {
  const {study} = state;
  const curve = study.curves.find(
    one => chosen(one) && one.trained && study.models[one.model].name === state.heat);
  if (!curve) return [];
  const average = row => row.reduce((a, b) => a + (b ?? 0), 0) / row.length;
  const sorted = curve.emotions.map((emotion, i) => ({emotion, row: curve.scores[i]}))
    .sort((a, b) => average(b.row) - average(a.row));
  return sorted.flatMap(({emotion, row}) => row.map((score, i) => ({
    emotion, score, layer: curve.layers[i], depth: curve.depths[i],
    opacity: state.emotions.has(emotion) || !study.emotions.includes(emotion) ? 1 : 0.25})));
}

// ---- Charts -----------------------------------------------------------------------------------

const shown = {};
let turn = 0;

function style() {
  const [ink, soft, grid] = isDark() ? ["#e4e8ee", "#a6b0bd", "#333b45"]
    : ["#1d2129", "#535c69", "#e4e7eb"];
  const text = {labelColor: soft, titleColor: soft, labelFontSize: 12, titleFontSize: 12};
  return {background: null, font: "system-ui, sans-serif", view: {stroke: null},
          axis: {...text, gridColor: grid, domainColor: soft, tickColor: soft},
          legend: text, title: {color: ink}};
}

async function draw(rows) {
  const mine = ++turn;
  const options = {renderer: "svg", actions: false, ast: true, mode: "vega-lite"};
  for (const [name, chart] of Object.entries(charts)) {
    const place = parts[name];
    const empty = !rows[name].length;
    place.note.hidden = !empty;
    place.chart.hidden = empty;
    if (empty) continue;
    const spec = {...structuredClone(chart), datasets: rows, config: style()};
    // Models without a peak keep their row.
    for (const {encoding} of name === "peaks" ? spec.layer : []) {
      if (encoding.y) encoding.y.scale = {domain: rows.peaks.map(row => row.model)};
    }
    const made = await vegaEmbed(place.inner, spec, options);
    if (mine !== turn) return made.finalize();
    shown[name]?.finalize();
    shown[name] = made;
    made.view.addEventListener("pointerover", (_, item) => light(item?.datum?.model));
    made.view.addEventListener("pointerout", () => light(""));
    if (name === "heat") made.view.addEventListener("click", (event, item) => pick(item, event));
  }
  root.dataset.drawn = mine;
}

/** Highlight a model in the curves and among the peaks. */
function light(model) {
  for (const name of ["profiles", "peaks"]) {
    if (shown[name]) shown[name].view.signal("lit", model ?? "").runAsync();
  }
}

/** Average over the concepts that were clicked; a second click on one takes it out again. */
function pick(item) {
  const emotion = item?.datum?.emotion, all = state.study.emotions;
  if (!emotion) return;
  if (state.emotions.size === all.length) state.emotions = new Set([emotion]);
  else if (state.emotions.has(emotion)) state.emotions.delete(emotion);
  else state.emotions.add(emotion);
  if (!state.emotions.size) state.emotions = new Set(all);
  build();
}

// ---- Tables -----------------------------------------------------------------------------------

function table(caption, head, rows, digits = []) {
  const cell = (value, i) => {
    if (!(i in digits) || digits[i] == null) return make("td", {}, String(value ?? "–"));
    return make("td", {className: "number"}, digits[i] === 0 ? String(value ?? "–") : number(value, digits[i]));
  };
  const body = rows.map(row => {
    const line = make("tr", {}, ...row.map(cell));
    const first = make("th", {scope: "row"}, String(row[0]));
    line.firstChild.replaceWith(first);
    return line;
  });
  return make("div", {className: "wide", role: "region", tabIndex: 0, "aria-label": caption},
    make("table", {}, make("caption", {}, caption),
      make("thead", {}, make("tr", {}, ...head.map(name => make("th", {scope: "col"}, name)))),
      make("tbody", {}, ...body)));
}

function tables(rows) {
  const {study} = state, measure = label();
  const layers = [...new Set(rows.heat.map(row => row.layer))];
  const emotions = [...new Set(rows.heat.map(row => row.emotion))];
  const score = new Map(rows.heat.map(row => [JSON.stringify([row.emotion, row.layer]), row.score]));
  return [
    table(`${measure} by layer`, ["Model", "Weights", "Layer", "Depth", measure, "Low", "High"],
      rows.profiles.map(r => [r.model, r.weights, r.layer, r.depth, r.score, r.low, r.high]),
      [null, null, 0, 2, 4, 4, 4]),
    table(`${measure} by ${study.words.concept} and layer in ${state.heat}`,
      [study.words.concept, ...layers.map(String)],
      emotions.map(e => [e, ...layers.map(l => score.get(JSON.stringify([e, l])))]),
      [null, ...layers.map(() => 3)]),
  ];
}

/** Return what is shown as a file of comma-separated values. */
function file(rows) {
  const quoted = value => {
    const text = String(value ?? "");
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const head = ["study", "measure", "method", "model", "weights", "layer", "depth", "score", "low", "high"];
  const facts = [state.study.name, state.measure, state.method];
  const lines = rows.profiles.map(
    r => [...facts, r.model, r.weights, r.layer, r.depth, r.score, r.low, r.high]);
  return [head, ...lines].map(line => line.map(quoted).join(",")).join("\n") + "\n";
}

function save() {
  const link = make("a", {href: URL.createObjectURL(new Blob([file(view())], {type: "text/csv"})),
                          download: "profiles.csv"});
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ---- The page ---------------------------------------------------------------------------------

const parts = {};

function field(name, text, options, value, choose) {
  const id = `explorer-${name}`;
  const box = make("select", {id}, ...options.map(([key, title]) => make("option", {value: key}, title)));
  box.value = value;
  box.addEventListener("change", () => choose(box.value));
  return make("label", {className: "field", for: id}, text, box);
}

/** Return a group of boxes to tick, with a button for all or none. */
function ticks(name, text, options, set, open = true) {
  const boxes = options.map(({value, color}) => {
    const box = make("input", {type: "checkbox", checked: set.has(value), value});
    box.addEventListener("change", () => {
      if (box.checked) set.add(value); else set.delete(value);
      refresh();
    });
    const line = color ? make("span", {className: "swatch", "aria-hidden": "true"}) : null;
    if (line) line.style.color = shade(color);
    const named = make("label", {}, box, line, value);
    if (color) {
      named.addEventListener("pointerenter", () => light(value));
      named.addEventListener("pointerleave", () => light(""));
      box.addEventListener("focus", () => light(value));
      box.addEventListener("blur", () => light(""));
    }
    return named;
  });
  const list = make("div", {className: "choices", id: `explorer-${name}`, hidden: !open}, ...boxes);
  const every = make("button", {type: "button", className: "all"}, "All or none");
  every.addEventListener("click", () => {
    const none = set.size === options.length;
    set.clear();
    if (!none) options.forEach(({value}) => set.add(value));
    for (const box of list.querySelectorAll("input")) box.checked = !none;
    refresh();
  });
  const toggle = make("button", {type: "button", className: "all", "aria-expanded": String(open),
                                 "aria-controls": list.id}, open ? "Hide" : "Choose");
  toggle.addEventListener("click", () => {
    list.hidden = !list.hidden;
    toggle.textContent = list.hidden ? "Choose" : "Hide";
    toggle.setAttribute("aria-expanded", String(!list.hidden));
    expanded[name] = !list.hidden;
  });
  return make("fieldset", {}, make("legend", {}, text), toggle, every, list);
}

const expanded = {models: true, concepts: false};

function controls() {
  const {study} = state;
  const set = (name, value) => { state[name] = value; refresh(); };
  const models = study.models.map(model => ({value: model.name, color: model.color}));
  const names = list => list.map(name => [name, name]);
  const twins = make("input", {type: "checkbox", checked: state.twins});
  twins.addEventListener("change", () => set("twins", twins.checked));
  const numbers = make("button", {type: "button", id: "explorer-numbers",
                                  "aria-expanded": String(state.numbers), "aria-controls": "explorer-tables"});
  numbers.addEventListener("click", () => set("numbers", !state.numbers));
  const csv = make("button", {type: "button"}, "Save as CSV");
  csv.addEventListener("click", save);
  parts.numbers = numbers;
  parts.link = make("a", {}, "Link to this view");
  const several = study.words.concepts;
  const form = make("form", {"aria-label": "What is shown"},
    studies.length > 1 ? field("study", "Study", names(studies.map(one => one.name)), study.name, name => {
      reset(studies.find(one => one.name === name));
      build("study");
    }) : null,
    field("measure", "Measure", study.measures, state.measure, value => set("measure", value)),
    state.method === NO_METHOD ? null
      : field("method", "Method", names(study.methods), state.method, value => set("method", value)),
    field("heat", "Model of the heat map", names(study.models.map(model => model.name)), state.heat,
      value => set("heat", value)),
    ticks("models", "Models", models, state.models, expanded.models),
    study.emotions.length > 1 ? ticks("concepts", `The profiles are means over these ${several}`,
      study.emotions.map(value => ({value})), state.emotions, expanded.concepts) : null,
    study.curves.some(curve => !curve.trained)
      ? make("label", {}, twins, " Untrained twins (dashed)") : null,
    numbers, csv,
    field("theme", "Colors", THEMES, state.theme, value => {
      state.theme = value;
      build("theme");
    }),
    parts.link);
  form.addEventListener("submit", event => event.preventDefault());
  return form;
}

function section(name, title, empty, said) {
  const heading = make("h2", {id: `explorer-${name}-title`}, title);
  // Vega gives the element that it draws in a role of its own.
  const inner = make("div"), chart = make("div", {className: "chart", role: "img"}, inner);
  const note = make("p", {className: "note", hidden: true}, empty);
  parts[name] = {heading, chart, inner, note};
  return make("section", {"aria-labelledby": heading.id}, heading, note, chart,
    said ? make("p", {className: "note"}, said) : null);
}

function listed(name, title, head, rows, prose) {
  if (!rows.length) return null;
  const made = table(title, head, rows);
  made.classList.add("said");
  for (const cell of made.querySelectorAll("td")) {
    if (["supported", "contradicted"].includes(cell.textContent)) cell.className = cell.textContent;
  }
  const heading = make("h2", {id: `explorer-${name}`}, title);
  return make("section", {"aria-labelledby": heading.id}, heading,
    make("p", {className: "prose"}, prose), made);
}

/** Make the page anew, and give the focus back to the control that asked for it. */
function build(focus) {
  document.documentElement.dataset.theme = state.theme === "auto" ? "" : state.theme;
  parts.status ??= make("p", {role: "status"});
  const {study} = state;
  root.replaceChildren(...[
    controls(), parts.status,
    make("div", {className: "charts"},
      section("profiles", "", "No curve: choose a model, and a method that it was measured with.", study.said),
      section("peaks", "Depth of the peak", "No profile: choose a model.")),
    parts.peakTable = make("div"),
    section("heat", "", "This model was not measured with this method."),
    parts.tables = make("div", {id: "explorer-tables"}),
    listed("claims", "Claims", heads.claims, study.claims,
      "Every claim, with the reason for its verdict: about models like these, with the family as the "
      + "unit, and about these models, with the topic as the unit."),
    listed("examples", "Examples of steering", heads.examples, study.examples,
      "For each model and regime, the text with the median gain of its group, cut where it is long."),
  ].filter(part => part != null));
  refresh();
  if (focus) document.getElementById(`explorer-${focus}`)?.focus();
}

/** Show what is chosen: charts, tables, what is said, and the address. */
function refresh() {
  const {study} = state, rows = view(), measure = label();
  const under = state.method === NO_METHOD ? "" : `, ${state.method}`;
  parts.profiles.heading.textContent = `${measure} by depth`;
  parts.heat.heading.textContent =
    `${study.words.concepts[0].toUpperCase()}${study.words.concepts.slice(1)} in ${state.heat}`;
  const peaks = rows.peaks.filter(row => row.peak != null);
  const where = peaks.map(row => `${row.model} at ${number(row.peak, 2)}`).join(", ");
  const told = `${measure}${under}: ${state.models.size} of ${study.models.length} models, `
    + `${state.emotions.size} of ${study.emotions.length} ${study.words.concepts}. `
    + (peaks.length ? `Peaks: ${where}.` : "No peak inside any network is shown.");
  if (parts.status.textContent !== told) parts.status.textContent = told;
  const also = " The button Show the numbers gives the same as a table.";
  parts.profiles.chart.setAttribute("aria-label", `Lines of ${measure} by depth${under}.${also}`);
  parts.peaks.chart.setAttribute("aria-label", `Peaks with their intervals. ${told}`);
  parts.heat.chart.setAttribute("aria-label",
    `Heat map of ${measure} by ${study.words.concept} and layer in ${state.heat}.${also}`);
  parts.peakTable.replaceChildren(table("Shape and peak of each profile",
    ["Model", "Shape", "Peak", "Low", "High", "Reason"],
    rows.peaks.map(r => [r.model, r.shape, r.peak, r.low, r.high, r.reason]), [null, null, 2, 2, 2]));
  parts.numbers.textContent = state.numbers ? "Hide the numbers" : "Show the numbers";
  parts.numbers.setAttribute("aria-expanded", String(state.numbers));
  parts.tables.replaceChildren(...(state.numbers ? tables(rows) : []));
  parts.link.href = address();
  if (location.hash !== parts.link.hash) history.replaceState(null, "", parts.link.hash);
  draw(rows).catch(console.error);
}

function start() {
  const unknown = restore();
  build();
  if (unknown.length) parts.status.textContent = `The link names what is not here: ${unknown.join(", ")}.`;
}

addEventListener("hashchange", () => { if (location.hash !== address()) start(); });
dark.addEventListener("change", () => { if (state.theme === "auto") build(); });
start();
