import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '..', '..');
const MODEL = 'src/model/errors.ts';

function read(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

/** As the type has them; it is gone when the program runs. */
function codes(): string[] {
  const [, union = ''] = /export type ErrorCode =([^;]*);/.exec(read(MODEL)) ?? [];
  return [...union.matchAll(/'([A-Z_]+)'/g)].map(([, code = '']) => code);
}

test('docs/errors.md has a chapter on each code, in order, and on nothing else', () => {
  const chapters = [...read('docs/errors.md').matchAll(/^## (.+)$/gm)].map(([, title = '']) => title);
  expect(codes().length).toBeGreaterThan(10);
  expect(chapters).toEqual(codes());
});

test('each code is thrown somewhere', () => {
  const files = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' });
  const sources = files.filter((file) => file.endsWith('.ts') && `src/${file}` !== MODEL);
  const text = sources.map((file) => read(`src/${file}`)).join('\n');
  expect(codes().filter((code) => !text.includes(`'${code}'`))).toEqual([]);
});
