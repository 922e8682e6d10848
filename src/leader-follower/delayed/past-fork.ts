import { readControlFile } from '../../postgres/control-file.ts';
import type { NodeConfig } from '../config/config.ts';
import type { LocalPort } from '../ports.ts';
import type { EventLog } from '../report/event-log.ts';
import { isWithin } from './core/log-start.ts';
import type { DelayedNode } from './delayed-node.ts';

interface PastForkOptions {
  readonly local: LocalPort;
  readonly delayed: DelayedNode;
  readonly events: EventLog;
  readonly leader: () => NodeConfig | null;
}

/**
 * A short delay: by the time that the log of a new leader comes, PostgreSQL has replayed more of the old one's than is part of it,
 * and would not start with the new one's.
 */
export class PastFork {
  readonly #options: PastForkOptions;
  /** PostgreSQL is not to be started before {@link leave}. */
  isActive = false;

  constructor(options: PastForkOptions) {
    this.#options = options;
  }

  /** Of a PostgreSQL that has ended. */
  async look(): Promise<void> {
    const { local, delayed } = this.#options;
    await delayed.keeper.isResumed;
    const { timeline } = delayed.keeper;
    const archive = await delayed.keeper.archive();
    const history = timeline === null ? null : ((await archive?.history(timeline)) ?? null);
    const replayed = (await readControlFile(local.dataDir))?.minRecoveryPoint ?? null;
    this.isActive =
      history !== null && replayed !== null && replayed.lsn > 0n && !isWithin(history, replayed);
  }

  /** Does nothing while there is nobody to go back to. */
  async leave(): Promise<void> {
    const { events, leader } = this.#options;
    const upstream = leader();
    if (upstream === null) return;
    const failure = await rejoin(this.#options, upstream);
    this.isActive = false;
    const how = failure === null ? `rewound to ${upstream.name}` : `is copied anew, for ${failure}`;
    events.add('rewound', `${how}: it had replayed more than ${upstream.name} has of the old leader's log`);
  }
}

/** Back to the leader's history. Returns why that takes a new copy; null when it was rewound. */
export async function rejoin(
  { local, delayed }: { readonly local: LocalPort; readonly delayed: DelayedNode },
  upstream: NodeConfig | null,
): Promise<string | null> {
  const seen = await local.probe();
  // pg_rewind tells histories apart by their timeline's number alone.
  const canRewind = upstream !== null && local.canRewind && seen?.timeline !== delayed.keeper.timeline;
  const failure = canRewind ? await local.rewind(upstream) : 'there is no pg_rewind for it';
  if (failure !== null) await local.discardData();
  return failure;
}
