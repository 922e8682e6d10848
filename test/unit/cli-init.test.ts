import { describe, expect, test } from 'vitest';
import { createClusterConfig } from '../../src/cli/init/init-command.ts';

const plan = {
  name: 'main',
  witness: null,
  allow: [],
  database: 'app',
  appUser: 'app',
  postgres: 'auto',
};

describe('lockstep init', () => {
  test.each([
    ['two servers at one address', ['n1=10.0.0.1', 'n2=10.0.0.1'], null, /10\.0\.0\.1:5432 belongs to n1/],
    ['two agents at one port', ['n1=a:5432:7411', 'n2=a:5433:7411'], null, /a:7411 belongs to n1/],
    ['a witness in the place of an agent', ['n1=a', 'n2=b'], 'w1=b', /b:7411 belongs to n2/],
    ['one port for both', ['n1=a:5432:5432'], null, /cannot share port 5432/],
  ])('refuses %s', (_, nodes, witness, message) => {
    expect(() => createClusterConfig({ ...plan, nodes, witness })).toThrow(message);
  });

  test('takes two servers of one machine with ports of their own', () => {
    const nodes = ['n1=10.0.0.1', 'n2=10.0.0.1:5433:7412'];
    expect(createClusterConfig({ ...plan, nodes }).nodes).toHaveLength(2);
  });
});
