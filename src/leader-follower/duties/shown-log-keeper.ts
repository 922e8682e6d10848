import { readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { formatLsn, parseLsn } from '../../model/lsn.ts';
import type { Clock } from '../../model/clock.ts';
import { parseTimeline } from '../../model/timeline.ts';
import type { Probe } from '../../postgres/probe.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import { parseShown, renderShown, shownBy } from './core/shown-log.ts';
import type { ShownLog } from './core/shown-log.ts';
import type { LeaderDuty } from './leader-duty.ts';

const EVERY_MS = 1_000;

/**
 * Keeps beside the data, not in them, how far followers have replayed this leader's log. When its data are put back from a copy they end
 * before that, and whoever led last must not be trusted to hold every commit. Not flushed to the disk: an older one proves less, and
 * nothing wrong.
 */
export class ShownLogKeeper implements LeaderDuty {
  readonly #clock: Clock;
  readonly #local: LocalPort;
  readonly #peers: PeersPort;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #isWriting = false;

  constructor(options: { readonly clock: Clock; readonly local: LocalPort; readonly peers: PeersPort }) {
    this.#clock = options.clock;
    this.#local = options.local;
    this.#peers = options.peers;
  }

  start(): Promise<void> {
    return Promise.resolve();
  }

  /** Waits for no disk: one that hangs must not keep the leader from its other duties. */
  step({ timeline }: Probe): Promise<void> {
    const nowMs = this.#clock.nowMs();
    if (this.#isWriting || nowMs - this.#writtenAtMs < EVERY_MS) return Promise.resolve();
    const lsn = shownBy(
      timeline,
      this.#peers.reports().map(({ status }) => ({
        timeline: status?.history == null ? null : parseTimeline(status.history.timeline),
        replayedLsn: status?.replayedLsn == null ? null : parseLsn(status.replayedLsn),
      })),
    );
    if (lsn === null) return Promise.resolve();
    this.#writtenAtMs = nowMs;
    this.#isWriting = true;
    void this.#write(renderShown(timeline, formatLsn(lsn)))
      .catch(() => undefined)
      .finally(() => (this.#isWriting = false));
    return Promise.resolve();
  }

  stop(): void {
    this.#writtenAtMs = Number.NEGATIVE_INFINITY;
  }

  async #write(text: string): Promise<void> {
    const path = pathBeside(this.#local.dataDir);
    await writeFile(`${path}.next`, text, { mode: 0o600 });
    await rename(`${path}.next`, path);
  }
}

/** Null where nothing was kept, or nothing that can be read: then nothing is proved. */
export async function readShownLog(dataDir: string): Promise<ShownLog | null> {
  return readFile(pathBeside(dataDir), 'utf8').then(parseShown, () => null);
}

function pathBeside(dataDir: string): string {
  return join(dirname(dataDir), 'shown-log');
}
