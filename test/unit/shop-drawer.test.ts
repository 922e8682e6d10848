import { describe, expect, test } from 'vitest';
import { holdsAll, renderDrawer } from '../../examples/shop/web/drawer.ts';
import type { BehindPage } from '../../examples/shop/web/drawer.ts';

const NODE = {
  name: 'n2',
  host: '127.0.0.1',
  port: 5442,
  role: 'follower',
  isUp: true,
  timeline: 2,
  lsn: '1/A0',
  lagBytes: 0,
} as const;

describe('whether a disk surely holds what a session wrote', () => {
  test.each([
    ['at the token', '1/A0', 2, '2-1/A0', true],
    ['past it', '2/0', 2, '2-1/FFFFFFFF', true],
    ['before it', '1/9F', 2, '2-1/A0', false],
    ['on another timeline', '2/0', 1, '2-1/A0', false],
    ['unknown', null, 2, '2-1/A0', false],
    ['a token with an unconfirmed write', '1/A0', 2, '2-1/A0-2-1/90', true],
    ['no token', '1/A0', 2, 'nonsense', false],
  ] as const)('%s', (_, lsn, timeline, token, holds) => {
    expect(holdsAll({ lsn, timeline }, token)).toBe(holds);
  });
});

test('the drawer tells nodes, queries and disks, and escapes what they say', async () => {
  const behind: BehindPage = {
    statements: [
      {
        event: 'statement',
        statement: 'SELECT "<b>" FROM products',
        node: 'n2',
        role: 'follower',
        reason: 'near enough',
        ms: 1.25,
        error: null,
      },
    ],
    nodes: [NODE, { ...NODE, name: 'n3', isUp: false, lsn: null }],
    token: '2-1/A0',
    showsOrders: true,
  };
  const text = String(await renderDrawer(behind));
  expect(text).toContain('Read from <b>n2</b>, a follower, in 1.3 ms');
  expect(text).toContain('1 query, 1 on followers');
  expect(text.split('holds your orders')).toHaveLength(2);
  expect(text).toContain('does not answer');
  expect(text).not.toContain('"<b>"');
});
