import {
  chmod,
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createPrivateFolder,
  removeTree,
  reachableBinaries,
  reachableFolder,
  resolveAccount,
} from '../../src/postgres/account.ts';
import { replaceFile } from '../../src/postgres/data-folder.ts';

/** A user that owns nothing here. */
const stranger = { name: 'nobody', uid: 65_534, gid: 65_534 };
const isRoot = process.getuid?.() === 0;
let root = '';

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'lockstep-account-'));
  await chmod(root, 0o755);
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

describe('the account', () => {
  it('is an unprivileged known user exactly when this process is root', async () => {
    const account = await resolveAccount();
    if (!isRoot) return expect(account).toBeNull();
    const passwd = await readFile('/etc/passwd', 'utf8');
    expect(account?.uid).toBeGreaterThan(0);
    expect(passwd).toMatch(new RegExp(`^${account?.name}:[^:]*:${account?.uid}:${account?.gid}:`, 'm'));
  });
});

describe('a reachable folder', () => {
  it('is the wanted one when every parent lets the account in, also when some do not exist yet', async () => {
    const wanted = join(root, 'made', 'later', 'data');
    expect(await reachableFolder(wanted, stranger)).toBe(wanted);
    expect(await reachableFolder('/root/anything', null)).toBe('/root/anything');
  });

  it('is another one, always the same, when a parent shuts the account out; nothing is changed', async () => {
    const shut = join(root, 'shut');
    await mkdir(shut, { mode: 0o700 });
    const wanted = join(shut, 'state', 'data');
    const moved = await reachableFolder(wanted, stranger);
    expect(moved).toMatch(/^\/var\/lib\/lockstep\/[0-9a-f]{12}$/);
    expect(await reachableFolder(wanted, stranger)).toBe(moved);
    expect(await reachableFolder(join(shut, 'other', 'data'), stranger)).not.toBe(moved);
    expect((await stat(shut)).mode & 0o777).toBe(0o700);
  });

  it('looks behind symbolic links: their target may have parents that shut the account out', async () => {
    const shut = join(root, 'shut');
    await mkdir(join(shut, 'disk'), { recursive: true });
    await chmod(shut, 0o700);
    await symlink(join(shut, 'disk'), join(root, 'link'));
    expect(await reachableFolder(join(root, 'link', 'data'), stranger)).toMatch(/^\/var\/lib\/lockstep\//);
  });

  it.runIf(isRoot)('counts the owner as owner, and a group as group', async () => {
    const folder = join(root, 'own');
    await mkdir(folder, { mode: 0o700 });
    await chown(folder, stranger.uid, 0);
    expect(await reachableFolder(join(folder, 'data'), stranger)).toBe(join(folder, 'data'));
    await chown(folder, 0, stranger.gid);
    await chmod(folder, 0o701);
    expect(await reachableFolder(join(folder, 'data'), stranger)).toMatch(/^\/var\/lib/);
  });
});

describe('reachable binaries', () => {
  const binaries = { version: '15.1', major: 15, pgRewind: null, pgWaldump: null } as const;

  it('stay where they are when the account reaches them', async () => {
    const here = { ...binaries, binDir: root, source: 'path' } as const;
    expect(await reachableBinaries(here, stranger)).toBe(here);
  });

  it('are refused, not copied with all that lies beside them, when they are not the embedded package', async () => {
    const shut = join(root, 'shut', 'bin');
    await mkdir(shut, { recursive: true });
    await chmod(join(root, 'shut'), 0o700);
    await expect(
      reachableBinaries({ ...binaries, binDir: shut, source: 'path' }, stranger),
    ).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    });
  });

  it.runIf(isRoot)('of the embedded package are copied once, links kept', async () => {
    const native = join(root, 'shut', 'native');
    await mkdir(join(native, 'bin'), { recursive: true });
    await writeFile(join(native, 'bin', 'postgres'), `#!/bin/sh\n# ${root}\n`, { mode: 0o755 });
    await symlink('postgres', join(native, 'bin', 'link'));
    await chmod(join(root, 'shut'), 0o700);
    const embedded = { ...binaries, binDir: join(native, 'bin'), source: 'embedded' } as const;
    const [one, two] = await Promise.all([
      reachableBinaries(embedded, stranger),
      reachableBinaries(embedded, stranger),
    ]);
    try {
      expect(one.binDir).toMatch(/^\/var\/cache\/lockstep\/postgresql-15\.1-[0-9a-f]{12}\/bin$/);
      expect(two.binDir).toBe(one.binDir);
      expect(await readlink(join(one.binDir, 'link'))).toBe('postgres');
      expect((await stat(join(one.binDir, 'postgres'))).mode & 0o777).toBe(0o755);
    } finally {
      await rm(join(one.binDir, '..'), { recursive: true, force: true });
    }
  });
});

describe('files below root', () => {
  it('private folders are private, the parents made for them are not, whatever the umask', async () => {
    const path = join(root, 'a', 'b', 'data');
    const umask = process.umask(0o077);
    try {
      await createPrivateFolder(path, null);
    } finally {
      process.umask(umask);
    }
    const modes = await Promise.all(
      [root, join(root, 'a'), join(root, 'a', 'b'), path].map((folder) => stat(folder)),
    );
    expect(modes.map((found) => (found.mode & 0o777).toString(8))).toEqual(['755', '755', '755', '700']);
  });

  it.skipIf(!isRoot)('a folder of another user is removed as that user, and whole', async () => {
    const path = join(root, 'data');
    const precious = join(root, 'precious');
    await mkdir(precious);
    await writeFile(join(precious, 'file'), 'kept');
    await mkdir(join(path, 'base'), { recursive: true });
    await writeFile(join(path, 'base', '1'), '');
    await symlink(precious, join(path, 'base', 'link'));
    // What that user may not remove is not removed by root on its behalf.
    await mkdir(join(path, 'roots'));
    await writeFile(join(path, 'roots', 'file'), '');
    for (const folder of [path, join(path, 'base')]) await chown(folder, stranger.uid, stranger.gid);
    await expect(removeTree(path, stranger)).rejects.toMatchObject({ code: 'ENOTEMPTY' });
    expect(await readdir(path)).toEqual(['roots']);
    await chown(join(path, 'roots'), stranger.uid, stranger.gid);
    await removeTree(path, stranger);
    await removeTree(path, stranger);
    await expect(stat(path)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await readFile(join(precious, 'file'), 'utf8')).toBe('kept');
  });

  it('a replaced file never goes through a planted link', async () => {
    const victim = join(root, 'victim');
    await writeFile(victim, 'untouched');
    await symlink(victim, join(root, 'lockstep.conf.lockstep'));
    await symlink(victim, join(root, 'lockstep.conf'));
    await replaceFile(join(root, 'lockstep.conf'), 'port = 1\n', null);
    expect(await readFile(victim, 'utf8')).toBe('untouched');
    expect(await readFile(join(root, 'lockstep.conf'), 'utf8')).toBe('port = 1\n');
    expect((await stat(join(root, 'lockstep.conf'))).mode & 0o777).toBe(0o600);
  });
});
