import type { Topology } from '../../model/topology.ts';

export interface Headline {
  readonly tone: 'good' | 'warn' | 'bad' | 'idle';
  readonly title: string;
  readonly detail: string;
}

/** The one thing a person must know now. `lastLeader` led before, while nobody does. */
export function headline(topology: Topology | null, lastLeader: string | null): Headline;
