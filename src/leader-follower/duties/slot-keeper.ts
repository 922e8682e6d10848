import type { Lsn } from '../../model/lsn.ts';
import { parseLsn } from '../../model/lsn.ts';
import type { Clock } from '../../model/clock.ts';
import { Sequence } from '../../model/sequence.ts';
import type { NodeId } from '../../model/node.ts';
import { advanceSlot, createSlot, dropSlot, dropStaleLogicalSlots, readSlots } from '../../postgres/slots.ts';
import { delayMsOf, followersOf } from '../config/config.ts';
import type { ClusterConfig } from '../config/config.ts';
import { decideSlots } from './core/slots.ts';
import type { Merits } from '../election/merits.ts';
import type { PeerReport } from '../peers/peers.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import type { LeaderDuty } from './leader-duty.ts';

const LEADER_INTERVAL_MS = 2_000;
/** A leader's round waits for this, and a suspended PostgreSQL never answers. */
const TIMEOUT_MS = 2_000;
/** They only have to move on before they keep much more than a follower keeps anyway. */
const FOLLOWER_INTERVAL_MS = 10_000;

/**
 * Keeps a slot for each other node on this one, whether it leads or may lead one day. Calls run one after
 * the other, whoever makes them.
 */
export class SlotKeeper implements LeaderDuty {
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #config: ClusterConfig;
  readonly #local: LocalPort;
  readonly #peers: PeersPort;
  readonly #merits: Merits;
  #checkedAtMs = Number.NEGATIVE_INFINITY;
  readonly #checks = new Sequence();

  constructor(options: {
    readonly self: NodeId;
    readonly clock: Clock;
    readonly config: ClusterConfig;
    readonly local: LocalPort;
    readonly peers: PeersPort;
    readonly merits: Merits;
  }) {
    this.#self = options.self;
    this.#clock = options.clock;
    this.#config = options.config;
    this.#local = options.local;
    this.#peers = options.peers;
    this.#merits = options.merits;
  }

  /** Makes the slots right now. */
  ensure(): Promise<void> {
    this.#checkedAtMs = this.#clock.nowMs();
    return this.#checks.run(() => this.#check());
  }

  /** The data folder may be another one now, without slots: do not wait until it is time. */
  dataChanged(): void {
    this.#checkedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** A new leader has them right at once. */
  start(): Promise<void> {
    return this.ensure();
  }

  /** As leader: {@link ensure} when it is time. */
  async step(): Promise<void> {
    if (this.#clock.nowMs() - this.#checkedAtMs > LEADER_INTERVAL_MS) await this.ensure();
  }

  stop(): void {
    this.dataChanged();
  }

  /** As follower: {@link ensure} when it is time; nothing waits for it, and an election least of all. */
  keepAsFollower(): void {
    if (this.#clock.nowMs() - this.#checkedAtMs > FOLLOWER_INTERVAL_MS)
      void this.ensure().catch(() => undefined);
  }

  async #check(): Promise<void> {
    const others = followersOf(this.#config, this.#self);
    const mayLead = !this.#merits.neverLead.includes(this.#self);
    await this.#local.withClient(
      async (client) => {
        const { slots, isInRecovery, redoLsn } = await readSlots(client);
        if (isInRecovery) await dropStaleLogicalSlots(client);
        const heldByPeers = heldBy(this.#peers.reports());
        const steps = decideSlots({
          slots: slots.map((slot) => ({ ...slot, node: slot.follower as NodeId })),
          wanted: mayLead ? others : [],
          follower: isInRecovery ? { redoLsn, heldByPeers } : null,
          fedByOthers: fedByOthers(this.#peers.reports(), this.#self, heldByPeers, redoLsn),
        });
        for (const step of steps) {
          if (step.kind === 'drop') await dropSlot(client, step.node);
          else if (step.kind === 'create') await createSlot(client, step.node);
          else await advanceSlot(client, step.node, step.to);
        }
      },
      'postgres',
      TIMEOUT_MS,
    );
  }
}

/** Never past this node's own redo position: it keeps its log from there on anyway. */
function fedByOthers(
  reports: readonly PeerReport[],
  self: NodeId,
  held: ReadonlyMap<NodeId, Lsn>,
  redoLsn: Lsn,
): ReadonlyMap<NodeId, Lsn> {
  const fed = reports.filter(
    ({ status }) => status?.isReceiving === true && status.following !== null && status.following !== self,
  );
  return new Map(
    fed.flatMap(({ node: { name } }) => {
      const lsn = held.get(name);
      return lsn === undefined ? [] : [[name, lsn < redoLsn ? lsn : redoLsn] as const];
    }),
  );
}

/** The log of a silent node stands still at least where it last was. */
function heldBy(reports: readonly PeerReport[]): ReadonlyMap<NodeId, Lsn> {
  const held = new Map<NodeId, Lsn>();
  for (const { node, status } of reports) {
    if (status?.receivedLsn == null || status.replayedLsn === null) continue;
    const [received, replayed] = [parseLsn(status.receivedLsn), parseLsn(status.replayedLsn)];
    // A delayed node keeps what it has not replayed itself.
    held.set(node.name, delayMsOf(node) > 0 || received < replayed ? received : replayed);
  }
  return held;
}
