// The page: what the sliders say goes through the networks into the plots.
import { unpack } from "./arrays.js";
import { button, fillMenu, labelControls, moveControls } from "./controls.js";
import { Coverage, VERDICTS } from "./coverage.js";
import { C_KM_S, Mover, nearest } from "./moves.js";
import { Labels, networksOf } from "./networks.js";
import { roundNear, shown } from "./numbers.js";
import { PixelPanel } from "./pixel.js";
import { Axis, COLOURS, line, Panels, pointsShown } from "./plots.js";

const STEP_OF_RANGE = 1 / 25; // of a label, whose change of the flux is shown
const STRONGEST = 8; // pixels named for a label
const APART = 12; // pixels between two of them
const AROUND = 60; // pixels shown around one
const PATIENCE = 80; // ms without a change before labels are judged

const at = (id) => document.getElementById(id);

class Page {
  constructor(facts) {
    this.facts = facts;
    this.labels = new Labels(facts.labels);
    this.networks = networksOf(facts);
    this.wavelength = unpack(facts.wavelength);
    this.rms = unpack(facts.emulator_rms);
    this.mover = new Mover(facts, this.wavelength);
    this.coverage = new Coverage(facts.training && unpack(facts.training.scaled), facts.labels.length);
    this.controls = labelControls(facts, () => this.change());
    this.moves = moveControls(facts, () => this.change());
    this.star = null;
    this.pixel = null;
    this.slopeLabel = 0;
    this.timing = {};
    this.panel = new PixelPanel(facts, at("pixel"));
    this.panels = new Panels((wavelength) => this.choosePixel(wavelength));
    this.fill();
    this.makePlots();
    this.setTarget(this.wavelength);
    this.keep();
    this.update();
  }

  // ------------------------------------------------------------------------------------------------ what is chosen

  get values() {
    return this.controls.map((control) => control.value);
  }

  get velocity() {
    return this.moves.velocity ? this.moves.velocity.value : 0;
  }

  get widths() {
    return Object.fromEntries(Object.entries(this.moves).filter(([name]) => name !== "velocity")
      .map(([name, control]) => [name, control.value]));
  }

  change() {
    if (this.isWaiting) return;
    this.isWaiting = true;
    requestAnimationFrame(() => {
      this.isWaiting = false;
      this.update();
    });
  }

  chooseStar(choice) {
    const [group, entry] = choice.split(" ").map(Number);
    const kind = choice && this.facts.stars[group];
    this.star = choice ? this.starOf(kind, kind.entries[entry]) : null;
    this.setTarget(choice ? this.star.wavelength : this.wavelength);
    at("to-fit").hidden = !this.star;
    this.toFit();
  }

  starOf(kind, entry) {
    const arrays = Object.fromEntries(["flux", "sigma", "model"].filter((name) => entry[name])
      .map((name) => [name, unpack(entry[name])]));
    return { ...entry, ...arrays, used: unpack(entry.used), wavelength: unpack(kind.wavelength) };
  }

  // The sliders go to the labels of the star
  toFit() {
    if (this.star) {
      Object.values(this.moves).forEach((control) => control.set(0));
      this.star.labels.forEach((value, j) => value !== null && this.controls[j].set(value));
      if (this.moves.velocity) this.moves.velocity.set(this.star.velocity ?? 0);
    }
    this.update();
  }

  toStart() {
    this.facts.labels.forEach(({ start }, j) => this.controls[j].set(start));
    Object.values(this.moves).forEach((control) => control.set(0));
    this.update();
  }

  setTarget(wavelength) {
    this.target = this.mover.target(wavelength);
    this.axis = new Axis(Array.from(wavelength));
    this.isNewAxis = true;
    if (this.held) this.kept = this.spectrumOf(this.held.flux, this.held);
  }

  // Keep a spectrum to compare others with: that of the sliders
  keep() {
    this.held = { flux: this.networks.flux(this.labels.scale(this.values)), velocity: this.velocity, widths: this.widths };
    this.kept = this.spectrumOf(this.held.flux);
  }

  choosePixel(wavelength) {
    const ratio = Math.sqrt((1 - this.velocity / C_KM_S) / (1 + this.velocity / C_KM_S));
    this.pixel = nearest(this.wavelength, wavelength * ratio);
    this.panels.mark(this.wavelength[this.pixel] / ratio);
    this.showPixel();
  }

  // ------------------------------------------------------------------------------------------------------ the spectrum

  spectrumOf(flux, { velocity, widths } = this) {
    return this.mover.moved(flux, this.target, velocity, widths);
  }

  update() {
    const begin = performance.now();
    const x = this.labels.scale(this.values);
    const { flux, slope } = this.networks.both(x, this.slopeLabel);
    const evaluated = performance.now();
    const steepness = this.labels.steepness(this.slopeLabel);
    this.step = this.stepOf(this.slopeLabel);
    [this.flux, this.slope] = [flux, slope.map((value) => value * steepness)];
    [this.spectrum, this.spectrumSlope] = [this.spectrumOf(this.flux), this.spectrumOf(this.slope)];
    const moved = performance.now();
    this.draw();
    this.showSaid();
    this.showStrongest();
    this.timing = { networks: evaluated - begin, moved: moved - evaluated, drawn: performance.now() - moved }; // ms
    clearTimeout(this.judging);
    this.judging = setTimeout(() => this.judge(x), PATIENCE);
    if (this.pixel !== null) this.showPixel();
  }

  stepOf(j) {
    return roundNear((this.facts.labels[j].high - this.facts.labels[j].low) * STEP_OF_RANGE);
  }

  // ---------------------------------------------------------------------------------------------------------- the plots

  makePlots() {
    const { facts, panels } = this;
    const isSmall = window.innerHeight < 700;
    const band = { stroke: "transparent", points: { show: false } };
    const pixels = (stroke) => ({ show: pointsShown, size: 5, stroke, fill: stroke });
    const shaded = [{ series: [2, 1], fill: COLOURS.band }];
    panels.add(at("spectrum"), isSmall ? 220 : 300, "", facts.flux_name, [
      band, band, line(COLOURS.pale, 1.25), line(COLOURS.pale, 1, { points: { show: true, size: 3, stroke: COLOURS.pale } }), line(COLOURS.ink, 1, { points: pixels(COLOURS.ink) }),
      line(COLOURS.test, 1, { dash: [4, 3] }), line(COLOURS.model, 1.25, { points: pixels(COLOURS.model) }),
    ], { bands: shaded, minutiae: (index) => this.readOut(index) });
    panels.add(at("residual"), isSmall ? 120 : 150, "", "Difference", [
      band, band, line(COLOURS.faint, 1, { dash: [6, 4] }), line(COLOURS.model, 1, { points: pixels(COLOURS.model) }),
    ], { bands: shaded });
    panels.add(at("slope"), isSmall ? 140 : 170, "Wavelength in vacuum [Å]", "Change", [
      line(COLOURS.faint, 1, { dash: [6, 4] }), line(COLOURS.slope, 1, { points: pixels(COLOURS.slope) }),
    ]);
    panels.onRange = (min, max) => {
      at("range").textContent = `${min.toFixed(1)} – ${max.toFixed(1)} Å`;
    };
    new ResizeObserver(() => {
      panels.resize();
      if (this.panel.chart) this.showPixel();
    }).observe(at("spectrum"));
  }

  draw() {
    const { axis, spectrum, star } = this;
    const error = this.errorAt();
    const zero = axis.data(spectrum.map((value) => (Number.isFinite(value) ? 0 : NaN)));
    const compared = star ? this.observed(1) : this.kept;
    const difference = spectrum.map((value, i) => (star ? compared[i] - value : value - compared[i]));
    const width = star && star.sigma ? star.sigma : error;
    const tables = [
      [axis.data(spectrum.map((value, i) => value - error[i])), axis.data(spectrum.map((value, i) => value + error[i])),
        star ? axis.nothing() : axis.data(this.kept), star ? axis.data(this.observed(0)) : axis.nothing(),
        star ? axis.data(compared) : axis.nothing(), star && star.model ? axis.data(star.model) : axis.nothing(),
        axis.data(spectrum)],
      [axis.data(width.map((value) => -value)), axis.data(width), zero, axis.data(difference)],
      [zero, axis.data(this.spectrumSlope.map((value) => value * this.step))],
    ];
    this.panels.charts.forEach((chart, i) => {
      chart.setData([axis.x, ...tables[i]], false);
      if (!this.isNewAxis) chart.redraw();
    });
    if (this.isNewAxis) this.panels.show(axis.wavelength);
    this.isNewAxis = false;
  }

  // The emulator's error at the pixels shown (n,), NaN where it is not known
  errorAt() {
    return Float64Array.from(this.target.pixels, (pixel, i) => (Number.isFinite(this.spectrum[i]) ? this.rms[pixel] : NaN));
  }

  // Flux of the star where it takes part in the fit (1) or does not (0)
  observed(used) {
    return Float64Array.from(this.star.flux, (value, i) => (this.star.used[i] === used ? value : NaN));
  }

  // ---------------------------------------------------------------------------------------------------------- the words

  fill() {
    const { facts } = this;
    at("name").textContent = facts.name;
    at("size").textContent = `${facts.labels.length} labels, ${this.wavelength.length} pixels, ` +
      `${shown(this.wavelength[0], 7)} – ${shown(this.wavelength[this.wavelength.length - 1], 7)} Å in vacuum`;
    at("failed").textContent = facts.failed ? `Do not use these networks: ${facts.failed}` : "";
    at("labels").replaceChildren(...this.controls.map((control) => control.row));
    const moves = Object.values(this.moves).map((control) => control.row);
    at("moves").replaceChildren(...(moves.length ? moves : [`No velocity and no broadening: ${facts.moves.problem}.`]));
    fillMenu(at("star"), "the spectrum that was kept", facts.stars.map(({ kind, entries }) =>
      [kind, entries.map((entry) => entry.name)]));
    at("star-row").hidden = !facts.stars.length;
    at("star").addEventListener("change", () => this.chooseStar(at("star").value));
    at("slope-label").replaceChildren(...facts.labels.map(({ name }, j) => new Option(name, j)));
    at("slope-label").addEventListener("change", () => {
      this.slopeLabel = Number(at("slope-label").value);
      this.update();
    });
    at("start").addEventListener("click", () => this.toStart());
    at("keep").addEventListener("click", () => {
      this.keep();
      this.update();
    });
    at("to-fit").addEventListener("click", () => this.toFit());
    this.fillTools();
    this.fillNotes();
  }

  fillTools() {
    const { panels } = this;
    at("tools").append(
      button("◀", "to shorter wavelengths", () => panels.panBy(-0.5)),
      button("▶", "to longer wavelengths", () => panels.panBy(0.5)),
      button("+", "zoom in", () => panels.zoomBy(0.5)),
      button("−", "zoom out", () => panels.zoomBy(2)),
      button("All", "all wavelengths", () => panels.zoom(panels.low, panels.high)),
    );
  }

  fillNotes() {
    const { facts } = this;
    const cost = `The weights are in ${facts.bits} bits, which costs at most ${shown(facts.error, 2)} of the flux.`;
    const about = Object.entries(facts.about).map(([name, text]) => `${name[0].toUpperCase()}${name.slice(1)}: ${text}`);
    at("notes").replaceChildren(...[cost, ...facts.notes, ...about, `payneflow ${facts.version}`].map((text) => {
      const one = document.createElement("li");
      one.textContent = text;
      return one;
    }));
  }

  showSaid() {
    const { star, facts } = this;
    const label = facts.labels[this.slopeLabel];
    const isKnown = this.rms.some(Number.isFinite);
    at("legend-star").hidden = !star;
    at("what-star").textContent = star && star.model ? "observed" : "of the grid";
    at("legend-fit").hidden = !(star && star.model);
    at("legend-kept").hidden = Boolean(star);
    at("legend-band").hidden = !isKnown;
    at("residual-title").textContent = star
      ? `${star.model ? "Observed" : "Grid"} − networks${star.sigma ? ", with ±1σ of the difference" : isKnown ? ", with the emulator's error" : ""}`
      : `Networks − kept spectrum${isKnown ? ", with the emulator's error" : ""}`;
    at("slope-title").textContent = `Change of the flux for +${shown(this.step)}${label.unit ? ` ${label.unit}` : ""} of`;
    at("star-said").textContent = star ? star.said.join("; ") : "";
    const width = this.moves.fwhm ? this.moves.fwhm.value : 0;
    if (this.moves.fwhm && facts.resolution) {
      const resolution = 1 / Math.sqrt(facts.resolution ** -2 + (width / C_KM_S) ** 2);
      this.moves.fwhm.row.querySelector("small").textContent = `R ${resolution.toFixed(0)} (grid ${facts.resolution.toFixed(0)})`;
    }
  }

  readOut(index) {
    const row = index === null || index === undefined ? -1 : this.axis.rows[index];
    if (row < 0) {
      at("read-out").textContent = " ";
      return;
    }
    const parts = [`${this.target.wavelength[row].toFixed(3)} Å`, `networks ${shown(this.spectrum[row], 5)}`];
    const error = this.rms[this.target.pixels[row]];
    if (Number.isFinite(error)) parts.push(`± ${shown(error, 2)}`);
    if (this.star) parts.push(`observed ${shown(this.star.flux[row], 5)}${this.star.used[row] ? "" : " (left out)"}`);
    at("read-out").textContent = parts.join("  ");
  }

  showPixel() {
    this.panel.show(this.pixel, this.slopeLabel, this.values, this.flux,
      (pixel, values) => this.networks.pixel(pixel, this.labels.scale(values)), this.slope, this.step);
  }

  // The pixels whose flux changes most with the chosen label, APART from each other
  showStrongest() {
    const { spectrumSlope: slope, target } = this;
    const size = slope.map(Math.abs);
    const order = [];
    for (let i = 0; i < size.length; i += 1) {
      const isPeak = !(size[i - 1] > size[i]) && !(size[i + 1] > size[i]);
      if (isPeak && Number.isFinite(size[i])) order.push(i);
    }
    order.sort((a, b) => size[b] - size[a]);
    const chosen = [];
    for (const i of order) {
      if (chosen.length === STRONGEST) break;
      if (chosen.every((other) => Math.abs(other - i) >= APART)) chosen.push(i);
    }
    at("strongest").replaceChildren("Most at ", ...chosen.map((i) => {
      const wavelength = target.wavelength[i];
      const around = (AROUND * (this.panels.high - this.panels.low)) / target.wavelength.length;
      return button(wavelength.toFixed(1), `show this pixel: ${shown(slope[i] * this.step)} of the flux`, () => {
        this.panels.zoom(wavelength - around, wavelength + around);
        this.choosePixel(wavelength);
      });
    }), " Å");
  }

  judge(x) {
    const found = this.coverage.judge(x);
    const names = (numbers) => numbers.map((j) => this.facts.labels[j].name).join(", ");
    const lines = [];
    if (found.beyond.length) lines.push(`Beyond the range of the training spectra: ${names(found.beyond)}.`);
    if (found.distance !== undefined) {
      lines.push(found.outward.length
        ? `${shown(found.distance, 2)} of the ranges outside the convex hull of the training labels, mostly in ${names(found.outward)}.`
        : "Within the convex hull of the training labels.");
      lines.push(found.nearest < 1e-4 ? "These are the labels of a training spectrum."
        : `The nearest training spectrum is ${shown(found.nearest, 2)} of the ranges away; these are ` +
        `${shown(found.typical, 2)} from each other, at most ${shown(found.largest, 2)}.`);
    }
    const word = at("verdict");
    word.dataset.verdict = found.verdict;
    const verdict = VERDICTS[found.verdict] ?? "within the ranges of the training labels";
    word.querySelector("strong").textContent = `${verdict[0].toUpperCase()}${verdict.slice(1)}`;
    word.querySelector("span").textContent = lines.join(" ");
    this.controls.forEach((control, j) => {
      const isOut = found.beyond.includes(j) || (found.verdict === "outside" && found.outward.includes(j));
      control.row.classList.toggle("out", isOut);
      control.row.classList.toggle("beyond", found.beyond.includes(j));
    });
    this.verdict = found;
  }
}

function start() {
  const page = new Page(JSON.parse(at("facts").textContent));
  window.payneflow = page; // for the console, and for tests
  at("loading").remove();
}

start();
