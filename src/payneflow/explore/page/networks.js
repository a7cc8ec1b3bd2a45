// The networks: scaled labels in, flux and its derivative by one of them out. The formulas of network.py and
// whole_spectrum.py, in double precision from weights of single precision. A pixel without a network gives NaN.
import { unpack } from "./arrays.js";

const SPAN = 0.8;
const OFFSET = 0.1;

function logistic(z) {
  return 1 / (1 + Math.exp(-z));
}

export class Labels {
  constructor(labels) {
    this.all = labels;
  }

  scale(values) {
    return values.map((value, j) => {
      const { low, high } = this.all[j];
      return ((value - low) * SPAN) / (high - low) + OFFSET;
    });
  }

  unscale(scaled) {
    return scaled.map((value, j) => {
      const { low, high } = this.all[j];
      return ((value - OFFSET) * (high - low)) / SPAN + low;
    });
  }

  // Scaled labels that one unit of label j is
  steepness(j) {
    return SPAN / (this.all[j].high - this.all[j].low);
  }
}

class PixelNetworks {
  constructor(facts) {
    [this.w0, this.b0, this.w1, this.b1] = ["w_array_0", "b_array_0", "w_array_1", "b_array_1"].map((key) =>
      unpack(facts.weights[key]));
    this.nPixel = this.b1.length;
    [, this.nNeuron, this.nLabel] = facts.weights.w_array_0.shape;
    this.isLinear = facts.kind === "linear";
    [this.lowest, this.highest] = facts.flux_scale;
  }

  pixel(i, x) {
    const { nNeuron, nLabel, w0, b0, w1 } = this;
    let z = this.b1[i];
    for (let k = i * nNeuron; k < (i + 1) * nNeuron; k += 1) {
      let inside = b0[k];
      for (let j = 0, at = k * nLabel; j < nLabel; j += 1, at += 1) inside += w0[at] * x[j];
      z += w1[k] * logistic(inside);
    }
    return this.fluxOf(this.isLinear ? z : (logistic(z) - OFFSET) / SPAN);
  }

  // Derivative of the flux by scaled label j
  slopeOfPixel(i, x, j) {
    const { nNeuron, nLabel, w0, b0, w1 } = this;
    let z = this.b1[i];
    let slope = 0;
    for (let k = i * nNeuron; k < (i + 1) * nNeuron; k += 1) {
      let inside = b0[k];
      for (let l = 0, at = k * nLabel; l < nLabel; l += 1, at += 1) inside += w0[at] * x[l];
      const hidden = logistic(inside);
      z += w1[k] * hidden;
      slope += w1[k] * hidden * (1 - hidden) * w0[k * nLabel + j];
    }
    const out = logistic(z);
    return slope * (this.highest - this.lowest) * (this.isLinear ? 1 : (out * (1 - out)) / SPAN);
  }

  fluxOf(share) {
    return this.lowest + (this.highest - this.lowest) * share;
  }

  flux(x) {
    return Float64Array.from({ length: this.nPixel }, (_, i) => this.pixel(i, x));
  }

  slope(x, j) {
    return Float64Array.from({ length: this.nPixel }, (_, i) => this.slopeOfPixel(i, x, j));
  }
}

class WholeSpectrumNetworks {
  constructor(facts) {
    const names = [0, 1, 2];
    this.w = names.map((layer) => unpack(facts.weights[`w_array_${layer}`]));
    this.b = names.map((layer) => unpack(facts.weights[`b_array_${layer}`]));
    this.leaky = facts.leaky_slope;
    this.nPixel = this.b[2].length;
    [this.lowest, this.highest] = facts.flux_scale;
  }

  times(layer, vector, row) {
    const n = vector.length;
    let sum = 0;
    for (let i = 0, at = row * n; i < n; i += 1, at += 1) sum += this.w[layer][at] * vector[i];
    return sum;
  }

  // What goes into the last layer at x, and its derivative by scaled label j
  hidden(x, j) {
    let values = Float64Array.from(x);
    let slopes = Float64Array.from(x, (_, l) => (l === j ? 1 : 0));
    for (const layer of [0, 1]) {
      const inside = Float64Array.from(this.b[layer], (bias, k) => bias + this.times(layer, values, k));
      const steep = inside.map((z) => (z > 0 ? 1 : this.leaky));
      slopes = Float64Array.from(inside, (_, k) => steep[k] * this.times(layer, slopes, k));
      values = inside.map((z, k) => z * steep[k]);
    }
    return { values, slopes };
  }

  flux(x) {
    const { values } = this.hidden(x, 0);
    return Float64Array.from({ length: this.nPixel }, (_, i) => this.out(i, values));
  }

  out(i, values) {
    return this.lowest + (this.highest - this.lowest) * (this.times(2, values, i) + this.b[2][i]);
  }

  pixel(i, x) {
    return this.out(i, this.hidden(x, 0).values);
  }

  slope(x, j) {
    const { slopes } = this.hidden(x, j);
    const width = this.highest - this.lowest;
    return Float64Array.from({ length: this.nPixel }, (_, i) => width * this.times(2, slopes, i));
  }
}

export function networksOf(facts) {
  return facts.kind === "whole" ? new WholeSpectrumNetworks(facts) : new PixelNetworks(facts);
}
