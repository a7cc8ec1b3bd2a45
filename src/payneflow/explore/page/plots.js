// The plots of spectra: three panels over one wavelength axis, which zoom and pan together.

/* global uPlot */

export const COLOURS = { // Okabe & Ito (2008): told apart by colour-blind readers
  ink: "#1a1a1a", faint: "#8c8c8c", pale: "#c8c8c8", model: "#D55E00", slope: "#0072B2", band: "rgba(86,180,233,0.35)",
  test: "#009E73",
};
const FONT = "12px system-ui, sans-serif";
const MOST_PIXELS = 1 / 6; // of the width: points are drawn where pixels are so far apart
const LEAST_SHOWN = 6; // pixels that can be zoomed to

function axis(label, size) {
  return {
    label, labelFont: FONT, font: FONT, size, labelSize: 22, labelGap: 2, stroke: COLOURS.ink,
    values: (_, ticks) => ticks.map((tick) => String(Number(tick.toPrecision(10))).replace("-", "−")),
    grid: { stroke: "#eeeeee", width: 1 }, ticks: { stroke: COLOURS.faint, width: 1, size: 5 },
  };
}

export function chartOptions(width, height, xLabel, yLabel, series, more) {
  return {
    width, height, legend: { show: false }, series: [{}, ...series],
    scales: { x: { time: false }, y: { range: (_, low, high) => padded(low, high) } },
    axes: [
      { ...axis(xLabel, 24), labelSize: xLabel ? 20 : 0, space: 70 },
      { ...axis(yLabel, 64), space: 26 },
    ],
    ...more,
  };
}

function padded(low, high) {
  if (low === null || high === null) return [0, 1];
  const room = 0.06 * (high - low || Math.abs(high) || 1e-3);
  return [low - room, high + room];
}

export function line(stroke, width = 1.25, more = {}) {
  return { stroke, width, spanGaps: false, points: { show: false }, ...more };
}

// Panels of the same wavelengths: `add` one, then `show` an axis and `setData` of each
export class Panels {
  constructor(onPixel) {
    this.charts = [];
    this.onPixel = onPixel;
    this.marked = null; // wavelength of the pixel that was clicked
  }

  add(element, height, xLabel, yLabel, series, more = {}) {
    const index = this.charts.length;
    const { bands, minutiae } = more;
    const chart = new uPlot(chartOptions(element.clientWidth, height, xLabel, yLabel, series, {
      bands,
      cursor: { sync: { key: "wavelength", setSeries: false }, drag: { x: true, y: false }, points: { size: 6 }, y: false },
      hooks: {
        setScale: [(own, key) => key === "x" && this.follow(own)],
        draw: [(own) => this.drawMark(own)],
        setCursor: [(own) => index === 0 && minutiae && minutiae(own.cursor.idx)],
      },
    }), [[], ...series.map(() => [])], element);
    this.charts.push(chart);
    this.listen(chart);
    return chart;
  }

  // One axis (n,) of wavelengths for all, the whole of which is shown
  show(wavelength) {
    this.wavelength = wavelength;
    this.low = wavelength[0];
    this.high = wavelength[wavelength.length - 1];
    if (this.low === this.high) [this.low, this.high] = [this.low - 1, this.high + 1];
    this.zoom(this.low, this.high);
  }

  follow(leader) {
    const { min, max } = leader.scales.x;
    this.charts.filter((one) => one !== leader && (one.scales.x.min !== min || one.scales.x.max !== max))
      .forEach((one) => one.setScale("x", { min, max }));
    if (this.onRange) this.onRange(min, max);
  }

  range() {
    const { min, max } = this.charts[0].scales.x;
    return [min, max];
  }

  zoom(from, to) {
    const least = LEAST_SHOWN * ((this.high - this.low) / this.wavelength.length);
    const width = Math.min(Math.max(to - from, Math.min(least, this.high - this.low)), this.high - this.low);
    const min = Math.min(Math.max(0.5 * (from + to - width), this.low), this.high - width);
    this.charts[0].setScale("x", { min, max: min + width });
  }

  // `factor` of the width that is shown; `at` stays where it is
  zoomBy(factor, at = null) {
    const [min, max] = this.range();
    const middle = at ?? 0.5 * (min + max);
    this.zoom(middle - (middle - min) * factor, middle + (max - middle) * factor);
  }

  panBy(share) {
    const [min, max] = this.range();
    const step = share * (max - min);
    const held = Math.min(Math.max(step, this.low - min), this.high - max);
    this.zoom(min + held, max + held);
  }

  mark(wavelength) {
    this.marked = wavelength;
    this.charts.forEach((one) => one.redraw(false));
  }

  drawMark(chart) {
    if (this.marked === null) return;
    const x = chart.valToPos(this.marked, "x", true);
    const { left, top, width, height } = chart.bbox;
    if (x < left || x > left + width) return;
    const { ctx } = chart;
    ctx.save();
    ctx.strokeStyle = COLOURS.faint;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, top);
    ctx.lineTo(x, top + height);
    ctx.stroke();
    ctx.restore();
  }

  listen(chart) {
    const { over } = chart;
    let pressed = null;
    over.tabIndex = 0;
    over.setAttribute("aria-label", "Plot: plus and minus zoom, arrows pan, 0 shows all");
    over.addEventListener("mousedown", (event) => { pressed = event.clientX; });
    over.addEventListener("click", (event) => {
      const isDrag = pressed !== null && Math.abs(event.clientX - pressed) > 3;
      if (!isDrag) this.onPixel(chart.posToVal(event.clientX - over.getBoundingClientRect().left, "x"));
    });
    over.addEventListener("dblclick", () => this.zoom(this.low, this.high));
    over.addEventListener("wheel", (event) => {
      event.preventDefault();
      if (Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey) {
        this.panBy(0.1 * Math.sign(event.deltaX || event.deltaY));
      } else {
        this.zoomBy(event.deltaY > 0 ? 1.25 : 0.8, chart.posToVal(event.offsetX, "x"));
      }
    }, { passive: false });
    over.addEventListener("keydown", (event) => {
      const actions = {
        "+": () => this.zoomBy(0.7), "=": () => this.zoomBy(0.7), "-": () => this.zoomBy(1 / 0.7),
        ArrowLeft: () => this.panBy(-0.2), ArrowRight: () => this.panBy(0.2), 0: () => this.zoom(this.low, this.high),
      };
      if (actions[event.key]) {
        event.preventDefault();
        actions[event.key]();
      }
    });
    this.listenToFingers(chart);
  }

  // One finger pans, two zoom
  listenToFingers(chart) {
    const { over } = chart;
    const fingers = new Map();
    const places = () => [...fingers.values()].map((x) => chart.posToVal(x - over.getBoundingClientRect().left, "x"));
    let held = null;
    const hold = () => { held = places(); };
    over.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") return;
      fingers.set(event.pointerId, event.clientX);
      over.setPointerCapture(event.pointerId);
      hold();
    });
    over.addEventListener("pointermove", (event) => {
      if (!fingers.has(event.pointerId)) return;
      fingers.set(event.pointerId, event.clientX);
      const now = places();
      if (now.length === 1) {
        const [min, max] = this.range();
        this.panBy((held[0] - now[0]) / (max - min));
      } else if (now.length === 2 && now[0] !== now[1]) {
        this.zoomBy(Math.abs((held[1] - held[0]) / (now[1] - now[0])), 0.5 * (held[0] + held[1]));
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      over.addEventListener(name, (event) => {
        fingers.delete(event.pointerId);
        hold();
      });
    }
  }

  resize() {
    this.charts.forEach((one) => {
      const width = one.root.parentElement.clientWidth;
      if (width && width !== one.width) one.setSize({ width, height: one.height });
    });
  }
}

// Whether single pixels are to be seen: few, or far apart on the screen
export function pointsShown(chart, _, first, last) {
  return last - first < chart.bbox.width / devicePixelRatio * MOST_PIXELS;
}

// Positions in data arrays, with one of nothing between segments so that no line crosses a gap
export class Axis {
  constructor(wavelength) {
    const steps = wavelength.slice(1).map((one, i) => one - wavelength[i]);
    const usual = [...steps].sort((a, b) => a - b)[steps.length >> 1];
    this.wavelength = wavelength;
    this.rows = []; // of the spectrum, -1 for nothing
    this.x = [];
    wavelength.forEach((one, i) => {
      if (i && steps[i - 1] > 5 * usual) {
        this.rows.push(-1);
        this.x.push(0.5 * (one + wavelength[i - 1]));
      }
      this.rows.push(i);
      this.x.push(one);
    });
  }

  // Values (n_pixel,) as uPlot takes them: null where there is none
  data(values) {
    const data = new Array(this.rows.length);
    for (let i = 0; i < data.length; i += 1) {
      const row = this.rows[i];
      data[i] = row >= 0 && Number.isFinite(values[row]) ? values[row] : null;
    }
    return data;
  }

  nothing() {
    return new Array(this.rows.length).fill(null);
  }
}
