// A slider and a number box for each label and each movement; both say the same, whichever is used.
import { decimalsOf } from "./numbers.js";

const BEYOND = 0.1; // of a label's training range, as far as fits may go
const STEPS = 1000; // of a slider

function made(tag, attributes, ...children) {
  const element = document.createElement(tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

class Control {
  // `low`, `high`: ends of the slider; `most`: what the box takes
  constructor({ id, name, unit, low, high, value, hint, isLabel, decimals = decimalsOf(high - low), lowest = -Infinity,
    highest = Infinity }, onChange) {
    Object.assign(this, { value, lowest, highest, onChange, decimals });
    const step = (high - low) / STEPS;
    this.slider = made("input", { type: "range", id, min: low, max: high, step, "aria-label": `${name} slider` });
    this.box = made("input", { type: "number", id: `${id}-value`, step: 10 ** -this.decimals, "aria-label": name });
    const title = made("label", { for: this.box.id }, name, made("span", { class: "unit" }, unit ? ` [${unit}]` : ""));
    this.row = made("div", { class: isLabel ? "control label" : "control" }, title, made("small", {}, hint),
      this.box, this.slider);
    this.slider.addEventListener("input", () => this.take(Number(this.slider.value), this.slider));
    this.box.addEventListener("input", () => this.box.value !== "" && this.take(Number(this.box.value), this.box));
    this.box.addEventListener("change", () => this.set(this.value));
    this.set(value);
  }

  take(value, from) {
    if (!Number.isFinite(value)) return;
    this.value = Math.min(Math.max(value, this.lowest), this.highest);
    if (from !== this.slider) this.slider.value = this.value;
    if (from !== this.box) this.box.value = this.value.toFixed(this.decimals);
    this.onChange();
  }

  set(value) {
    this.value = value;
    this.slider.value = value;
    this.box.value = value.toFixed(this.decimals);
  }
}

export function labelControls(facts, onChange) {
  return facts.labels.map(({ name, unit, low, high, start }, j) => {
    const room = BEYOND * (high - low);
    const decimals = decimalsOf(high - low);
    const shown = [low, high].map((end) => String(Number(end.toFixed(decimals))).replace("-", "−"));
    const hint = shown.join(" … ");
    const place = { low: low - room, high: high + room, value: start, hint };
    return new Control({ id: `label-${j}`, name, unit, isLabel: true, ...place }, onChange);
  });
}

const MOVES = [
  { id: "velocity", name: "Radial velocity", high: 500, hint: "" },
  { id: "vsini", name: "v sin i", hint: "rotation" },
  { id: "vmac", name: "Macroturbulence", hint: "" },
  { id: "fwhm", name: "Gaussian FWHM", hint: "" },
];

// Sliders of what moves and broadens; none that the networks have as a label
export function moveControls(facts, onChange) {
  if (facts.moves.problem) return {};
  const names = facts.labels.map((label) => label.name);
  const wanted = MOVES.filter(({ id }) => !names.includes(id));
  return Object.fromEntries(wanted.map(({ id, name, high, hint }) => {
    const most = high ?? facts.moves.shapes[id].most;
    const isVelocity = id === "velocity";
    const ends = { low: isVelocity ? -most : 0, high: most, lowest: isVelocity ? -30000 : 0, highest: isVelocity ? 30000 : most };
    return [id, new Control({ id, name, unit: "km/s", value: 0, hint, isLabel: false, decimals: 2, ...ends }, onChange)];
  }));
}

// Entries of a menu: `groups` of [title, names]; its value is "group entry", or "" for the first, `none`
export function fillMenu(menu, none, groups) {
  menu.replaceChildren(made("option", { value: "" }, none), ...groups.map(([title, names], group) =>
    made("optgroup", { label: title }, ...names.map((name, entry) => made("option", { value: `${group} ${entry}` }, name)))));
}

export function button(text, title, onClick) {
  const element = made("button", { type: "button", title }, text);
  element.addEventListener("click", onClick);
  return element;
}
