import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withOwnNode } from '../../src/cli/commands/own-node.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';

const listed = {
  name: 'n4',
  host: '10.0.0.4',
  port: 5432,
  agentPort: 7411,
  failoverPriority: 1,
  witness: false,
  voter: false,
};

describe('the node of an agent that is not in cluster.json', () => {
  let data: string;
  let agent: Server;
  let answer: unknown = null;

  beforeEach(async () => {
    data = await mkdtemp(join(tmpdir(), 'lockstep-own-node-'));
    agent = createServer((request, response) => {
      const isAsked =
        request.url === '/v1/nodes' && request.headers.authorization === `Bearer ${'x'.repeat(16)}`;
      response.writeHead(isAsked && answer !== null ? 200 : 500).end(JSON.stringify(answer));
    });
    await new Promise<void>((resolve) => agent.listen(0, '127.0.0.1', resolve));
  });

  afterEach(async () => {
    agent.closeAllConnections();
    await new Promise((resolve) => agent.close(resolve));
    await rm(data, { recursive: true, force: true });
  });

  function config(): ClusterConfig {
    const secret = 'x'.repeat(16);
    const { port } = agent.address() as AddressInfo;
    return parseClusterConfig(
      {
        id: 'c',
        name: 'shop',
        nodes: [{ name: 'n1', host: '127.0.0.1', port: 5441, agentPort: port }],
        secrets: { superuser: secret, replication: secret, app: secret, agent: secret },
      },
      'cluster.json',
    );
  }

  it('is what the others say, and is kept for when none answers', async () => {
    answer = { version: 7, nodes: [...config().nodes, listed] };
    expect((await withOwnNode(config(), { data, node: 'n4' })).nodes.at(-1)).toEqual(listed);
    answer = null;
    expect((await withOwnNode(config(), { data, node: 'n4' })).nodes.at(-1)).toEqual(listed);
  });

  it('is the kept one for as long as those who answer have not read the register', async () => {
    answer = { version: 0, nodes: config().nodes };
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toMatchObject({
      code: 'NO_LEADER',
      message: expect.stringMatching(/no agent of cluster shop answers that could tell/),
    });
    await mkdir(join(data, 'nodes/n4'), { recursive: true });
    await writeFile(join(data, 'nodes/n4/listed.json'), JSON.stringify(listed));
    expect((await withOwnNode(config(), { data, node: 'n4' })).nodes.at(-1)).toEqual(listed);
  });

  it('is refused when they know of none, also where one was kept', async () => {
    await mkdir(join(data, 'nodes/n4'), { recursive: true });
    await writeFile(join(data, 'nodes/n4/listed.json'), JSON.stringify(listed));
    answer = { version: 7, nodes: config().nodes };
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toThrow(
      /There is no node "n4" in cluster shop; it has n1\. Add it first.*lockstep node add n4 --host/,
    );
  });

  it('is refused when nobody can say', async () => {
    answer = null;
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toMatchObject({
      code: 'NO_LEADER',
      message: expect.stringMatching(/no agent of cluster shop answers/),
    });
    await expect(withOwnNode(config(), { data, node: '../n4' })).rejects.toThrow('is not a node name');
  });

  it('needs no question where cluster.json has it', async () => {
    const own = config();
    expect(await withOwnNode(own, { data, node: 'n1' })).toBe(own);
  });
});
