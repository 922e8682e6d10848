import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Rooms that each room may import; itself is always allowed. Everything else points the wrong way. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  model: [],
  consensus: ['model'],
  postgres: ['model'],
  coordination: ['model', 'consensus'],
  'leader-follower': ['model', 'consensus', 'postgres', 'coordination'],
  // An app that imports the client must not load agent code.
  client: ['model'],
  admin: ['model'],
  cli: ['model', 'postgres', 'leader-follower', 'admin'],
  testing: ['model', 'postgres', 'leader-follower', 'cli'],
  'index.ts': ['model', 'client'],
};

/** About 400: one idea a file. */
const MAX_LINES = 450;
const FORBIDDEN_NAMES = /(^|[/.-])(utils?|helpers?|common|managers?|misc)([/.-]|$)/i;

/** Files git knows or would add: what a clone will hold. */
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)));
const sources = files.filter((file) => /\.(ts|js|mjs)$/.test(file));

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) =>
    relative(root, resolve(root, dirname(file), match[1] ?? '')),
  );
}

function roomOf(file: string): string | undefined {
  return /^src\/([^/]+)/.exec(file)?.[1];
}

describe('the house is tidy', () => {
  it('imports only downward', () => {
    const wrong = sources
      .filter((file) => file.startsWith('src/'))
      .flatMap((file) =>
        importsOf(file).map((target) => ({ file, target, from: roomOf(file), to: roomOf(target) })),
      )
      .filter(({ from, to }) => from !== undefined && to !== undefined && from !== to)
      .filter(({ from, to }) => !(ALLOWED[from ?? '']?.includes(to ?? '') ?? false))
      .map(({ file, target }) => `${file} imports ${target}`);
    expect(wrong).toEqual([]);
  });

  it('has no room without a rule', () => {
    const rooms = new Set(sources.filter((file) => file.startsWith('src/')).map(roomOf));
    expect([...rooms].filter((room) => !(room !== undefined && room in ALLOWED))).toEqual([]);
  });

  it('keeps files short', () => {
    const long = sources
      .map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').split('\n').length - 1 }))
      .filter(({ file, lines }) => lines > MAX_LINES && !file.startsWith('examples/shop/web/art'));
    expect(long).toEqual([]);
  });

  it('names things for what they are', () => {
    expect(files.filter((file) => FORBIDDEN_NAMES.test(file))).toEqual([]);
  });

  it('has every relative import in the tree, with its extension', () => {
    const missing = sources.flatMap((file) =>
      importsOf(file)
        // The dashboard serves the chart library under a name beside its own files.
        .filter((target) => !existsSync(join(root, target)) && !target.endsWith('uPlot.esm.js'))
        .map((target) => `${file} imports ${target}`),
    );
    expect(missing).toEqual([]);
  });

  it('leaves nothing unfinished', () => {
    const mark = new RegExp(['TO', 'DO|FIX', 'ME|\\b(it|test|describe)\\.(only|todo)\\b'].join(''));
    const found = sources.filter((file) => mark.test(readFileSync(join(root, file), 'utf8')));
    expect(found).toEqual([]);
  });
});
