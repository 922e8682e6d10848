import type { Invariant } from './checker.ts';
import type { MutantName } from './rules.ts';

export interface Mutant {
  readonly name: MutantName;
  /** Which rule is broken, how, and what else stands in its way. */
  readonly what: string;
  /** Safety, where it can break; `progress` where another rule keeps the data and the cluster only gets stuck. */
  readonly caughtAs: 'safety' | 'progress';
  /** The one invariant that shows it, where others show what else it breaks. */
  readonly only?: Invariant;
}

/** Caught as what it is: getting stuck shows that something is wrong, and no more. */
export function isCaught(mutant: Mutant, invariant: Invariant): boolean {
  return mutant.caughtAs === 'progress' || (invariant !== 'progress' && invariant !== 'false-failover');
}

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'fence-quorum-one-less',
    what: 'a candidate on suspicion needs one fence less',
    caughtAs: 'safety',
  },
  {
    name: 'guest-supported-as-member',
    what: 'a leader that does not vote needs as few supporters as one that does, though all members may fence it',
    caughtAs: 'safety',
  },
  {
    name: 'guest-needs-no-member',
    what: 'a candidate that does not vote takes an expired lease without a member that let go, against the failsafe',
    caughtAs: 'safety',
  },
  {
    name: 'promise-forgotten-at-restart',
    what: 'a process that starts neither behaves as if it had promised nor promises to the first leader it reads of (each alone covers for the other)',
    caughtAs: 'safety',
  },
  {
    name: 'promise-without-margin',
    what: 'a promise lasts W, without the margin for drift, and a candidate waits for no latecomers (that wait of 50 ms alone covers the drift simulated here)',
    caughtAs: 'safety',
  },
  {
    name: 'support-counted-from-answer',
    what: 'the holder counts support from when the answer came, not from before the ping was sent',
    caughtAs: 'safety',
  },
  {
    name: 'support-at-fenced-version',
    what: 'a member supports the holder again at the version at which it fenced',
    caughtAs: 'safety',
  },
  {
    name: 'no-freeze',
    what: 'the watchdog does not freeze, it only kills when the lease ends',
    caughtAs: 'safety',
  },
  {
    name: 'candidate-does-not-fence-itself',
    what: 'a candidate goes on supporting the holder that it wants to replace',
    caughtAs: 'safety',
  },
  {
    name: 'version-as-identity',
    what: 'a writer takes a committed register for its own by the version, not by its unique operation',
    caughtAs: 'safety',
  },
  {
    name: 'wall-clock-lease',
    what: 'the holder and its watchdog count on the wall clock',
    caughtAs: 'safety',
  },
  { name: 'lazy-fsync', what: 'an acceptor answers before its state is on disk', caughtAs: 'safety' },
  {
    name: 'ballot-reuse',
    what: 'all proposers share one name, so that two use one ballot; acceptors repeat a promise, for else their strict order would cover for it',
    caughtAs: 'safety',
  },
  { name: 'consensus-quorum-of-one', what: 'one acceptor is a quorum', caughtAs: 'safety' },
  {
    name: 'small-election-quorum',
    what: 'an election hears one member of the sync set less',
    caughtAs: 'safety',
  },
  {
    name: 'no-barrier',
    what: 'a node leaves the recorded sync set before the rest passed what was acknowledged with its help',
    caughtAs: 'safety',
  },
  {
    name: 'activate-before-record',
    what: 'PostgreSQL counts a follower before the register records it',
    caughtAs: 'safety',
  },
  {
    name: 'no-cut-off',
    what: 'members tell a candidate their position and go on receiving, and do not fence',
    caughtAs: 'safety',
  },
  {
    name: 'timeline-not-announced',
    what: 'a candidate does not mind that the last holder may have begun a timeline that it never heard of, and PostgreSQL takes the number again',
    caughtAs: 'safety',
  },
  {
    name: 'timelines-by-number',
    what: 'elections and rejoins compare timelines by number, not by ancestry; PostgreSQL refuses to stream across a fork by its own check, so most of these only get stuck',
    caughtAs: 'progress',
  },
  {
    name: 'rejoin-without-rewind',
    what: 'a diverged node follows as it is; PostgreSQL refuses to stream to it by its own check (numbers are unique), so the data stays right and the node stays out',
    caughtAs: 'progress',
  },
  {
    name: 'release-before-end',
    what: 'the lease is given up before PostgreSQL has ended',
    caughtAs: 'safety',
  },
  {
    name: 'extend-without-answer',
    what: 'the holder takes a renewal of unknown outcome for a good one, from when it came out (counted from when it was sent, the 1.5 s that an unknown outcome takes leave the lease to run out before the next)',
    caughtAs: 'safety',
  },
  {
    name: 'takeover-without-check',
    what: 'the successor of a switchover takes over without all of the log that the leader ended with',
    caughtAs: 'safety',
  },
  {
    name: 'follows-outdated-leader',
    what: 'a member goes back to the leader from which it cut itself off for a candidate, and commits are acknowledged by it that the candidate does not know of; the watchdog does not freeze, which alone covers for it',
    caughtAs: 'safety',
    only: 'I2-sync-commit-kept',
  },
  {
    name: 'coming-members-not-counted',
    what: 'while members change, the holder goes by those of before until it knows that the change is written',
    caughtAs: 'safety',
  },
  {
    name: 'coming-members-forgotten',
    what: 'the holder counts coming members no more 100 ms after it sent the change, though it does not know what became of it',
    caughtAs: 'safety',
  },
  {
    name: 'delayed-may-lead',
    what: 'an election does not mind that a node stays behind on purpose',
    caughtAs: 'safety',
  },
  {
    name: 'delayed-counted',
    what: 'commits wait for a node that stays behind on purpose',
    caughtAs: 'safety',
  },
  {
    name: 'degrade-before-record',
    what: 'commits wait for nobody, by the policy, before it is recorded that only the leader has them',
    caughtAs: 'safety',
  },
  {
    name: 'fewer-before-record',
    what: 'commits wait for fewer followers, by the policy, before that is recorded',
    caughtAs: 'safety',
  },
  {
    name: 'old-names-settled',
    what: 'the names that PostgreSQL shows a moment after it was told others count as settled still',
    caughtAs: 'safety',
  },
  {
    name: 'more-recorded-at-once',
    what: 'a higher number of followers is recorded before so many have what was acknowledged',
    caughtAs: 'safety',
  },
];
