import { describe, expect, test } from 'vitest';
import { appUrl } from '../../src/cli/dev/cluster-folder.ts';
import {
  agentUrl,
  followersOf,
  parseClusterConfig,
  voters,
} from '../../src/leader-follower/config/config.ts';

const secret = 'x'.repeat(16);
const cluster = {
  id: 'c',
  name: 'shop',
  nodes: [{ name: 'n1', host: '127.0.0.1', port: 5441, agentPort: 7411 }],
  secrets: { superuser: secret, replication: secret, app: secret, agent: secret },
};
const etcd = { kind: 'etcd', endpoints: ['http://10.0.0.1:2379'] };

describe('a witness in cluster.json', () => {
  const withNode = (node: object): unknown => ({ ...cluster, nodes: [...cluster.nodes, node] });
  const place = { name: 'w1', host: '127.0.0.1', agentPort: 7412 };

  test('has no port, never leads, and is no server of the app, also after it was written and read again', () => {
    const config = parseClusterConfig(withNode({ ...place, witness: true }), 'cluster.json');
    expect(config.nodes[1]).toEqual({ ...place, port: 0, failoverPriority: 0, witness: true, voter: true });
    expect(config.nodes[0]).toMatchObject({ failoverPriority: 1, witness: false });
    expect(appUrl(config)).toContain('@127.0.0.1:5441/');
    expect(followersOf(config, config.nodes[0]!.name)).toEqual([]);
    expect(parseClusterConfig(JSON.parse(JSON.stringify(config)), 'cluster.json')).toEqual(config);
  });

  test.each([
    ['a port', { ...place, witness: true, port: 5442 }, /"nodes\.1\.port".*a witness has none/],
    [
      'a priority',
      { ...place, witness: true, failoverPriority: 2 },
      /"nodes\.1\.failoverPriority".*never leads/,
    ],
    ['no port without being one', place, /"nodes\.1\.port".*needs PostgreSQL's port/],
  ])('with %s is refused', (_, node, message) => {
    expect(() => parseClusterConfig(withNode(node), 'cluster.json')).toThrow(message);
  });

  test('alone is no cluster', () => {
    const alone = { ...cluster, nodes: [{ ...place, witness: true }] };
    expect(() => parseClusterConfig(alone, 'cluster.json')).toThrow('lets no node lead');
  });
});

describe('who votes', () => {
  const guest = { name: 'n2', host: '127.0.0.1', port: 5442, agentPort: 7412, voter: false };

  test('is every node of a file that says nothing of it', () => {
    const nodes = [...cluster.nodes, { ...guest, voter: undefined }];
    expect(voters(parseClusterConfig({ ...cluster, nodes }, 'cluster.json'))).toHaveLength(2);
    expect(
      voters(parseClusterConfig({ ...cluster, nodes: [...cluster.nodes, guest] }, 'cluster.json')),
    ).toHaveLength(1);
  });

  test.each([
    ['a witness that does not', { ...guest, port: 0, witness: true }, /"nodes\.1\.voter".*nothing but vote/],
    ['nobody that may lead', { ...guest }, /every failoverPriority of a voter is 0/],
  ])('is not %s', (_, node, message) => {
    const nodes = [{ ...cluster.nodes[0], failoverPriority: 0 }, node];
    expect(() => parseClusterConfig({ ...cluster, nodes }, 'cluster.json')).toThrow(message);
  });
});

describe('coordination in cluster.json', () => {
  test('is the agents themselves unless said otherwise', () => {
    expect(parseClusterConfig(cluster, 'cluster.json').coordination).toEqual({ kind: 'embedded' });
    expect(
      parseClusterConfig({ ...cluster, coordination: { kind: 'embedded' } }, 'cluster.json').coordination,
    ).toEqual({ kind: 'embedded' });
  });

  test('is etcd with its endpoints, and a prefix that ends in a slash', () => {
    const coordination = { ...etcd, endpoints: ['https://etcd-1:2379/', 'https://[::1]:2379'], prefix: '/x' };
    expect(parseClusterConfig({ ...cluster, coordination }, 'cluster.json').coordination).toEqual({
      kind: 'etcd',
      endpoints: ['https://etcd-1:2379', 'https://[::1]:2379'],
      prefix: '/x/',
    });
    expect(parseClusterConfig({ ...cluster, coordination: etcd }, 'cluster.json').coordination).toMatchObject(
      { prefix: '/lockstep/' },
    );
  });

  test('with etcd, which replaces its own leader more slowly, has a longer lease unless said otherwise', () => {
    const ttl = (settings: object): number =>
      parseClusterConfig({ ...cluster, ...settings }, 'cluster.json').leaseTtlMs;
    expect(ttl({})).toBe(2_500);
    expect(ttl({ coordination: etcd })).toBe(5_000);
    expect(ttl({ coordination: etcd, leaseTtlMs: 3_000 })).toBe(3_000);
  });

  test('survives being written and read again', () => {
    const coordination = {
      ...etcd,
      endpoints: ['https://e:2379'],
      username: 'u',
      password: 'p',
      tls: { ca: '/ca.pem', cert: '/c.pem', key: '/k.pem' },
    };
    const config = parseClusterConfig({ ...cluster, coordination }, 'cluster.json');
    expect(parseClusterConfig(JSON.parse(JSON.stringify(config)), 'cluster.json')).toEqual(config);
  });

  test.each([
    ['an unknown kind', { kind: 'zookeeper' }, /"coordination(\.kind)?".*"embedded" or "etcd"/],
    ['no endpoint', { ...etcd, endpoints: [] }, /"coordination\.endpoints"/],
    ['no URL', { ...etcd, endpoints: ['10.0.0.1:2379'] }, /"coordination\.endpoints\.0".*http:\/\/host:port/],
    ['a path', { ...etcd, endpoints: ['http://e:2379/v3'] }, /nothing more/],
    [
      'an endpoint twice',
      { ...etcd, endpoints: ['http://e:2379', 'http://e:2379/'] },
      /"coordination\.endpoints".*twice/,
    ],
    ['a user without a password', { ...etcd, username: 'u' }, /"coordination\.password".*together/],
    ['a certificate without its key', { ...etcd, tls: { cert: '/c.pem' } }, /"coordination\.tls".*together/],
    ['TLS without https', { ...etcd, tls: { ca: '/ca.pem' } }, /"coordination\.endpoints".*https:\/\//],
    ['a word too many', { ...etcd, ttl: 30 }, /"coordination".*ttl/],
  ])('refuses %s', (_, coordination, message) => {
    expect(() => parseClusterConfig({ ...cluster, coordination }, 'cluster.json')).toThrow(message);
  });

  test('never repeats a password that was put into an endpoint', () => {
    const coordination = { ...etcd, endpoints: ['http://u:never-seen@e:2379'] };
    let message = '';
    try {
      parseClusterConfig({ ...cluster, coordination }, 'cluster.json');
    } catch (error) {
      message = (error as Error).message;
    }
    expect(message).toContain('"coordination.endpoints.0"');
    expect(message).not.toContain('never-seen');
  });
});

describe('what gets into other files', () => {
  const node = cluster.nodes[0];
  test.each([
    [
      'a host',
      { nodes: [{ ...node, host: '127.0.0.2/32 trust\n#' }] },
      /"nodes\.0\.host".*an address or a name/,
    ],
    ['a name', { nodes: [{ ...node, name: 'n1 trust' }] }, /is not a node name/],
    ['a port', { nodes: [{ ...node, port: 70_000 }] }, /"nodes\.0\.port"/],
    ['a network', { allowedNetworks: ['10.0.0.0/8 trust'] }, /"allowedNetworks\.0".*expected a network/],
    ['a role', { appUser: 'app:x' }, /"appUser"/],
    ['a database', { database: 'app\nhost=elsewhere' }, /"database"/],
    ['a cluster', { name: "shop'\n" }, /"name"/],
    ['an id', { id: '../c' }, /"id"/],
    ['a secret', { secrets: { ...cluster.secrets, app: `${secret}\n*:*:*:*:x` } }, /"secrets\.app"/],
    ['a node that leaves', { nodes: [{ ...node, isLeaving: true }] }, /"nodes\.0\.isLeaving"/],
  ])('%s is refused when it would say more than it is', (_, change, message) => {
    expect(() => parseClusterConfig({ ...cluster, ...change }, 'cluster.json')).toThrow(message);
  });

  test('an IPv6 address can be asked at its URL', () => {
    const config = parseClusterConfig({ ...cluster, nodes: [{ ...node, host: 'fd00::1' }] }, 'cluster.json');
    expect(agentUrl(config.nodes[0]!)).toBe('http://[fd00::1]:7411');
  });
});
