/** What one process, or one server with all its processes, used while a contestant ran. */
export interface ProcessUse {
  /** Whose rounds these are. */
  readonly during: string;
  readonly process: string;
  /** CPU time per second of running, in cores. */
  readonly cores: number;
  readonly cpuMicrosPerOperation: number;
  /** At the end of the last round; memory that processes share counts once. Null where the system does not tell. */
  readonly memoryMb: number | null;
}

/** One figure of a bench, against its peer and its bar. */
export interface Row {
  readonly metric: string;
  readonly unit: string;
  /** Medians over all rounds; null when not measured. */
  readonly ours: number | null;
  readonly peer: number | null;
  readonly peerName: string | null;
  /**
   * The median of the rounds' ratios, ours to the peer's. Where the metric says `times-faster`, the peer's median to
   * ours.
   */
  readonly ratio: number | null;
  /** The quartiles of the rounds' ratios. */
  readonly spread: readonly [number, number] | null;
  /** What `ratio`, or `ours` where there is no peer, must be; null for information only. */
  readonly bar: string | null;
  /** Null without a bar, and when not measured: never a pass. */
  readonly met: boolean | null;
  readonly runs: number;
  readonly processes: readonly ProcessUse[];
  /** What is special about the row, or why it was not measured. */
  readonly note: string | null;
  /** When it was measured on its own, in place of what the full run had; missing otherwise. */
  readonly again?: string;
}

export interface BenchResult {
  readonly when: string;
  readonly machine: string;
  readonly rows: readonly Row[];
}

/** The bars of a bench: at least, at most, or above. */
export type Bar = { readonly least: number } | { readonly most: number } | { readonly above: number };

export function renderBar(bar: Bar): string {
  if ('least' in bar) return `>= ${bar.least}`;
  return 'most' in bar ? `<= ${bar.most}` : `> ${bar.above}`;
}

export function meetsBar(bar: Bar, value: number): boolean {
  if ('least' in bar) return value >= bar.least;
  return 'most' in bar ? value <= bar.most : value > bar.above;
}

/** The row of a figure that one run gives. */
export function singleRow(figure: {
  readonly metric: string;
  readonly unit: string;
  /** Null when it could not be measured. */
  readonly value: number | null;
  readonly bar: Bar | null;
  readonly note: string | null;
  readonly peer?: number | null;
  readonly peerName?: string | null;
  /** What the bar is about, instead of the value. */
  readonly ratio?: number | null;
}): Row {
  const { metric, unit, value, bar, note, peer = null, peerName = null, ratio = null } = figure;
  const judged = ratio ?? value;
  const met = judged === null || bar === null ? null : meetsBar(bar, judged);
  const none = { spread: null, runs: 1, processes: [] };
  return {
    metric,
    unit,
    ours: value,
    peer,
    peerName,
    ratio,
    bar: bar === null ? null : renderBar(bar),
    met,
    note,
    ...none,
  };
}

const COLUMNS = ['metric', 'ours', 'peer', 'against', 'ratio', 'bar', 'met'] as const;

/** A Markdown table, which is also readable as it is. */
export function renderTable(rows: readonly Row[]): string {
  const cells = rows.map((row) => [
    row.metric,
    row.ours === null ? 'not measured' : `${renderFigure(row.ours)} ${row.unit}`,
    row.peer === null ? '' : renderFigure(row.peer),
    row.peerName ?? '',
    row.ratio === null ? '' : `${row.ratio.toFixed(2)}x`,
    row.bar ?? '',
    row.met === null ? (row.bar === null ? '' : '?') : row.met ? 'yes' : 'NO',
  ]);
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...cells.map((line) => (line[column] as string).length)),
  );
  const render = (line: readonly string[]): string =>
    `| ${line.map((cell, column) => cell.padEnd(widths[column] as number)).join(' | ')} |`;
  const rule = `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`;
  return [render(COLUMNS), rule, ...cells.map(render)].join('\n');
}

/** Three significant digits, whole numbers in full. */
export function renderFigure(value: number): string {
  if (Math.abs(value) >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en-US');
  return value.toPrecision(3);
}
