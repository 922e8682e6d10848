import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readLockHolder, tryLockFolder } from '../../src/host/folder-lock.ts';

const module = pathToFileURL(join(import.meta.dirname, '../../src/host/folder-lock.ts')).href;

describe('the lock of a folder', () => {
  let folder = '';
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'lockstep-lock-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** A process that takes the lock, says so, and stays. */
  async function holder(): Promise<ReturnType<typeof spawn>> {
    const script = `import { tryLockFolder } from ${JSON.stringify(module)};
      const lock = tryLockFolder(${JSON.stringify(folder)});
      console.log(lock === null ? 'refused' : 'held');
      setInterval(() => lock, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
    expect(line).toBe('held');
    return child;
  }

  it('is held by one process, and let go by the kernel when that is killed', async () => {
    const child = await holder();
    try {
      expect(tryLockFolder(folder)).toBeNull();
      expect(readLockHolder(folder)).toBe(child.pid);
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    const lock = tryLockFolder(folder);
    expect(lock).not.toBeNull();
    lock?.release();
  });

  it('is held also while its process is suspended', async () => {
    const child = await holder();
    try {
      child.kill('SIGSTOP');
      expect(tryLockFolder(folder)).toBeNull();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('is held once within a process, and can be taken again after its release', () => {
    const lock = tryLockFolder(folder);
    expect(tryLockFolder(folder)).toBeNull();
    lock?.release();
    const again = tryLockFolder(folder);
    expect(again).not.toBeNull();
    again?.release();
  });

  it('is not inherited by children', async () => {
    const lock = tryLockFolder(folder);
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    try {
      lock?.release();
      // Had it inherited the file, the lock would still be held.
      const again = tryLockFolder(folder);
      expect(again).not.toBeNull();
      again?.release();
    } finally {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  });

  it('follows no link', () => {
    const target = join(folder, 'target');
    writeFileSync(target, 'precious');
    symlinkSync(target, join(folder, 'lock'));
    expect(() => tryLockFolder(folder)).toThrow(/move it away: it is a symbolic link/);
  });

  it('says what is missing where the machine has no flock', () => {
    const path = process.env['PATH'];
    process.env['PATH'] = folder;
    try {
      if (process.platform === 'linux')
        expect(() => tryLockFolder(folder)).toThrow(/Install the program "flock" \(package util-linux\)/);
    } finally {
      process.env['PATH'] = path;
    }
  });
});
