import type { FiguresSnapshot } from './figures.ts';

export interface ProgressView {
  readonly figures: FiguresSnapshot;
  readonly pieces: number;
  readonly shoppers: number;
  readonly readsByNode: Readonly<Record<string, number>>;
  /** What is happening, e.g. that the leader was killed. */
  readonly notes: readonly string[];
}

const BAR_CELLS = 30;
const REPAINT_EVERY_MS = 200;
const PLAIN_LINE_EVERY_MS = 1_000;

/** Shows a sale on standard error: a block that repaints itself on a terminal, else one line a second. */
export function showProgress(stream: NodeJS.WriteStream, view: () => ProgressView): { stop(): void } {
  let paintedLines = 0;
  const paint = (): void => {
    if (!stream.isTTY) return void stream.write(`${renderLine(view())}\n`);
    const lines = renderBlock(view());
    const up = paintedLines > 0 ? `\u001b[${paintedLines}A` : '';
    stream.write(`${up}${lines.map((line) => `\u001b[2K${line}\n`).join('')}\u001b[0J`);
    paintedLines = lines.length;
  };
  const timer = setInterval(paint, stream.isTTY ? REPAINT_EVERY_MS : PLAIN_LINE_EVERY_MS);
  return {
    stop() {
      clearInterval(timer);
      paint();
    },
  };
}

export function renderBlock({ figures, pieces, shoppers, readsByNode, notes }: ProgressView): string[] {
  const totalReads = Math.max(
    1,
    Object.values(readsByNode).reduce((sum, reads) => sum + reads, 0),
  );
  const nodes = Object.entries(readsByNode).toSorted(([a], [b]) => a.localeCompare(b));
  return [
    '',
    `  Pieces sold   ${renderBar(figures.limitedSold / pieces)}  ${figures.limitedSold} of ${pieces}`,
    `  Shoppers      ${renderBar(figures.shoppersDone / shoppers)}  ${count(figures.shoppersDone)} of ${count(shoppers)}`,
    `  Throughput    ${count(Math.round(figures.operationsPerSecond))} operations/s, ${count(figures.orders)} orders, ${count(figures.reviews)} reviews`,
    `  Order         p50 ${figures.p50Ms.toFixed(0)} ms, p99 ${figures.p99Ms.toFixed(0)} ms, longest silence ${figures.unavailableMs.toFixed(0)} ms`,
    ...nodes.map(
      ([node, reads]) => `  Reads ${node.padEnd(7)} ${renderBar(reads / totalReads)}  ${count(reads)}`,
    ),
    `  Trouble       ${figures.retries} retries, ${figures.failures} failures, ${figures.staleViews} stale views`,
    ...notes.map((note) => `  » ${note}`),
  ];
}

export function renderLine({ figures, pieces, shoppers, notes }: ProgressView): string {
  const note = notes.at(-1);
  return (
    `sold ${figures.limitedSold}/${pieces}, shoppers ${figures.shoppersDone}/${shoppers}, ` +
    `${Math.round(figures.operationsPerSecond)} operations/s, p99 ${figures.p99Ms.toFixed(0)} ms, ` +
    `${figures.retries} retries, ${figures.failures} failures${note === undefined ? '' : ` | ${note}`}`
  );
}

function renderBar(fraction: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, fraction)) * BAR_CELLS);
  return '█'.repeat(filled) + '░'.repeat(BAR_CELLS - filled);
}

function count(value: number): string {
  return value.toLocaleString('en');
}
