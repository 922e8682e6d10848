import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withOwnNode } from '../../src/cli/commands/own-node.ts';
import { SEAL_HEADER } from '../../src/coordination/agent-seal.ts';
import { parseClusterConfig } from '../../src/leader-follower/config/config.ts';
import type { ClusterConfig } from '../../src/leader-follower/config/config.ts';
import { openSeal } from '../../src/leader-follower/config/coordination.ts';
import { parseNodeId } from '../../src/model/node.ts';

const listed = {
  name: parseNodeId('n4'),
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
  let isForger = false;

  beforeEach(async () => {
    isForger = false;
    data = await mkdtemp(join(tmpdir(), 'lockstep-own-node-'));
    agent = createServer((request, response) => {
      const heard = openSeal(config(), parseNodeId('n1')).hear(
        request.headers.authorization,
        'GET',
        '/v1/nodes',
      );
      const status = answer === null ? 500 : 200;
      const text = JSON.stringify(answer);
      const seal = isForger ? 'made-up' : heard.sealAnswer(status, text);
      response.writeHead(status, { [SEAL_HEADER]: seal }).end(text);
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

  it('is not what somebody says who took the place of an agent, and no secret is sent there', async () => {
    answer = { version: 7, nodes: [...config().nodes, listed] };
    isForger = true;
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toMatchObject({ code: 'NO_LEADER' });
  });

  it('never has an address that is none, whoever told or kept it', async () => {
    const host = '127.0.0.2/32 trust\n#';
    answer = { version: 7, nodes: [...config().nodes, { ...listed, host }] };
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toMatchObject({ code: 'NO_LEADER' });
    answer = null;
    await mkdir(join(data, 'nodes/n4'), { recursive: true });
    await writeFile(join(data, 'nodes/n4/listed.json'), JSON.stringify({ ...listed, host }));
    await expect(withOwnNode(config(), { data, node: 'n4' })).rejects.toThrow(
      /listed\.json is not valid at "host"/,
    );
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
