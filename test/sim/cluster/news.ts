import { STATUS_INTERVAL_MS } from '../../../src/coordination/link/link.ts';
import type { Position } from '../../../src/leader-follower/core/candidate.ts';
import type { Ping } from '../../../src/leader-follower/core/support.ts';
import type { LocalPostgres } from '../../../src/leader-follower/core/view.ts';
import { parseTerm } from '../../../src/model/node.ts';
import type { Term } from '../../../src/model/node.ts';
import type { ModelAgent } from './agent.ts';
import { HeardPeers } from './heard-peers.ts';
import type { PeerStatus } from './heard-peers.ts';

/** What one life of an agent tells the others, and hears from them. */
export class ModelNews {
  readonly #agent: ModelAgent;
  readonly heard: HeardPeers;
  #local: LocalPostgres = { kind: 'stopped' };
  #coming: { readonly term: Term; readonly end: Position } | null = null;

  constructor(agent: ModelAgent) {
    const { cluster, host, mutant } = agent;
    this.#agent = agent;
    const others = cluster.names.filter((name) => name !== host.name);
    this.heard = new HeardPeers(host, others, (state) => cluster.membersOf(state), mutant);
  }

  /** From here on it tells its status now and then. */
  begin(): void {
    const { host } = this.#agent;
    host.after(host.agent, STATUS_INTERVAL_MS, () => {
      this.tell();
      this.begin();
    });
  }

  /** What PostgreSQL is now; told at once where that is news. */
  saw(local: LocalPostgres): void {
    const isNews = this.#local.kind !== local.kind;
    this.#local = local;
    if (isNews) this.tell();
  }

  /** It has won, with its log ending there: whoever holds no more may attach before it is promoted. */
  won(end: Position | null): void {
    const term = this.#agent.leadership.known.state?.leadership.term;
    this.#coming = end === null || term === undefined ? null : { term, end };
    this.tell();
  }

  promoted(): void {
    this.#coming = null;
  }

  tell(): void {
    const status = this.#status();
    const { cluster, host } = this.#agent;
    for (const other of cluster.agents)
      if (other !== this.#agent)
        cluster.network.send(host, other.host, other.host.agent, () => other.hearStatus(status));
  }

  readonly sendPing = (ping: Ping, sentAtMs: number): void => {
    const { cluster, host, leadership } = this.#agent;
    const { life } = host.agent;
    for (const other of cluster.agents) {
      if (other === this.#agent || other.host.isDeaf) continue;
      cluster.network.send(host, other.host, other.host.agent, () => {
        if (!other.leadership.answer(ping)) return;
        cluster.network.send(other.host, host, host.agent, () => {
          if (host.agent.life === life) leadership.heard(other.host.name, sentAtMs);
        });
      });
    }
  };

  #status(): PeerStatus {
    const { server, host, leadership } = this.#agent;
    const local = this.#local;
    const isLeading = local.kind === 'leader' && leadership.ownLease.kind === 'held';
    const isKnown = local.kind === 'leader' || local.kind === 'follower';
    return {
      name: host.name,
      hasData: server.hasData,
      role: isLeading ? 'leader' : local.kind === 'follower' ? 'follower' : 'unknown',
      term: leadership.known.state?.leadership.term ?? parseTerm(0),
      history: isKnown ? local.history : null,
      receivedLsn: isKnown ? server.shownLsn : null,
      following: local.kind === 'follower' ? local.following : null,
      isReceiving: local.kind === 'follower' && local.isReceiving,
      promotesFrom: this.#promotesFrom(),
      hasLostLeader: leadership.leaderLostForMs > 0,
    };
  }

  #promotesFrom(): PeerStatus['promotesFrom'] {
    const { term } = this.#agent.leadership.known.state?.leadership ?? {};
    return this.#coming !== null && this.#coming.term === term ? this.#coming.end : null;
  }
}
