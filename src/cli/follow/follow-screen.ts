import type { FollowStatus } from '../../logical/follow/status.ts';
import { renderFollow, renderFollowLine } from '../screen/follow-lines.ts';
import { toPlainText } from '../screen/text-width.ts';

const LOG_EVERY_MS = 5_000;

type ScreenOutput = Pick<NodeJS.WriteStream, 'isTTY' | 'columns' | 'write'>;

interface FollowScreen {
  show(status: FollowStatus): void;
  /** A sentence may hold a server's words, which are anybody's. */
  tell(sentence: string): void;
}

/** Where a follow shows how far it is, and tells what happens. */
export function createFollowScreen(output: ScreenOutput): FollowScreen {
  return output.isTTY ? new FrameScreen(output) : new LineScreen(output);
}

/** On a terminal: one frame, kept up to date in place. */
class FrameScreen implements FollowScreen {
  readonly #output: ScreenOutput;
  #lines = 0;

  constructor(output: ScreenOutput) {
    this.#output = output;
  }

  show(status: FollowStatus): void {
    const width = Math.max(20, (this.#output.columns ?? 80) - 1);
    const lines = renderFollow(status).map((line) => line.slice(0, width));
    this.#output.write(`${this.#back()}${lines.map((line) => `${line}\u001b[K\n`).join('')}\u001b[J`);
    this.#lines = lines.length;
  }

  tell(sentence: string): void {
    this.#output.write(`${this.#back()}\u001b[J${toPlainText(sentence)}\n`);
    this.#lines = 0;
  }

  #back(): string {
    return this.#lines === 0 ? '' : `\u001b[${this.#lines}A\r`;
  }
}

/** Elsewhere: a line now and then, and one whenever the state changes. */
class LineScreen implements FollowScreen {
  readonly #output: ScreenOutput;
  #state = '';
  #saidAtMs = Number.NEGATIVE_INFINITY;

  constructor(output: ScreenOutput) {
    this.#output = output;
  }

  show(status: FollowStatus): void {
    const isDue = performance.now() - this.#saidAtMs >= LOG_EVERY_MS;
    if (status.state === this.#state && !isDue) return;
    this.#state = status.state;
    this.#saidAtMs = performance.now();
    this.#output.write(`${renderFollowLine(status)}\n`);
  }

  tell(sentence: string): void {
    this.#output.write(`${toPlainText(sentence)}\n`);
  }
}
