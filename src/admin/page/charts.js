import { h } from './dom.js';
import { chooseScale } from './scale.js';
import { formatBytes, formatClock, formatDuration, formatRate } from './format.js';
import { themeColor } from './theme.js';
import uPlot from './uPlot.esm.js';

/** @typedef {import('../history.ts').HistorySample} HistorySample */

const WINDOW_MS = 5 * 60 * 1000;
/** A young history fills the chart from here on. */
const LEAST_WINDOW_MS = 60 * 1000;
const PLOT_HEIGHT = 168;
const TIME_STEPS = [5, 10, 15, 30, 60, 120].map((seconds) => seconds * 1000);
const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const DURATION_STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 15_000, 30_000, 60_000, 300_000, 900_000, 3_600_000,
  43_200_000,
];
const COLORS = 8;
const SYNC_KEY = 'lockstep';

/**
 * One chart over the last five minutes. Times without a leader are shaded, changes of leadership marked.
 * @param {HTMLElement} container
 * @param {HTMLElement} readout the legend, with the values under the cursor or the newest ones
 * @param {{ format: (value: number | null) => string, lines: (samples: readonly HistorySample[]) => Line[], minimum: number, steps: number[] }} shape
 *   `minimum` is the least top of the scale, so that idle noise does not fill the chart
 * @typedef {object} Line
 * @property {string} label
 * @property {string} color a custom property of the style sheet
 * @property {boolean} isFilled
 * @property {(number | null)[]} values
 */
export function createChart(container, readout, shape) {
  /** @type {uPlot | null} */
  let plot = null;
  let builtFor = '';
  /** @type {readonly HistorySample[]} */
  let samples = [];
  /** @type {Line[]} */
  let lines = [];

  const scale = () =>
    chooseScale(
      lines.map((line) => line.values),
      shape.minimum,
    );

  function build() {
    plot?.destroy();
    const muted = themeColor('--muted');
    const grid = { stroke: themeColor('--grid'), width: 1 };
    const axis = { stroke: muted, grid, ticks: { show: false }, font: '11px system-ui, sans-serif' };
    plot = new uPlot(
      {
        width: Math.max(200, container.clientWidth),
        height: PLOT_HEIGHT,
        padding: [8, 8, 0, 0],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: SYNC_KEY }, points: { size: 7 } },
        scales: {
          x: { time: false },
          y: { range: () => [0, scale().top] },
        },
        axes: [
          {
            ...axis,
            size: 30,
            gap: 9,
            space: 74,
            incrs: TIME_STEPS,
            values: (_, ticks) => ticks.map((at) => formatClock(at)),
          },
          {
            ...axis,
            size: 62,
            space: 34,
            incrs: shape.steps,
            values: (_, ticks) => ticks.map((value) => shape.format(value)),
          },
        ],
        series: [{}, ...lines.map(toSeries)],
        hooks: { drawClear: [shadeElections], setCursor: [showReadout] },
      },
      [[], ...lines.map(() => [])],
      container,
    );
  }

  /** @param {uPlot} chart */
  function shadeElections(chart) {
    const { ctx, bbox } = chart;
    ctx.save();
    for (const span of leaderlessSpans(samples)) {
      const left = Math.max(bbox.left, chart.valToPos(span.from, 'x', true));
      const right = Math.min(bbox.left + bbox.width, chart.valToPos(span.to, 'x', true));
      if (right <= bbox.left || left >= bbox.left + bbox.width) continue;
      ctx.fillStyle = themeColor('--shade');
      ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
    }
    for (const at of leadershipChanges(samples)) {
      const x = Math.round(chart.valToPos(at, 'x', true));
      if (x < bbox.left || x > bbox.left + bbox.width) continue;
      ctx.fillStyle = themeColor('--warn');
      ctx.fillRect(x, bbox.top, 2, bbox.height);
    }
    ctx.restore();
  }

  function showReadout() {
    const index = plot?.cursor.idx ?? samples.length - 1;
    const items = lines.map((line) =>
      h(
        'li',
        {},
        h('i', { class: `swatch ${line.color.slice(2)}`, 'aria-hidden': 'true' }),
        `${line.label} `,
        h('b', {}, shape.format(line.values[index] ?? null)),
      ),
    );
    const { peak } = scale();
    const note = peak === null ? [] : [h('li', { class: 'peak' }, `peak ${shape.format(peak)}, cut off`)];
    readout.replaceChildren(...items, ...note);
  }

  function draw() {
    lines = shape.lines(samples);
    const key = lines.map((line) => line.label).join('\n');
    if (plot === null || key !== builtFor) {
      builtFor = key;
      build();
    }
    const newest = samples.at(-1)?.at ?? Date.now();
    plot?.batch(() => {
      plot?.setData([samples.map((sample) => sample.at), ...lines.map((line) => line.values)], false);
      const known = newest - (samples[0]?.at ?? newest);
      plot?.setScale('x', {
        min: newest - Math.min(WINDOW_MS, Math.max(LEAST_WINDOW_MS, known)),
        max: newest,
      });
    });
    showReadout();
  }

  new ResizeObserver(() =>
    plot?.setSize({ width: Math.max(200, container.clientWidth), height: PLOT_HEIGHT }),
  ).observe(container);
  return {
    /** @param {readonly HistorySample[]} next */
    update(next) {
      samples = next;
      draw();
    },
    /** Builds the chart again: its colours or its unit changed. */
    rebuild() {
      builtFor = '\n';
      if (samples.length > 0) draw();
    },
  };
}

/** @param {HTMLElement} container @param {HTMLElement} readout @param {() => 'time' | 'bytes'} unit */
export function createLagChart(container, readout, unit) {
  return createChart(container, readout, {
    get minimum() {
      return unit() === 'time' ? 10 : 1024;
    },
    get steps() {
      return unit() === 'time' ? DURATION_STEPS : BYTE_STEPS;
    },
    format: (value) => (unit() === 'time' ? formatDuration(value) : formatBytes(value)),
    lines: (samples) =>
      nodeNames(samples).map((name) => ({
        label: name,
        color: seriesColor(name, samples),
        isFilled: false,
        values: samples.map((sample) => {
          const lag = sample.nodes[name];
          return (unit() === 'time' ? lag?.lagMs : lag?.lagBytes) ?? null;
        }),
      })),
  });
}

/** @param {HTMLElement} container @param {HTMLElement} readout */
export function createWalChart(container, readout) {
  return createChart(container, readout, {
    minimum: 4096,
    steps: BYTE_STEPS,
    format: formatRate,
    lines: (samples) => [
      {
        label: 'written',
        color: '--lead',
        isFilled: true,
        values: samples.map((sample) => sample.walBytesPerSecond),
      },
    ],
  });
}

/**
 * The colour of a node, the same in every chart and on its card.
 * @param {string} name
 * @param {readonly HistorySample[]} samples
 */
export function seriesColor(name, samples) {
  const index = Math.max(0, nodeNames(samples).indexOf(name));
  return `--series-${index % COLORS}`;
}

/** @param {readonly HistorySample[]} samples */
function nodeNames(samples) {
  return Object.keys(samples.at(-1)?.nodes ?? {}).sort((a, b) => a.localeCompare(b));
}

/** @param {Line} line */
function toSeries(line) {
  const stroke = themeColor(line.color);
  return {
    label: line.label,
    stroke,
    width: 2,
    points: { show: false },
    spanGaps: false,
    ...(line.isFilled ? { fill: themeColor(`${line.color}-soft`) } : {}),
  };
}

/** @param {readonly HistorySample[]} samples */
function leaderlessSpans(samples) {
  const spans = [];
  /** @type {number | null} */
  let from = null;
  for (const sample of samples) {
    if (sample.leader === null && from === null) from = sample.at;
    if (sample.leader !== null && from !== null) {
      spans.push({ from, to: sample.at });
      from = null;
    }
  }
  if (from !== null) spans.push({ from, to: samples.at(-1)?.at ?? from });
  return spans;
}

/** @param {readonly HistorySample[]} samples */
function leadershipChanges(samples) {
  const changes = [];
  /** @type {string | null} */
  let last = null;
  for (const sample of samples) {
    if (sample.leader === null) continue;
    if (last !== null && sample.leader !== last) changes.push(sample.at);
    last = sample.leader;
  }
  return changes;
}
