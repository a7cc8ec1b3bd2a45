// What is known of the pixel that was clicked: its flux against one label with the spectra of the grid, and its record.
import { bytesByColumn, unpack } from "./arrays.js";
import { shown, withUnit } from "./numbers.js";
import { chartOptions, COLOURS, line } from "./plots.js";

/* global uPlot */

const CURVE = 80; // points of the network's curve
const HEIGHT = 240;
const WORDS = {
  deviation: "largest deviation, training set", deviation_test: "largest deviation, test set",
  median_deviation_test: "median deviation, test set", explained_test: "explained part of the test set's variance",
  loops: "loops", restarts: "restarts", seconds: "processor time [s]",
};

export class PixelPanel {
  constructor(facts, element) {
    this.facts = facts;
    this.element = element;
    this.points = facts.points && { ...facts.points, flux: bytesByColumn(facts.points.flux), labels: unpack(facts.points.labels) };
    this.rms = unpack(facts.emulator_rms);
    this.record = facts.record && Object.fromEntries(
      Object.entries(facts.record).filter(([, value]) => value.base64).map(([name, value]) => [name, unpack(value)]));
    this.rest = unpack(facts.wavelength);
    this.list = element.querySelector("dl");
    this.place = element.querySelector(".chart");
    this.chart = null;
  }

  show(pixel, labelNumber, values, flux, fluxAt, slope, step) {
    const { facts } = this;
    const label = facts.labels[labelNumber];
    this.element.hidden = false;
    this.element.querySelector("h2").textContent = `Pixel ${pixel} at ${this.rest[pixel].toFixed(3)} Å`;
    const said = [
      ["flux of these labels", shown(flux[pixel], 5)],
      [`change for +${shown(step)} ${label.unit} of ${label.name}`, shown(slope[pixel] * step)],
      ["rms error of the emulator, test set", shown(this.rms[pixel])],
      ...this.recordOf(pixel),
    ];
    this.list.replaceChildren(...said.flatMap(([name, value]) => [["dt", name], ["dd", value]]).map(([tag, text]) => {
      const one = document.createElement(tag);
      one.textContent = text;
      return one;
    }));
    this.draw(pixel, labelNumber, values, flux[pixel], fluxAt);
  }

  recordOf(pixel) {
    if (!this.record) return [["training record", "not in this page (--record)"]];
    const { ends, trunc_diff: wanted } = this.facts.record;
    const numbers = Object.entries(WORDS).filter(([name]) => this.record[name])
      .map(([name, words]) => [words, shown(this.record[name][pixel])]);
    return [["training ended", ends[this.record.end[pixel]]], ["deviation that was wanted", shown(wanted)], ...numbers];
  }

  draw(pixel, j, values, here, fluxAt) {
    const { low, high, name, unit } = this.facts.labels[j];
    const room = 0.06 * (high - low);
    const x = Float64Array.from({ length: CURVE }, (_, i) => low - room + ((high - low + 2 * room) * i) / (CURVE - 1));
    const curve = Array.from(x, (value) => fluxAt(pixel, values.with(j, value)));
    const spectra = this.spectraAt(pixel, j);
    const drawn = [...spectra.map(([, y]) => y), ...curve, here].filter(Number.isFinite);
    const [least, most] = [Math.min(...drawn), Math.max(...drawn)];
    const margin = 0.06 * (most - least || 1e-3);
    if (this.chart) this.chart.destroy();
    this.chart = new uPlot(chartOptions(this.place.clientWidth, HEIGHT, withUnit(name, unit), this.facts.flux_name,
      [line(COLOURS.model, 2)], {
        scales: { x: { time: false, range: [low - room, high + room] }, y: { range: [least - margin, most + margin] } },
        cursor: { show: false },
        hooks: { drawAxes: [(own) => drawSpectra(own, spectra)], draw: [(own) => drawHere(own, values[j], here)] },
      }), [x, curve.map((one) => (Number.isFinite(one) ? one : null))], this.place);
    this.element.querySelector(".legend").hidden = !spectra.length;
  }

  // Label j, flux, and whether it trains, of spectra of the grid
  spectraAt(pixel, j) {
    if (!this.points) return [];
    const n = this.facts.labels.length;
    return this.points.trains.map((trains, row) => [this.points.labels[row * n + j], this.points.flux.at(row, pixel), trains]);
  }
}

function drawSpectra(chart, spectra) {
  const { ctx } = chart;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  spectra.forEach(([label, flux, trains]) => {
    ctx.beginPath();
    ctx.arc(chart.valToPos(label, "x", true), chart.valToPos(flux, "y", true), 2.5 * devicePixelRatio, 0, 2 * Math.PI);
    ctx.fillStyle = COLOURS.slope;
    ctx.strokeStyle = COLOURS.test;
    if (trains) ctx.fill();
    else ctx.stroke();
  });
  ctx.restore();
}

function drawHere(chart, label, flux) {
  const { ctx } = chart;
  ctx.save();
  ctx.strokeStyle = COLOURS.ink;
  ctx.lineWidth = 2 * devicePixelRatio;
  ctx.beginPath();
  ctx.arc(chart.valToPos(label, "x", true), chart.valToPos(flux, "y", true), 5 * devicePixelRatio, 0, 2 * Math.PI);
  ctx.stroke();
  ctx.restore();
}
