import { performance } from 'node:perf_hooks';

import type { ClusterEvent, Topology } from '../../model/topology.ts';
import { renderLive, renderPlainEvent } from '../screen/render.ts';
import type { LiveLinks } from '../screen/render.ts';

const REPAINT_EVERY_MS = 100;
/** Event ages and the clock move on while nothing else does. */
const IDLE_REPAINT_MS = 1000;
const FALLBACK_COLUMNS = 80;
const FALLBACK_ROWS = 24;

const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';
// A terminal that knows synchronized updates shows the new frame at once; others ignore both.
const BEGIN_FRAME = '\u001b[?2026h';
const END_FRAME = '\u001b[?2026l';
const CLEAR_LINE_END = '\u001b[K';
const CLEAR_BELOW = '\u001b[J';
const CLEAR_SCREEN = '\u001b[2J\u001b[H';

/** What the screen shows. */
export interface LiveState {
  readonly topology: Topology | null;
  /** Oldest first. */
  readonly events: readonly ClusterEvent[];
  readonly links: LiveLinks;
  /** The cluster was not whole yet since this command runs. */
  readonly isStarting: boolean;
}

/** The part of a terminal's write stream that the screen uses; `process.stdout` is one. */
export interface ScreenOutput {
  readonly isTTY?: boolean;
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): boolean;
  on(event: 'resize', listener: () => void): unknown;
  off(event: 'resize', listener: () => void): unknown;
}

export interface LiveScreen {
  /** Takes the newest state. On a terminal it is painted soon; elsewhere its new events are printed at once. */
  show(state: LiveState): void;
  /** Leaves the last frame standing, with the cursor below it and visible. */
  close(): void;
}

/**
 * Keeps one frame up to date in place, at most ten times a second; what was printed before it stays in
 * the scrollback. Where the output is no terminal, prints each event once as a plain line instead. The
 * cursor comes back also when the process exits without {@link LiveScreen.close}.
 */
export function createLiveScreen(options: {
  readonly output: ScreenOutput;
  readonly color: boolean;
}): LiveScreen {
  return options.output.isTTY === true
    ? createTerminalScreen(options.output, options.color)
    : createEventPrinter(options.output);
}

function createTerminalScreen(output: ScreenOutput, color: boolean): LiveScreen {
  let state: LiveState | null = null;
  let paintedLines = 0;
  let paintedAt = Number.NEGATIVE_INFINITY;
  let timer: NodeJS.Timeout | null = null;
  let isClosed = false;

  function paint(): void {
    if (state === null || isClosed) return;
    const frame = renderLive({
      ...state,
      // In the last column a terminal holds back the wrap, and then disagrees about what "erase to the end" means.
      columns: (output.columns ?? FALLBACK_COLUMNS) - 1,
      rows: output.rows ?? FALLBACK_ROWS,
      color,
      nowMs: Date.now(),
    });
    const lines = frame.split('\n');
    const back = paintedLines > 1 ? `\u001b[${paintedLines - 1}A` : '';
    const body = lines.map((line) => line + CLEAR_LINE_END).join('\r\n');
    output.write(BEGIN_FRAME + HIDE_CURSOR + back + '\r' + body + CLEAR_BELOW + '\r' + END_FRAME);
    paintedLines = lines.length;
    paintedAt = performance.now();
    schedule(IDLE_REPAINT_MS);
  }
  function schedule(inMs: number): void {
    if (timer !== null) clearTimeout(timer);
    timer = setTimeout(paint, inMs);
    timer.unref();
  }
  // The terminal has wrapped the old lines anew: where they are now is unknown, so start from the top.
  function onResize(): void {
    if (paintedLines === 0) return;
    output.write(CLEAR_SCREEN);
    paintedLines = 0;
    paint();
  }
  function onExit(): void {
    output.write(`${SHOW_CURSOR}\r\n`);
  }
  output.on('resize', onResize);
  process.once('exit', onExit);

  return {
    show(next) {
      if (isClosed) return;
      state = next;
      schedule(Math.max(0, REPAINT_EVERY_MS - (performance.now() - paintedAt)));
    },
    close() {
      if (isClosed) return;
      paint();
      isClosed = true;
      if (timer !== null) clearTimeout(timer);
      output.off('resize', onResize);
      process.off('exit', onExit);
      onExit();
    },
  };
}

function createEventPrinter(output: ScreenOutput): LiveScreen {
  let printed: ReadonlySet<string> = new Set();
  return {
    show(state) {
      const lines = state.events.map(renderPlainEvent);
      // Whoever reads this asked for a running cluster: until it is one, what each node does is in the nodes' logs.
      const shown = state.isStarting ? state.events.filter(({ kind }) => kind === 'note') : state.events;
      for (const line of shown.map(renderPlainEvent)) if (!printed.has(line)) output.write(`${line}\n`);
      printed = new Set(lines);
    },
    close() {},
  };
}
