import type { NodeTopology, Topology } from '../../model/topology.ts';

export interface Headline {
  readonly tone: 'good' | 'warn' | 'bad' | 'idle';
  readonly title: string;
  readonly detail: string;
}

/** The one thing a person must know now. `lastLeader` led before, while nobody does. */
export function headline(topology: Topology | null, lastLeader: string | null): Headline;

/** Its PostgreSQL is there and says nothing of itself, as one that somebody has suspended. */
export function isSilent(node: NodeTopology): boolean;
