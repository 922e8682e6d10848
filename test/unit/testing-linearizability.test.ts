import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findNonlinearizable } from '../../src/testing/core/linearizability.ts';
import type { TimedCall } from '../../src/testing/core/linearizability.ts';
import { REGISTER_MODEL } from '../../src/testing/core/register-model.ts';
import type { RegisterOperation } from '../../src/testing/core/register-model.ts';

type Call = TimedCall<RegisterOperation>;

const at = (operation: RegisterOperation, invokedAt: number, returnedAt: number | null): Call => ({
  operation,
  invokedAt,
  returnedAt,
});
const check = (calls: readonly Call[]): RegisterOperation | null =>
  findNonlinearizable(calls, REGISTER_MODEL)?.operation ?? null;

describe('the checker of histories', () => {
  it.each<[string, readonly Call[]]>([
    [
      'a read that goes back',
      [
        at({ f: 'create', to: 'a' }, 0, 1),
        at({ f: 'cas', from: 'a', to: 'b' }, 2, 9),
        at({ f: 'get', value: 'b' }, 3, 4),
        at({ f: 'get', value: 'a' }, 5, 6),
      ],
    ],
    ['a seat that is sold twice', [at({ f: 'create', to: 'a' }, 0, 3), at({ f: 'create', to: 'b' }, 1, 2)]],
    [
      'an acknowledged value that is not there',
      [at({ f: 'create', to: 'a' }, 0, 1), at({ f: 'get', value: null }, 2, 3)],
    ],
    ['a value that nobody wrote', [at({ f: 'get', value: 'x' }, 0, 1)]],
    [
      'an append that counts twice',
      [at({ f: 'append', tag: 'a', value: 'a' }, 0, 1), at({ f: 'get', value: 'a a' }, 2, 3)],
    ],
    [
      'a refusal by what was not there',
      [at({ f: 'create', to: 'a' }, 0, 1), at({ f: 'create', to: 'b', found: 'c' }, 2, 3)],
    ],
    [
      'an unknown change that takes effect twice',
      [
        at({ f: 'append', tag: 'a', value: null }, 0, null),
        at({ f: 'get', value: 'a' }, 1, 2),
        at({ f: 'delete', isApplied: true }, 3, 4),
        at({ f: 'get', value: 'a' }, 5, 6),
      ],
    ],
  ])('notices %s', (_, calls) => {
    expect(check(calls)).not.toBeNull();
  });

  it.each<[string, readonly Call[]]>([
    [
      'overlapping calls in either order',
      [at({ f: 'get', value: 'a' }, 0, 5), at({ f: 'create', to: 'a' }, 1, 9)],
    ],
    [
      'an unknown change that takes effect late',
      [
        at({ f: 'create', to: 'a' }, 0, null),
        at({ f: 'get', value: null }, 1, 2),
        at({ f: 'get', value: 'a' }, 3, 4),
      ],
    ],
    [
      'an unknown change that never does',
      [at({ f: 'create', to: 'a' }, 0, null), at({ f: 'get', value: null }, 1, 2)],
    ],
  ])('allows %s', (_, calls) => {
    expect(check(calls)).toBeNull();
  });

  it('allows every history that did happen one after another, with times blurred', () => {
    const step = fc.record({ kind: fc.nat(4), before: fc.nat(30), after: fc.nat(30), isLost: fc.nat(9) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 14 }), (steps) => {
        let state: string | null = null;
        const calls = steps.map(({ kind, before, after, isLost }, index): Call => {
          const tag = `t${index}`;
          const found = state;
          let operation: RegisterOperation = { f: 'get', value: state };
          if (kind === 1) operation = { f: 'create', to: tag, ...(found === null ? {} : { found }) };
          if (kind === 1 && found === null) state = tag;
          if (kind === 2) operation = { f: 'delete', isApplied: found !== null };
          if (kind === 2) state = null;
          if (kind === 3) {
            state = found === null ? tag : `${found} ${tag}`;
            operation = { f: 'append', tag, value: state };
          }
          if (kind === 4 && found !== null) {
            operation = { f: 'cas', from: found, to: tag };
            state = tag;
          }
          return at(operation, index * 10 - before, isLost === 0 ? null : index * 10 + after);
        });
        expect(check(calls)).toBeNull();
      }),
    );
  });
});
