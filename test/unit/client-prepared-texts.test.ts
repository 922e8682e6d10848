import { describe, expect, it } from 'vitest';
import { classify } from '../../src/client/classify/core/classify.ts';
import { PreparedTexts } from '../../src/client/statement/prepared-texts.ts';
import type { StatementConfig } from '../../src/client/statement/queryable.ts';

function namesOf(texts: PreparedTexts, times: number, statement: StatementConfig): (string | undefined)[] {
  return Array.from({ length: times }, () => texts.nameFor(statement, classify(statement.text)));
}

const read = { text: 'SELECT v FROM t WHERE id = $1', values: [1] };

describe('PreparedTexts', () => {
  it('names a text at the given use, and keeps the name', () => {
    const texts = new PreparedTexts(3);
    const [first, second, third, fourth] = namesOf(texts, 4, read);
    expect([first, second]).toEqual([undefined, undefined]);
    expect(third).toMatch(/^lockstep_s\d+$/);
    expect(fourth).toBe(third);
  });

  it.each<[string, StatementConfig]>([
    ['no parameters', { text: 'SELECT 1', values: [] }],
    ['a name of the app’s', { ...read, name: 'mine' }],
    ['several statements', { text: 'SELECT $1; SELECT 2', values: [1] }],
    ['a state left in the connection', { text: `SELECT set_config('a.b', $1, false)`, values: ['x'] }],
    ['a portal read in portions', { ...read, rows: 10 } as StatementConfig],
    ['a very long text', { text: `SELECT $1 /* ${'x'.repeat(10_000)} */`, values: [1] }],
  ])('leaves alone: %s', (_, statement) => {
    expect(namesOf(new PreparedTexts(1), 3, statement)).toEqual([undefined, undefined, undefined]);
  });

  it('gives a new name after a renewal, and gives up on a text that needs too many', () => {
    const texts = new PreparedTexts(1);
    const seen = new Set<string | undefined>();
    for (let round = 0; round < 4; round += 1) {
      seen.add(namesOf(texts, 1, read)[0]);
      texts.renew(read.text, false);
    }
    expect(seen.size).toBe(4);
    expect(namesOf(texts, 1, read)).toEqual([undefined]);
    expect(namesOf(texts, 1, { ...read, text: 'SELECT $1' })[0]).toBeDefined();
  });

  it('stops altogether where names keep vanishing', () => {
    const texts = new PreparedTexts(1);
    for (let n = 0; n < 11; n += 1) {
      const { text } = { text: `SELECT $1, ${n}` };
      namesOf(texts, 1, { text, values: [1] });
      texts.renew(text, true);
    }
    expect(namesOf(texts, 1, read)).toEqual([undefined]);
  });

  it('forgets texts that are not used any more, in bounded memory', () => {
    const texts = new PreparedTexts(2);
    const [, before] = namesOf(texts, 2, read);
    for (let n = 0; n < 5000; n += 1) namesOf(texts, 1, { text: `SELECT $1, ${n}`, values: [1] });
    expect(namesOf(texts, 1, read)).toEqual([undefined]);
    expect(namesOf(texts, 1, read)[0]).not.toBe(before);
  });
});
