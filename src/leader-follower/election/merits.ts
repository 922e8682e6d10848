import { dirname, join } from 'node:path';
import type { NodeId } from '../../model/node.ts';
import type { Clock } from '../../model/clock.ts';
import { dataNodes } from '../config/config.ts';
import type { ClusterConfig, NodeConfig } from '../config/config.ts';
import { mayLead, UNMEASURED } from '../core/candidate.ts';
import type { Measures, Merit } from '../core/candidate.ts';
import type { ClusterState, LostLeadership } from '../core/cluster-state.ts';
import { majorityRoundTripMs } from './core/measure.ts';
import { lossesForElection, lossesOf, observeLosses } from './core/reliability.ts';
import type { LossSightings } from './core/reliability.ts';
import { DiskRoom } from '../local/disk-room.ts';
import { NodeMeasures } from '../local/node-measures.ts';
import type { LocalPort, PeersPort } from '../ports.ts';
import type { EventLog } from '../report/event-log.ts';

/** Keeps what speaks for and against each node as a leader, beside its data. */
export class Merits {
  readonly #config: ClusterConfig;
  readonly #self: NodeId;
  readonly #clock: Clock;
  readonly #peers: PeersPort;
  readonly #measures: NodeMeasures;
  readonly #room: DiskRoom;
  #losses: LossSightings = new Map();

  constructor(options: {
    readonly config: ClusterConfig;
    readonly node: NodeConfig;
    readonly local: LocalPort;
    readonly peers: PeersPort;
    readonly events: EventLog;
    readonly clock: Clock;
  }) {
    const { config, node, local, peers, events, clock } = options;
    this.#config = config;
    this.#clock = clock;
    this.#self = node.name;
    this.#peers = peers;
    this.#room = new DiskRoom(local.dataDir, clock, (message, room) =>
      events.add(room === 'low' ? 'error' : 'note', message),
    );
    this.#measures = new NodeMeasures({
      clock,
      probePath: join(dirname(local.dataDir), 'fsync.probe'),
      postgresPort: node.port,
      withClient: (task) =>
        local.server.isRunning ? local.withClient(task) : Promise.reject(new Error('not running')),
    });
  }

  get neverLead(): readonly NodeId[] {
    return this.#config.nodes.filter((node) => !mayLead(node)).map((node) => node.name);
  }

  /** What this node measured of itself, for the others. */
  own(): Measures {
    const roundTrips = this.#peers
      .reports()
      .filter(({ node }) => !node.witness)
      .map((report) => report.roundTripMs);
    return {
      peerLatencyMs: rounded(majorityRoundTripMs(roundTrips, dataNodes(this.#config).length)),
      clientLatencyMs: rounded(this.#measures.clientLatencyMs),
      fsyncMs: rounded(this.#measures.fsyncMs),
      cpuHeadroom: rounded(this.#measures.cpuHeadroom),
      freeBytes: this.#room.freeBytes,
    };
  }

  /** Of all nodes, by what the others last told. */
  all(state: ClusterState | null): readonly Merit[] {
    const nowMs = this.#clock.nowMs();
    this.#losses = observeLosses(this.#losses, state, nowMs);
    const told = new Map(this.#peers.reports().map(({ node, status }) => [node.name, status?.measures]));
    return this.#config.nodes.map(({ name, failoverPriority, isLeaving }) => ({
      node: name,
      failoverPriority,
      ...(isLeaving === true ? { isLeaving } : {}),
      losses: lossesOf(name, state, this.#losses, nowMs),
      measures: name === this.#self ? this.own() : (told.get(name) ?? UNMEASURED),
    }));
  }

  /** What to record when this node wins the register from `state`. */
  lossesAfter(state: ClusterState): readonly LostLeadership[] {
    return lossesForElection(state, this.#losses, this.#clock.nowMs());
  }

  close(): void {
    this.#measures.close();
    this.#room.close();
  }
}

function rounded(value: number | null): number | null {
  return value === null ? null : Math.round(value * 100) / 100;
}
