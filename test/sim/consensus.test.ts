import { expect, test } from 'vitest';
import { compareBallots } from '../../src/consensus/ballot.ts';
import { stepAcceptor } from '../../src/consensus/acceptor.ts';
import type {
  AcceptorState,
  AcceptorStep,
  ConsensusMessage,
  ConsensusReply,
} from '../../src/consensus/acceptor.ts';
import { doesVote, judgeMessage } from '../../src/consensus/voters.ts';
import type { MessageJudgement, OwnVote, VoterSet } from '../../src/consensus/voters.ts';
import { votersIn } from './consensus-client.ts';
import { CHANGING, CORRECT, simulate } from './consensus-run.ts';
import type { Variant } from './consensus-run.ts';
import { CORRECT_RULES } from './consensus-world.ts';

const ONLY_SEED = process.env['SIM_SEED'];
const SEEDS = Number(process.env['SIM_SEEDS'] ?? 300);
const SEEDS_OF_MUTANTS = 1_000;
const FIRST_SEED = ONLY_SEED === undefined ? 1 : Number(ONLY_SEED);
const LAST_SEED = ONLY_SEED === undefined ? SEEDS : FIRST_SEED;

test('registers are linearizable under every fault, and a healed majority makes progress', async () => {
  let applied = 0;
  let reads = 0;
  for (let seed = FIRST_SEED; seed <= LAST_SEED; seed++) {
    const result = await simulate(seed);
    const command = `SIM_SEED=${seed} npx vitest run --project sim test/sim/consensus.test.ts -t linearizable`;
    expect(result.violation, `seed ${seed}; again with: ${command}`).toBeNull();
    applied += result.applied;
    reads += result.reads;
  }
  // A world in which next to nothing succeeds proves nothing.
  const runs = LAST_SEED - FIRST_SEED + 1;
  expect(applied / runs).toBeGreaterThan(10);
  expect(reads / runs).toBeGreaterThan(10);
});

test('they stay so while voters come and go, and lose their files', async () => {
  let changes = 0;
  let lostFiles = 0;
  let applied = 0;
  for (let seed = FIRST_SEED; seed <= LAST_SEED; seed++) {
    const result = await simulate(seed, CHANGING);
    const command = `SIM_SEED=${seed} npx vitest run --project sim test/sim/consensus.test.ts -t 'come and go'`;
    expect(result.violation, `seed ${seed}; again with: ${command}`).toBeNull();
    changes += result.changes;
    lostFiles += result.lostFiles;
    applied += result.applied;
  }
  const runs = LAST_SEED - FIRST_SEED + 1;
  expect(changes / runs).toBeGreaterThan(2);
  expect(lostFiles / runs).toBeGreaterThan(0.3);
  expect(applied / runs).toBeGreaterThan(10);
});

test('a seed names one history', async () => {
  const first = await simulate(7);
  expect(await simulate(7)).toEqual(first);
  expect((await simulate(8)).hash).not.toBe(first.hash);
});

/** Promises its own ballot again, as if to be kind to doubled messages. */
function stepRepeatingPromises(state: AcceptorState, message: ConsensusMessage): AcceptorStep {
  if (message.kind !== 'prepare' || compareBallots(message.ballot, state.promised) !== 0)
    return stepAcceptor(state, message);
  return {
    state,
    reply: { kind: 'promise', acceptedBallot: state.acceptedBallot, accepted: state.accepted },
  };
}

function stepAcceptingAll(state: AcceptorState, message: ConsensusMessage): AcceptorStep {
  if (message.kind !== 'accept') return stepAcceptor(state, message);
  return {
    state: { ...state, acceptedBallot: message.ballot, accepted: message.proposal },
    reply: { kind: 'accepted' },
  };
}

function forgetBallot(reply: ConsensusReply): ConsensusReply {
  return reply.kind === 'state' ? { ...reply, acceptedBallot: { counter: 1, proposer: '' } } : reply;
}

const KNOWN_BAD: readonly [string, Variant][] = [
  [
    'one ballot with two values (proposers share a name, promises repeated)',
    { ...CORRECT, proposerIdOf: () => 'p', rules: { ...CORRECT_RULES, step: stepRepeatingPromises } },
  ],
  ['a quorum of one', { ...CORRECT, askedVoters: 1 }],
  ['a reply before the fsync', { ...CORRECT, rules: { ...CORRECT_RULES, repliesEarly: true } }],
  ['accepting against a promise', { ...CORRECT, rules: { ...CORRECT_RULES, step: stepAcceptingAll } }],
  ['a voter let back after it lost its file', { ...CORRECT, rules: { ...CORRECT_RULES, forgetsAll: true } }],
  ['a read that does not compare ballots', { ...CORRECT, distort: forgetBallot }],
];

function judgeByNameAlone<Set extends VoterSet>(
  own: OwnVote,
  known: Set | null,
  asked: Set | null,
): MessageJudgement<Set> {
  const set = (asked?.epoch ?? 0) >= (known?.epoch ?? 0) ? asked : known;
  const listed = set?.voters.find(({ name }) => name === own.name);
  const isFounding = own.isFounding || listed?.acceptor === null;
  return judgeMessage({ ...own, acceptor: listed?.acceptor ?? own.acceptor, isFounding }, known, asked);
}

function judgeWithoutOrder<Set extends VoterSet>(
  own: OwnVote,
  known: Set | null,
  asked: Set | null,
): MessageJudgement<Set> {
  if ((asked?.epoch ?? 0) >= (known?.epoch ?? 0)) return judgeMessage(own, known, asked);
  return { kind: doesVote(own, asked) ? 'vote' : 'no-voter', adopts: null };
}

function changingBy(rules: Partial<Variant['rules']>): Variant {
  return { ...CHANGING, rules: { ...CORRECT_RULES, ...rules } };
}

const KNOWN_BAD_CHANGES: readonly [string, Variant][] = [
  [
    'a change of voters before all registers were confirmed',
    { ...CHANGING, changes: { carries: [], atOnce: 1 } },
  ],
  ['two voters changed at once', { ...CHANGING, changes: { carries: ['plan'], atOnce: 2 } }],
  ['older voters answered', changingBy({ judge: judgeWithoutOrder })],
  ['a voter that keeps its place without its file', changingBy({ judge: judgeByNameAlone })],
  ['voters forgotten in a crash', changingBy({ forgetsVoters: true })],
  ['voters that count before they are chosen', changingBy({ votersOfAccepted: votersIn })],
];

test.each([...KNOWN_BAD, ...KNOWN_BAD_CHANGES])('catches %s', async (_name, variant) => {
  for (let seed = 1; seed <= SEEDS_OF_MUTANTS; seed++) {
    const { violation } = await simulate(seed, variant);
    // Without progress a fault is noticed, but not as what it is.
    if (violation !== null && !violation.startsWith('no progress')) return;
  }
  expect.fail(`no seed of ${SEEDS_OF_MUTANTS} caught it`);
});
