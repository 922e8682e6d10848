import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';

/** Three nodes, and one more for each of `delays`; all agents on one port. */
export function configWithDelays(agentPort: number, ...delays: readonly (string | null)[]): ClusterConfig {
  return parseClusterConfig(
    {
      id: 'test-cluster',
      name: 'test',
      nodes: [null, null, null, ...delays].map((delay, index) => ({
        name: `n${index + 1}`,
        host: '127.0.0.1',
        port: 5_000 + index,
        agentPort,
        ...(delay === null ? {} : { delay }),
      })),
      secrets: {
        superuser: 'a'.repeat(16),
        replication: 'b'.repeat(16),
        app: 'c'.repeat(16),
        agent: 'd'.repeat(16),
      },
    },
    'a test',
  );
}
