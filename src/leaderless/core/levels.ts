import { majority } from '../../consensus/proposer.ts';

/**
 * How many nodes a write waits for. `accept` waits for one like `one` does and says by its name that nothing more is asked:
 * neither ever counts as a quorum.
 */
export type WriteLevel = 'one' | 'quorum' | 'all' | 'accept';
/** How many nodes a read asks. */
export type ReadLevel = 'one' | 'quorum' | 'all';

export function nodesNeeded(level: WriteLevel, nodes: number): number {
  switch (level) {
    case 'one':
    case 'accept':
      return 1;
    case 'quorum':
      return majority(nodes);
    case 'all':
      return nodes;
  }
}
