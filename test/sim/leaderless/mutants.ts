import { EMPTY_ACCEPTOR } from '../../../src/consensus/acceptor.ts';
import type { joinCells } from '../../../src/leaderless/core/cells.ts';
import { hlcOfMs } from '../../../src/leaderless/core/hlc.ts';
import { nodesNeeded } from '../../../src/leaderless/core/levels.ts';
import { runCalls } from '../../../src/leaderless/core/slot-batch.ts';
import type { NodeRules } from './node-rules.ts';
import type { ProcessOptions } from './process.ts';

/** What differs from what ships. */
export interface Setup {
  readonly process?: Pick<ProcessOptions, 'rules' | 'deniesSending' | 'hasHints' | 'actorLifeMs'>;
  readonly join?: typeof joinCells;
  readonly node?: Partial<NodeRules>;
  readonly isDurable?: boolean;
  readonly reusesNames?: boolean;
}

interface Mutant {
  readonly what: string;
  readonly setup: Setup;
  /** Where a search begins: a seed that notices, as long as the simulation stays as it is. */
  readonly firstSeed: number;
  /** No seed up to 1,200 noticed it: its search is for a machine with time, not for `npm test`. */
  readonly isRare?: true;
  /** Only one seed in three forgets what is deleted, and another one changes members. */
  readonly step?: 3;
}

export const MUTANTS: Readonly<Record<string, Mutant>> = {
  'ballot-reuse': {
    firstSeed: 11,
    what: 'a promise in hand is kept after a round that did not commit: one ballot carries two values',
    setup: { process: { rules: { keepsPromise: () => true } } },
  },
  'blind-retry': {
    firstSeed: 1,
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
    firstSeed: 1,
    what: 'compare-and-set is chosen by one acceptor',
    setup: { process: { rules: { majority: () => 1 } } },
  },
  'accept-counts': {
    firstSeed: 1,
    what: 'a write at quorum is done when one node has it',
    setup: {
      process: {
        rules: { nodesNeeded: (level, nodes) => (level === 'all' ? nodesNeeded(level, nodes) : 1) },
      },
    },
  },
  'no-write-back': {
    firstSeed: 35,
    what: 'a quorum read does not bring what it returns to a majority',
    setup: { process: { rules: { lackingIn: () => [] } } },
  },
  'wall-clock': {
    firstSeed: 4,
    what: "values are ordered by the writer's clock alone",
    setup: { process: { rules: { nextHlc: (_last, nowMs) => hlcOfMs(nowMs) } } },
  },
  'actor-reuse': {
    firstSeed: 11,
    what: 'a process that starts again takes up its old name, and counts from 0',
    setup: { reusesNames: true },
  },
  'lazy-fsync': {
    firstSeed: 2,
    what: 'a node acknowledges what is not on its disk yet, or was restored from a backup: it forgets promises and cells',
    setup: { isDurable: false },
  },
  'denies-sending': {
    firstSeed: 146,
    what: 'a write whose connection broke is said not to be applied',
    setup: { process: { deniesSending: true } },
  },
  'last-message-wins': {
    firstSeed: 1,
    what: 'a node replaces cells by what arrives last',
    setup: { join: (_known, arriving) => arriving },
  },
  'unconfirmed-collect': {
    firstSeed: 12,
    step: 3,
    what: 'a node forgets tombstones that another has not seen',
    setup: { process: { rules: { confirmedBy: () => Number.MAX_SAFE_INTEGER } } },
  },
  'no-floor': {
    firstSeed: 504,
    step: 3,
    what: 'a node takes an old state of what it has forgotten for something new',
    setup: { node: { isForgotten: () => false } },
  },
  'forgotten-in-reads': {
    firstSeed: 3,
    isRare: true,
    step: 3,
    what: 'a slow read takes for a value what another node has forgotten meanwhile',
    setup: { process: { rules: { withoutForgotten: (answers) => answers.map(({ cells }) => cells) } } },
  },
  'no-seal': {
    firstSeed: 483,
    step: 3,
    what: 'a node takes a write that is older than what others have forgotten',
    setup: { node: { isTooLate: () => false } },
  },
  'eternal-actor': {
    firstSeed: 3,
    step: 3,
    what: 'an actor is taken up again although its pieces were forgotten: its total counts them once more',
    setup: { process: { actorLifeMs: 60_000 }, node: { isTooLate: () => false } },
  },
  'erase-at-majority': {
    firstSeed: 3,
    isRare: true,
    step: 3,
    what: 'a deleted slot is erased although a node holds an older value of it',
    setup: { process: { rules: { holdersBeforeErase: (nodes) => Math.floor(nodes / 2) + 1 } } },
  },
  'no-floor-ballot': {
    firstSeed: 753,
    step: 3,
    what: 'a node that erased a slot takes a late accept for it',
    setup: { node: { acceptorAbove: () => EMPTY_ACCEPTOR } },
  },
  'erase-regardless': {
    firstSeed: 3,
    isRare: true,
    step: 3,
    what: 'a slot is erased although somebody promised or accepted more since',
    setup: { node: { isStillErasable: () => true } },
  },
  'no-carry': {
    firstSeed: 61,
    step: 3,
    what: 'new members count before every key was carried to them',
    setup: { process: { rules: { carries: false } } },
  },
  'one-majority': {
    firstSeed: 1,
    isRare: true,
    step: 3,
    what: 'while members change, a majority of the old ones is enough',
    setup: { process: { rules: { setsThatCount: (sets) => sets.slice(0, 1) } } },
  },
  'past-running': {
    firstSeed: 1,
    isRare: true,
    what: 'catch-up notes a change number as seen while an earlier transaction still runs',
    setup: { node: { readsPastRunning: true } },
  },
  'no-epoch-fence': {
    firstSeed: 1,
    isRare: true,
    step: 3,
    what: 'a node that has gone on to other members still answers who goes by the old ones',
    setup: { node: { fencesEpochs: false } },
  },
};
