import type { NodeKey } from '../../model/node.ts';

/** How much one new measurement moves the average. */
const SMOOTHING = 0.1;

/** While nothing is sent to a node, its last times lose their meaning, so that it is tried again. */
const FADING_AFTER_MS = 1000;
const FADING = 0.8;

/** A node that left everything unanswered for so long is tried again with a few statements. */
const TRIED_AGAIN_AFTER_MS = 250;

/** How busy and how quick a node is from here. It changes while one looks at it. */
export interface NodeLoad {
  /** Statements in flight from this pool, or waiting for a connection there. */
  readonly outstanding: number;
  /** How many of them were begun since it answered last, and when the first of these was (monotonic). */
  readonly unanswered: number;
  readonly unansweredSinceMs: number;
  /** Moving average of a statement's time; 0 while nothing was measured. */
  readonly latencyMs: number;
}

interface NodeTraffic {
  outstanding: number;
  unanswered: number;
  unansweredSinceMs: number;
  begunAtMs: number;
  latencyMs: number;
  measuredAtMs: number;
  reads: number;
}

/** Counts since the pool was made. */
export interface TrafficCounts {
  /** Statements that wrote or may have written. */
  writes: number;
  /** Session reads that a watermark let through without a check. */
  watermarkHits: number;
  /** Session reads that the gate let through on a follower. */
  gatePasses: number;
  /** Session reads that a follower was not far enough for. */
  gateMisses: number;
  /** Session statements before which the leader did not yet show what a follower had shown. */
  leaderGateMisses: number;
  /** Statements that a follower refused and the leader answered. */
  redirected: number;
  /** Statements tried again because surely nothing had been applied. */
  retried: number;
  /** Reads of which a copy went to a second follower, the first being late. */
  hedged: number;
  /** Writes whose outcome a broken connection left unknown. */
  unknownOutcomes: number;
  /** Of these, the ones that an `idempotencyKey` settled. */
  resolvedOutcomes: number;
}

/** What this pool has sent where, and how quickly each server answers. */
export class Traffic {
  readonly counts: TrafficCounts = {
    writes: 0,
    watermarkHits: 0,
    gatePasses: 0,
    gateMisses: 0,
    leaderGateMisses: 0,
    redirected: 0,
    retried: 0,
    hedged: 0,
    unknownOutcomes: 0,
    resolvedOutcomes: 0,
  };
  readonly #nodes = new Map<NodeKey, NodeTraffic>();

  /** A node's load, which goes on changing. */
  load(key: NodeKey): NodeLoad {
    return this.#node(key);
  }

  /** Called a few times a second: lets old measurements fade. */
  fade(nowMs: number): void {
    for (const node of this.#nodes.values()) {
      if (nowMs - node.measuredAtMs > FADING_AFTER_MS) node.latencyMs *= FADING;
      if (nowMs - node.begunAtMs > TRIED_AGAIN_AFTER_MS) node.unanswered = 0;
    }
  }

  /** Reads answered per node. */
  get reads(): ReadonlyMap<NodeKey, number> {
    const served = [...this.#nodes].filter(([, node]) => node.reads > 0);
    return new Map(served.map(([key, node]) => [key, node.reads]));
  }

  countRead(key: NodeKey): void {
    this.#node(key).reads += 1;
  }

  /** A statement waits for a connection, or is sent. */
  started(key: NodeKey, nowMs: number): void {
    const node = this.#node(key);
    node.outstanding += 1;
    if (node.unanswered === 0) node.unansweredSinceMs = nowMs;
    node.unanswered += 1;
    node.begunAtMs = nowMs;
  }

  /** The wait for a connection is over; whether it was `got` says that the node is there. */
  waited(key: NodeKey, got: boolean): void {
    const node = this.#node(key);
    node.outstanding -= 1;
    if (got) node.unanswered = 0;
  }

  ended(key: NodeKey, startedAtMs: number, nowMs: number): void {
    const node = this.#node(key);
    const tookMs = nowMs - startedAtMs;
    node.measuredAtMs = nowMs;
    node.outstanding -= 1;
    node.unanswered = 0;
    node.latencyMs = node.latencyMs === 0 ? tookMs : node.latencyMs + SMOOTHING * (tookMs - node.latencyMs);
  }

  #node(key: NodeKey): NodeTraffic {
    let node = this.#nodes.get(key);
    if (node === undefined) {
      node = {
        outstanding: 0,
        unanswered: 0,
        unansweredSinceMs: 0,
        begunAtMs: 0,
        latencyMs: 0,
        measuredAtMs: 0,
        reads: 0,
      };
      this.#nodes.set(key, node);
    }
    return node;
  }
}
