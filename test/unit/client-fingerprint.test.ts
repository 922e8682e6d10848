import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fingerprint } from '../../src/client/observe/core/fingerprint.ts';

describe('fingerprint', () => {
  it.each([
    [`SELECT * FROM t WHERE id = 7 AND v = 'it''s' -- why`, 'select * from t where id = ? and v = ?'],
    ['INSERT INTO "T" (a, b) VALUES ($1, $2)', 'insert into "T"(a, b) values($, $)'],
    ['SELECT public.f($body$secret$body$, 1.5e3)::text', 'select public.f(?, ?)::text'],
    [`ALTER ROLE app PASSWORD 'secret'`, 'alter role app password ?'],
    [`SELECT '\\' || 'secret`, 'SELECT …'],
    ['', ''],
  ])('of %j', (sql, expected) => {
    expect(fingerprint(sql)).toBe(expected);
  });

  it('is short, also of a long text', () => {
    const long = `INSERT INTO t VALUES ${Array.from({ length: 5000 }, () => `('secret')`).join(', ')}`;
    expect(fingerprint(long).length).toBeLessThan(310);
    for (let length = 1190; length < 1210; length += 1) {
      const cut = `SELECT ${' '.repeat(length)}'secret ${'x'.repeat(2000)}'`;
      expect(fingerprint(cut)).not.toContain('secret');
    }
  });

  it('never holds what stands in a literal or comment', () => {
    const secret = 'sesame';
    const quoted = fc.constantFrom(
      `'${secret}'`,
      `E'\\'${secret}'`,
      `$$${secret}$$`,
      `$a$ ' ${secret}$a$`,
      `U&'${secret}'`,
    );
    const comment = fc.constantFrom(`/* ${secret} */`, `-- ${secret}\n`, `/* /* */ ${secret} */`);
    const piece = fc.oneof(
      quoted,
      comment,
      fc.constantFrom('SELECT', ',', '(', ')', "''", '"a"', '1', '::text', ' '),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        expect(fingerprint(pieces.join(' '))).not.toContain(secret);
      }),
    );
  });
});
