import { describe, expect, test } from 'vitest';
import { findNodeChanges, NodeWatch } from '../../src/cli/dev/dev-nodes.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig, NodeConfig } from '../../src/leader-follower/config/config.ts';
import type { NodesAnswer } from '../../src/leader-follower/config/node-schema.ts';
import { parseNodeId } from '../../src/model/node.ts';
import type { Topology } from '../../src/model/topology.ts';
import { topology as exampleTopology } from './admin-fixtures.ts';

const secret = 'x'.repeat(16);
const CONFIG: ClusterConfig = parseClusterConfig(
  {
    id: 'c',
    name: 'dev',
    nodes: [1, 2, 3].map((n) => ({ name: `n${n}`, host: '127.0.0.1', port: 5440 + n, agentPort: 7410 + n })),
    secrets: { superuser: secret, replication: secret, app: secret, agent: secret },
  },
  'cluster.json',
);
const ADDED: NodeConfig = {
  name: parseNodeId('n4'),
  host: '127.0.0.1',
  port: 5444,
  agentPort: 7414,
  failoverPriority: 1,
  witness: false,
  voter: false,
};

/** What anyone may put on the port of a dead agent: a higher term and version, and one node more. */
function forgery(host: string): Topology {
  const example = exampleTopology();
  const nodes = [...CONFIG.nodes, { ...ADDED, host }].map((node) => ({
    ...example.nodes[0]!,
    name: node.name,
    host: node.host,
    port: node.port,
    agentUrl: `http://127.0.0.1:${node.agentPort}`,
    voter: node.voter,
  }));
  return { ...example, clusterId: CONFIG.id, term: 1e9, version: 1e15, nodes };
}

function watch(ask: () => Promise<NodesAnswer | null>): { watch: NodeWatch; told: NodesAnswer[] } {
  const told: NodesAnswer[] = [];
  const nodeWatch = new NodeWatch({ config: () => CONFIG, ask, onNodes: (answer) => told.push(answer) });
  return { watch: nodeWatch, told };
}

describe('the nodes of a local cluster', () => {
  test('are not what a picture shows that anyone can paint', async () => {
    let asked = 0;
    const { watch: nodeWatch, told } = watch(async () => {
      asked += 1;
      return { version: 7, nodes: CONFIG.nodes };
    });
    for (let n = 0; n < 100; n += 1) nodeWatch.hint(forgery('127.0.0.2/32 trust\n#'));
    await expect.poll(() => told.length).toBe(1);
    nodeWatch.close();
    expect(findNodeChanges(CONFIG, told[0]!)).toBeNull();
    expect(asked).toBeLessThan(5);
  });

  test('are what the agents say under their seal, also after a forged version', async () => {
    let answer: NodesAnswer | null = null;
    const { watch: nodeWatch, told } = watch(async () => answer);
    nodeWatch.hint(forgery('127.0.0.1'));
    answer = { version: 8, nodes: [...CONFIG.nodes, ADDED] };
    await expect.poll(() => told.length, { timeout: 10_000 }).toBe(1);
    nodeWatch.close();
    expect(findNodeChanges(CONFIG, told[0]!)).toMatchObject({ added: [ADDED] });
  });

  test('are not asked for while the picture shows those of cluster.json', () => {
    const { watch: nodeWatch } = watch(() => Promise.reject(new Error('asked')));
    const same = forgery('127.0.0.1');
    nodeWatch.hint({ ...same, nodes: same.nodes.slice(0, 3) });
    nodeWatch.close();
  });
});
