import type { ClusterState } from '../../../src/leader-follower/core/cluster-state.ts';
import { isLeaderSuspected } from '../../../src/leader-follower/core/support.ts';
import type { PeerView } from '../../../src/leader-follower/core/view.ts';
import { PEER_SILENT_AFTER_MS } from '../../../src/leader-follower/patience.ts';
import { parseTerm } from '../../../src/model/node.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { KnownRegister } from './coordination.ts';
import type { Host } from './host.ts';
import type { MutantName } from './rules.ts';

/** What an agent tells the others of its node. */
export interface PeerStatus extends Omit<PeerView, 'isReachable'> {
  readonly hasLostLeader: boolean;
}

/** What one agent last heard of the others. */
export class HeardPeers {
  readonly #host: Host;
  readonly #others: readonly NodeId[];
  readonly #membersOf: (state: ClusterState | null) => readonly NodeId[];
  readonly #mutant: MutantName | null;
  readonly #heard = new Map<NodeId, { readonly status: PeerStatus; readonly atMs: number }>();

  constructor(
    host: Host,
    others: readonly NodeId[],
    membersOf: (state: ClusterState | null) => readonly NodeId[],
    mutant: MutantName | null,
  ) {
    this.#host = host;
    this.#others = others;
    this.#membersOf = membersOf;
    this.#mutant = mutant;
  }

  /** Whether it is news to act on. */
  hear(status: PeerStatus): boolean {
    const before = this.#heard.get(status.name)?.status;
    this.#heard.set(status.name, { status, atMs: this.#host.nowMs() });
    return (
      before?.role !== status.role ||
      before.term !== status.term ||
      before.hasLostLeader !== status.hasLostLeader ||
      before.promotesFrom?.receivedLsn !== status.promotesFrom?.receivedLsn
    );
  }

  areEnoughLost(
    register: KnownRegister | null,
    own: { readonly leaderLostForMs: number; readonly unchangedForMs: number },
  ): boolean {
    const current = register?.state?.leadership;
    if (current === undefined) return false;
    const members = this.#membersOf(register?.state ?? null);
    let others = this.#mutant === 'fence-quorum-one-less' ? 1 : 0;
    for (const [name, { status, atMs }] of this.#heard) {
      if (name === current.holder || !members.includes(name) || !this.#isRecent(atMs)) continue;
      if (status.hasLostLeader && status.term === current.term) others++;
    }
    const memberCount = members.length;
    const isMember = members.includes(this.#host.name);
    return isLeaderSuspected({
      memberCount,
      isMember,
      hasLostLeader: own.leaderLostForMs > 0,
      othersThatLostLeader: others,
      unchangedForMs: own.unchangedForMs,
    });
  }

  views(): PeerView[] {
    return this.#others.map((name) => {
      const heard = this.#heard.get(name);
      if (heard !== undefined) return { ...heard.status, isReachable: this.#isRecent(heard.atMs) };
      const nothing = {
        hasData: null,
        term: parseTerm(0),
        history: null,
        receivedLsn: null,
        following: null,
        isReceiving: false,
        promotesFrom: null,
      };
      return { ...nothing, name, isReachable: false, role: 'unknown' };
    });
  }

  #isRecent(atMs: number): boolean {
    return this.#host.nowMs() - atMs < PEER_SILENT_AFTER_MS;
  }
}
