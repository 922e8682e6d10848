import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '..');

/** Rooms that each room may import; itself is always allowed. Everything else points the wrong way. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  model: [],
  consensus: ['model'],
  host: ['model'],
  postgres: ['model', 'clock', 'host', 'wire'],
  clock: ['model'],
  wire: ['model', 'clock'],
  news: ['model', 'clock'],
  http: [],
  coordination: ['model', 'clock', 'consensus', 'news', 'http'],
  'leader-follower': [
    'model',
    'clock',
    'consensus',
    'host',
    'postgres',
    'coordination',
    'news',
    'http',
    'wire',
  ],
  // An app that imports the client must not load agent code.
  client: ['model', 'clock', 'wire', 'news'],
  'multi-leader': ['model', 'clock', 'host', 'postgres', 'coordination', 'logical', 'http', 'wire'],
  admin: ['model', 'clock', 'news', 'http'],
  logical: ['model', 'postgres', 'wire'],
  leaderless: ['model', 'consensus', 'wire'],
  cli: [
    'model',
    'clock',
    'host',
    'postgres',
    'coordination',
    'news',
    'logical',
    'multi-leader',
    'leader-follower',
    'leaderless',
    'admin',
    'http',
  ],
  testing: ['model', 'host', 'postgres', 'leader-follower', 'cli'],
  'index.ts': ['model', 'client'],
};

/** Whose rooms import each other still: to become fewer, never more. */
const WITH_CIRCLES = ['leader-follower', 'multi-leader', 'leaderless', 'cli'];

/** One idea a file. Tests, benches and examples may list a little more of it. */
const maxLines = (file: string): number => (file.startsWith('src/') ? 400 : 450);
/** How long agents wait for what: nothing in it acts. */
const NUMBERS_ALONE = 'src/leader-follower/patience.ts';
/** Somebody new finds the file by its name among these. */
const MAX_FILES_IN_ROOM = 15;
/** What a browser loads: one small file for each thing on the page. */
const PAGE = 'src/admin/page';
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

/** Groups of files that import each other in a circle, type imports too (Tarjan's strongly connected components). */
function circlesOf(imports: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const circles: string[][] = [];
  const visit = (file: string): void => {
    index.set(file, index.size);
    low.set(file, index.get(file) ?? 0);
    stack.push(file);
    for (const target of imports.get(file) ?? []) {
      if (!imports.has(target)) continue;
      if (!index.has(target)) visit(target);
      if (stack.includes(target)) low.set(file, Math.min(low.get(file) ?? 0, low.get(target) ?? 0));
    }
    if (low.get(file) !== index.get(file)) return;
    const circle = stack.splice(stack.indexOf(file));
    if (circle.length > 1) circles.push(circle.sort());
  };
  for (const file of imports.keys()) if (!index.has(file)) visit(file);
  return circles;
}

/** Rooms inside a folder of src that import each other; the files at its door are one, and a `core/` is of its room. */
function importsOfRooms(folder: string): Map<string, string[]> {
  const inside = (file: string): string => dirname(file).replace(/\/core$/, '');
  const rooms = new Map<string, string[]>();
  for (const file of sources.filter((name) => name.startsWith(`${folder}/`))) {
    const targets = importsOf(file).filter((target) => target.startsWith(`${folder}/`));
    rooms.set(inside(file), [...(rooms.get(inside(file)) ?? []), ...targets.map(inside)]);
  }
  return rooms;
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

  it('has no circle of imports', () => {
    const own = sources.filter((file) => file.startsWith('src/'));
    expect(circlesOf(new Map(own.map((file) => [file, importsOf(file)])))).toEqual([]);
  });

  it('lets what decides use nothing but what decides: types aside, a core imports no other file', () => {
    const isPure = (file: string): boolean =>
      /^src\/((.*\/)?core|model|consensus)\//.test(file) || file === NUMBERS_ALONE;
    const wrong = sources.filter(isPure).flatMap((file) => {
      const text = readFileSync(join(root, file), 'utf8').replaceAll(/^(import|export) type [^;]*;/gm, '');
      return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
        .map((match) => relative(root, resolve(root, dirname(file), match[1] ?? '')))
        .filter((target) => !isPure(target))
        .map((target) => `${file} imports ${target}`)
        .concat(text.includes('new Date()') ? [`${file} reads the clock`] : []);
    });
    expect(wrong).toEqual([]);
  });

  it('has no circle of rooms', () => {
    const folders = Object.keys(ALLOWED).filter((room) => !WITH_CIRCLES.includes(room));
    expect(folders.flatMap((room) => circlesOf(importsOfRooms(`src/${room}`)))).toEqual([]);
  });

  it('finds a circle of imports', () => {
    const imports = new Map([
      ['a', ['b']],
      ['b', ['c', 'd']],
      ['c', ['a']],
      ['d', []],
    ]);
    expect(circlesOf(imports)).toEqual([['a', 'b', 'c']]);
  });

  it('keeps rooms small', () => {
    const counts = new Map<string, number>();
    for (const file of files.filter((name) => name.startsWith('src/')))
      counts.set(dirname(file), (counts.get(dirname(file)) ?? 0) + 1);
    expect([...counts].filter(([room, count]) => room !== PAGE && count > MAX_FILES_IN_ROOM)).toEqual([]);
  });

  it('keeps files short', () => {
    const long = sources
      .map((file) => ({ file, lines: readFileSync(join(root, file), 'utf8').split('\n').length - 1 }))
      .filter(({ file, lines }) => lines > maxLines(file) && !file.startsWith('examples/shop/web/art'));
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

  it('names each invariant in the code that keeps it and in a test, and only files that are there', () => {
    const page = readFileSync(join(root, 'docs/internals/invariants.md'), 'utf8');
    const rows = page.split('\n').filter((line) => /^\| I\d/.test(line));
    expect(rows.length).toBeGreaterThan(7);
    const namedIn = (folder: string, number: string): boolean =>
      sources.some(
        (file) =>
          file.startsWith(folder) &&
          new RegExp(`\\b${number}\\b`).test(readFileSync(join(root, file), 'utf8')),
      );
    const wrong = rows.flatMap((row) => {
      const number = /I\d\w?/.exec(row)?.[0] ?? '';
      const paths = [...row.matchAll(/`((?:[\w-]+\/)+[\w.-]+\.ts)`/g)].map((match) => match[1] ?? '');
      return [
        ...['src/', 'test/']
          .filter((folder) => !namedIn(folder, number))
          .map((folder) => `${number} in ${folder}`),
        ...paths.filter((path) => !sources.some((file) => file.endsWith(path))),
      ];
    });
    expect(wrong).toEqual([]);
  });

  it('leaves nothing unfinished', () => {
    const mark = new RegExp(['TO', 'DO|FIX', 'ME|\\b(it|test|describe)\\.(only|todo)\\b'].join(''));
    const found = sources.filter((file) => mark.test(readFileSync(join(root, file), 'utf8')));
    expect(found).toEqual([]);
  });
});
