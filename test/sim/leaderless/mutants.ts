import type { joinCells } from '../../../src/leaderless/core/cells.ts';
import { hlcOfMs } from '../../../src/leaderless/core/hlc.ts';
import { nodesNeeded } from '../../../src/leaderless/core/levels.ts';
import { runCalls } from '../../../src/leaderless/core/slot-batch.ts';
import type { ProcessOptions } from './process.ts';

/** What differs from what ships. */
export interface Setup {
  readonly process?: Pick<ProcessOptions, 'rules' | 'deniesSending' | 'hasHints'>;
  readonly join?: typeof joinCells;
  readonly isDurable?: boolean;
  readonly reusesNames?: boolean;
}

interface Mutant {
  readonly what: string;
  readonly setup: Setup;
}

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'ballot-reuse': {
    what: 'a promise in hand is kept after a round that did not commit: one ballot carries two values',
    setup: { process: { rules: { keepsPromise: () => true } } },
  },
  'blind-retry': {
    what: 'a change in doubt is run again without looking whether it was chosen',
    setup: {
      process: {
        rules: {
          runCalls: (calls, current, ballot) =>
            runCalls(
              calls.map((call) => ({ ...call, doubts: [] })),
              current,
              ballot,
            ),
        },
      },
    },
  },
  'quorum-of-one': {
    what: 'compare-and-set is chosen by one acceptor',
    setup: { process: { rules: { majority: () => 1 } } },
  },
  'accept-counts': {
    what: 'a write at quorum is done when one node has it',
    setup: {
      process: {
        rules: { nodesNeeded: (level, nodes) => (level === 'all' ? nodesNeeded(level, nodes) : 1) },
      },
    },
  },
  'no-write-back': {
    what: 'a quorum read does not bring what it returns to a majority',
    setup: { process: { rules: { lackingIn: () => [] } } },
  },
  'wall-clock': {
    what: "values are ordered by the writer's clock alone",
    setup: { process: { rules: { nextHlc: (_last, nowMs) => hlcOfMs(nowMs) } } },
  },
  'actor-reuse': {
    what: 'a process that starts again takes up its old name, and counts from 0',
    setup: { reusesNames: true },
  },
  'lazy-fsync': {
    what: 'a node acknowledges what is not on its disk yet, or was restored from a backup: it forgets promises and cells',
    setup: { isDurable: false },
  },
  'denies-sending': {
    what: 'a write whose connection broke is said not to be applied',
    setup: { process: { deniesSending: true } },
  },
  'last-message-wins': {
    what: 'a node replaces cells by what arrives last',
    setup: { join: (_known, arriving) => arriving },
  },
};
