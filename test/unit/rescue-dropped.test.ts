import { describe, expect, it } from 'vitest';
import {
  missingEntries,
  parseArchiveList,
  withoutPsqlCommands,
} from '../../src/leader-follower/rescue/core/dropped.ts';

const PAST = `;
; Archive created at 2026-11-30 07:20:11 UTC
;     dbname: app
;
; Selected TOC Entries:
;
215; 1259 16412 TABLE public orders app
216; 1259 16420 SEQUENCE public orders_id_seq app
217; 1259 16430 TABLE public order_items app
3; 1259 16440 TABLE public orders_archive app
3000; 2606 16450 CONSTRAINT public orders orders_pkey app
3001; 2606 16451 CONSTRAINT public order_items order_items_pkey app
3002; 2606 16452 FK CONSTRAINT public order_items order_items_order_id_fkey app
3003; 0 0 ACL public TABLE orders app
3004; 0 0 ACL public TABLE orders_archive app
3005; 0 0 COMMENT public COLUMN orders.id app
3006; 6106 16460 PUBLICATION TABLE public changes orders app
`;

describe('what went with a dropped table', () => {
  const past = parseArchiveList(PAST);
  const dependents = new Set(['1259 16412', '1259 16420', '2606 16450', '2606 16452', '6106 16460']);
  const relations = [
    { schema: 'public', name: 'orders' },
    { schema: 'public', name: 'orders_id_seq' },
  ];

  it('is what hangs on it and is there no more, with its grants and comments', () => {
    const present = past.filter(({ label }) =>
      /order_items order_items_pkey|TABLE public order_items|archive/.test(label),
    );
    expect(missingEntries(past, present, dependents, relations).map(({ label }) => label)).toEqual([
      'TABLE public orders app',
      'SEQUENCE public orders_id_seq app',
      'CONSTRAINT public orders orders_pkey app',
      'FK CONSTRAINT public order_items order_items_order_id_fkey app',
      'ACL public TABLE orders app',
      'COMMENT public COLUMN orders.id app',
      'PUBLICATION TABLE public changes orders app',
    ]);
  });

  it('is nothing where all is there', () => {
    expect(missingEntries(past, past, dependents, relations)).toEqual([]);
  });

  it('is only the foreign keys of others where the app has made the table again', () => {
    const present = past.filter(({ label }) => !label.startsWith('FK CONSTRAINT'));
    expect(missingEntries(past, present, dependents, relations).map(({ label }) => label)).toEqual([
      'FK CONSTRAINT public order_items order_items_order_id_fkey app',
    ]);
  });
});

describe("pg_dump's text", () => {
  it('comes without what only psql understands', () => {
    expect(withoutPsqlCommands('\\restrict abc\nSET x = 1;\n\\unrestrict abc\n')).toBe('SET x = 1;\n');
  });
});
