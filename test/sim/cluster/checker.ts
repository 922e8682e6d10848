import type { AcceptorState, VersionedValue } from '../../../src/consensus/acceptor.ts';
import { majority } from '../../../src/consensus/proposer.ts';
import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { VirtualTime } from '../../../src/testing/simulation/virtual-time.ts';
import type { Host } from './host.ts';
import type { ModelPostgres } from './postgres.ts';
import type { Durability, Entry } from './wal.ts';

export type Invariant =
  | 'I1-one-leader'
  | 'I1-frozen-before-won'
  | 'I2-sync-commit-kept'
  | 'I2-sync-set'
  | 'I2b-async-window'
  | 'I3-one-history'
  | 'delayed-apart'
  | 'policy-told'
  | 'register-linearizable'
  | 'terms-in-order'
  | 'false-failover'
  | 'progress';

export interface Violation {
  readonly invariant: Invariant;
  readonly what: string;
  readonly atMs: number;
}

/** What the checker may see of a node: all of it, at once. */
export interface Watched {
  readonly host: Host;
  readonly server: ModelPostgres;
  /** Whether the watchdog holds deadlines by which PostgreSQL may run now, by this machine's clock. */
  readonly mayWrite: () => boolean;
}

/** A woken machine's watchdog acts within its check interval: the documented window. */
const WAKING_MS = 25;

/** Sees the whole cluster at once, as nobody in it can, and holds every step against the promises. */
export class Checker {
  readonly #time: VirtualTime;
  readonly #nodes: readonly Watched[];
  /** How many of them vote. */
  readonly #members: number;
  readonly #delayed: readonly NodeId[];
  readonly violations: Violation[] = [];
  readonly #acceptedBy = new Map<string, Set<number>>();
  readonly #chosen = new Map<number, string>();
  readonly #acknowledged: Entry[] = [];
  #newestVersion = 0;
  /** Nothing else is a violation; null for all of them. */
  only: Invariant | null = null;
  state: ClusterState | null = null;
  acknowledgedSync = 0;
  acknowledgedAsync = 0;
  /** Promotions, and the highest term and holder that was chosen. */
  promotions = 0;
  leaderships = 0;
  hash = 0x811c9dc5;

  constructor(time: VirtualTime, nodes: readonly Watched[], members: number, delayed: readonly NodeId[]) {
    this.#delayed = delayed;
    this.#time = time;
    this.#nodes = nodes;
    this.#members = members;
  }

  note(value: number): void {
    this.hash = Math.imul(this.hash ^ value, 0x01000193) ^ (value >>> 13);
  }

  report(invariant: Invariant, what: string): void {
    if (this.only !== null && invariant !== this.only) return;
    if (this.violations.length < 5) this.violations.push({ invariant, what, atMs: this.#time.nowMs() });
  }

  onDurable(host: Host, { accepted, acceptedBallot }: AcceptorState): void {
    if (accepted.version === 0) return;
    const key = `${acceptedBallot.counter}/${acceptedBallot.proposer}/${accepted.version}/${accepted.operation}`;
    const holders = this.#acceptedBy.get(key) ?? new Set();
    if (holders.has(host.index)) return;
    this.#acceptedBy.set(key, holders.add(host.index));
    if (holders.size === majority(this.#members)) this.#onChosen(accepted);
  }

  #onChosen({ version, value, operation = '' }: VersionedValue): void {
    const known = this.#chosen.get(version);
    if (known !== undefined) {
      if (known !== operation)
        this.report('register-linearizable', `version ${version} is both ${known} and ${operation}`);
      return;
    }
    this.#chosen.set(version, operation);
    this.note(version);
    if (version < this.#newestVersion)
      this.report('register-linearizable', `version ${version} was chosen after ${this.#newestVersion}`);
    this.#newestVersion = Math.max(this.#newestVersion, version);
    this.#onState(value as ClusterState);
  }

  #onState(state: ClusterState): void {
    const before = this.state;
    this.state = state;
    if (before !== null && state.leadership.term < before.leadership.term)
      this.report('terms-in-order', `term ${state.leadership.term} after ${before.leadership.term}`);
    if (before !== null && state.leadership.holder !== before.leadership.holder) this.#onNewHolder(state);
    if (before !== null && state.leadership.term !== before.leadership.term) this.leaderships++;
    const isSame =
      before !== null &&
      before.sync.required === state.sync.required &&
      before.sync.members.join(',') === state.sync.members.join(',');
    for (const name of [state.leadership.holder, ...state.sync.members])
      if (this.#delayed.includes(name))
        this.report('delayed-apart', `${name}, which stays behind on purpose, leads or is counted on`);
    if (state.sync.isDegraded === true && before?.sync.isDegraded !== true && isStrict(state))
      this.report('policy-told', `${state.leadership.holder} degrades a policy that is strict`);
    if (!isSame) for (const entry of this.#acknowledged) this.#checkSyncSet(entry, state);
  }

  /** The proof's own words: the old holder was frozen before the new one won. */
  #onNewHolder(state: ClusterState): void {
    for (const { host, server, mayWrite } of this.#nodes) {
      if (host.name === state.leadership.holder || !server.isWritable) continue;
      if (this.#isWaking(host)) continue;
      if (mayWrite())
        this.report(
          'I1-frozen-before-won',
          `${state.leadership.holder} won term ${state.leadership.term} while ${host.name} might still write`,
        );
    }
  }

  /** A commit that was to be confirmed by others was acknowledged without: that has to be on record first. */
  onUnconfirmed({ host }: ModelPostgres): void {
    const { leadership, sync } = this.state ?? {};
    if (leadership?.holder === host.name && (sync?.members.length ?? 0) > 0)
      this.report(
        'policy-told',
        `${host.name} waits for nobody, and ${sync?.members.join(', ')} are on record`,
      );
  }

  /** What an agent was told of the register, and the newest version chosen before it asked. */
  onSeen(kind: 'read' | 'applied' | 'conflict', seen: VersionedValue, newestAtBegin: number): void {
    const { version, operation = '' } = seen;
    if (version < newestAtBegin)
      this.report(
        'register-linearizable',
        `${kind} told version ${version} though ${newestAtBegin} had been chosen before it began`,
      );
    if (version === 0) return;
    const chosen = this.#chosen.get(version);
    if (chosen !== operation)
      this.report(
        'register-linearizable',
        `${kind} told ${operation} at version ${version}, which is ${chosen ?? 'not chosen'}`,
      );
  }

  get newestVersion(): number {
    return this.#newestVersion;
  }

  onAcknowledged(server: ModelPostgres, entry: Entry, durability: Durability): void {
    this.note(entry.id);
    if (durability === 'async') this.acknowledgedAsync++;
    else this.acknowledgedSync++;
    this.#checkOneLeader(server);
    if (durability === 'async') return;
    this.#acknowledged.push(entry);
    if (this.state !== null) this.#checkSyncSet(entry, this.state);
    for (const { server: other, host } of this.#nodes) {
      if (other === server || other.mode !== 'leader' || this.#termOf(host) === null) continue;
      if (!other.log.includes(entry))
        this.report(
          'I2-sync-commit-kept',
          `${server.host.name} acknowledged ${entry.id}, and ${host.name} leads without it`,
        );
    }
  }

  #termOf(host: Host): number | null {
    return this.state?.leadership.holder === host.name ? this.state.leadership.term : null;
  }

  /** At most one server may acknowledge at a time, but for the moment after a machine woke. */
  #checkOneLeader(server: ModelPostgres): void {
    for (const { server: other, host } of this.#nodes) {
      if (other === server || !other.isWritable) continue;
      if (this.#isWaking(host) || this.#isWaking(server.host)) continue;
      this.report('I1-one-leader', `${server.host.name} acknowledges while ${host.name} accepts writes`);
    }
  }

  #isWaking(host: Host): boolean {
    const sinceMs = Math.max(host.watchdog.runsSinceMs, 0);
    return !host.watchdog.isRunning || this.#time.nowMs() - sinceMs < WAKING_MS;
  }

  onPromoted(server: ModelPostgres): void {
    this.promotions++;
    this.note(server.host.index + 77);
    // A machine suspended while it promoted may finish before its watchdog looks; it acknowledges nothing synchronous.
    if (this.#isWaking(server.host)) return;
    const log = new Set(server.log);
    const lost = this.#acknowledged.filter((entry) => !log.has(entry));
    if (lost.length > 0)
      this.report(
        'I2-sync-commit-kept',
        `${server.host.name} leads without acknowledged ${lost
          .slice(0, 3)
          .map(({ id }) => id)
          .join(', ')}`,
      );
    for (const { server: other, host } of this.#nodes) {
      if (other === server || !other.isWritable || this.#isWaking(host)) continue;
      this.report('I1-one-leader', `${server.host.name} was promoted while ${host.name} accepts writes`);
    }
  }

  /** Everything a follower has is in its leader's log, at the same place. */
  onStreaming(follower: ModelPostgres, leader: ModelPostgres): void {
    const { log } = follower;
    for (let index = log.length - 1; index >= 0; index--) {
      if (log[index] === leader.log[index]) continue;
      this.report(
        'I3-one-history',
        `${follower.host.name} streams from ${leader.host.name} and holds ${log[index]?.id} at ${index + 1}, where that has ${leader.log[index]?.id}`,
      );
      return;
    }
  }

  /** A winner holds what those told whom it heard, the asynchronous part too, unless its branch left theirs before. */
  onElected(
    winner: ModelPostgres,
    heard: readonly { readonly server: ModelPostgres; readonly end: Entry | undefined }[],
  ): void {
    const { timeline } = winner.history;
    for (const { server, end } of heard) {
      if (end === undefined || winner.log.includes(end)) continue;
      const { history } = end;
      const isOnBranch =
        history.timeline === timeline || history.ancestors.some((fork) => fork.timeline === timeline);
      if (isOnBranch)
        this.report(
          'I2b-async-window',
          `${winner.host.name} (${describe(winner)}) won without ${end.id}, which ${server.host.name} (${describe(server)}) told of`,
        );
    }
  }

  /** An acknowledged commit is on the disks of as many recorded members as the record requires. */
  #checkSyncSet(entry: Entry, state: ClusterState): void {
    const { members, required } = state.sync;
    if (members.length === 0) return;
    let holders = 0;
    for (const { host, server } of this.#nodes) {
      if (!members.includes(host.name)) continue;
      const index = server.log.lastIndexOf(entry);
      if (index >= 0 && index < server.flushed) holders++;
    }
    if (holders < required)
      this.report(
        'I2-sync-set',
        `acknowledged ${entry.id} is on ${holders} of ${members.join(', ')}, and ${required} are required`,
      );
  }
}

function isStrict({ policy }: ClusterState): boolean {
  return policy?.degradeAfterMs == null;
}

function describe({ log, history }: ModelPostgres): string {
  const forks = history.ancestors.map(({ timeline, forkedAt }) => `${timeline}@${forkedAt}`);
  return `timeline ${[...forks, history.timeline].join(' ')}, to ${log.length}`;
}
